"""CPU seconds of a recipe's steps in this process, shard after shard: what the work costs without the frame around it.

Every task is timed with the process's CPU clock from the reading of its inputs to the commit of its record, so that
neither a loaded machine nor the number of workers moves the figure. It starts no cluster; data.py's second table is
for that. The invariant: a step is carried out by the pipeline's own code, on a store of its own, and counted once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raytrain import pipeline
from raytrain.ledger import price_of
from raytrain.recipe import Recipe
from raytrain.store import Artifact, Attempt, Store
from raytrain.store.step import Task
from raytrain.train.job import TrainJob


@dataclass
class Cost:
    """CPU seconds of one step: in its tasks by label, and in the driver around them."""

    labels: dict[str, float] = field(default_factory=dict)
    tasks: int = 0
    driver: float = 0.0

    @property
    def work(self) -> float:
        return sum(self.labels.values())


class SerialEngine:
    """One task after the other in this process, each one's CPU time noted under its label."""

    name = "serial"

    def __init__(self) -> None:
        self.cost = Cost()
        self.cpu_seconds = 0.0

    def map_shards(self, work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        done = []
        for task in tasks:
            start = time.process_time()
            done.append(work(task))
            spent = time.process_time() - start
            self.cost.labels[label] = self.cost.labels.get(label, 0.0) + spent
            self.cost.tasks += 1
            self.cpu_seconds += spent
        return done

    def node(self) -> str:
        return "here"

    def train(self, job: TrainJob) -> None:
        raise NotImplementedError("only data steps are measured")


class Bench:
    """A store in which recipes are walked; a step that two of them share is carried out, and costs, once."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder))
        self.costs: dict[str, Cost] = {}

    def walk(self, recipe: Recipe, last: str) -> dict[str, Artifact]:
        """The artifacts of every step up to `last`."""
        engine = SerialEngine()
        with _attempt(self.store, recipe.name) as attempt:
            files, _ = pipeline.look(recipe, self.store, _silent)
            walk = pipeline.Walk(recipe, self.store, engine, attempt, price_of(recipe.cost), _silent, files)
            for step in pipeline.steps_of(recipe):
                engine.cost = Cost()
                start = time.process_time()
                made = pipeline.carry_out(walk, step)
                engine.cost.driver = max(0.0, time.process_time() - start - engine.cost.work)
                self.costs.setdefault(made.prefix, engine.cost)
                if step.name == last:
                    break
        return walk.made

    def cost(self, artifact: Artifact) -> Cost:
        return self.costs[artifact.prefix]


def recipe_of(store: Path, texts: Path, **sections: Any) -> Recipe:
    """A recipe over a folder of jsonl files that keeps every language and holds nothing out."""
    section = {
        "languages": {"allowed": []},
        "split": {"validation_fraction": 0, "min_validation_documents": 0, "min_validation_bytes": 0},
        **sections.pop("corpus", {}),
    }
    document = {
        "name": "bench",
        "store": str(store),
        "engine": "local",
        "sources": [{"name": "bench", "uri": f"{texts}/*.jsonl"}],
        "corpus": section,
        **sections,
    }
    return Recipe.model_validate(document)


@contextmanager
def _attempt(store: Store, name: str) -> Iterator[Attempt]:
    attempt = Attempt.claim(store, name)
    try:
        yield attempt
    finally:
        attempt.release("succeeded")


def _silent(line: str) -> None:
    pass
