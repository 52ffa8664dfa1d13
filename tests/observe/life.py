"""A run's life for tests of what is shown of it: real data artifacts, and a ledger as drivers and workers write it.

Training is not carried out: its events are written by hand, with the real writers, at the times that a story needs.
The story of `lived`: two workers on two nodes train, node b dies and three steps are lost, one worker goes on, a second
one joins; validations, checkpoints, an update left out and a warning on the way.
"""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import Any

from raytrain import recipe as recipes
from raytrain import runs
from raytrain.ledger import Ledger
from raytrain.store import ArtifactWriter, Store

TOKENS = 4096
PRICE = {"usd_per_hour": 2.4, "source": "table", "dated": "2025-03-02", "watts": 300.0}
WORDS = """
the of and to in that for with was have river mountain letter garden window silver morning quiet street bread winter
harbour candle market village thunder forest journey bridge kitchen shadow meadow lantern orchard
""".split()


def curated(folder: Path, name: str = "lives") -> Store:
    """A store with a run's recipe and its data steps carried out, from ingest to tokens, on a few kilobytes."""
    draw = random.Random(0)
    texts = folder / "texts"
    texts.mkdir(parents=True)
    for domain in ("verse", "prose"):
        lines = [json.dumps({"text": " ".join(draw.choices(WORDS, k=60)) + "."}) for _ in range(40)]
        (texts / f"{domain}.jsonl").write_text("\n".join([*lines, lines[0], "{broken"]))
    document: dict[str, Any] = {
        "name": name,
        "store": str(folder / "store"),
        "engine": "local",
        "sources": [
            {"name": d, "uri": f"{d}.jsonl", "licence": "CC0-1.0", "domain": d, "origin": "machine"}
            for d in ("verse", "prose")
        ],
        "corpus": {
            "rules": ["gopher"],
            "overrides": {},
            "languages": {"allowed": []},
            "split": {"min_validation_documents": 2, "min_validation_bytes": 100},
        },
        "tokenizer": {"vocab_size": 300},
    }
    path = texts / "recipe.yaml"
    path.write_text(json.dumps(document))
    loaded = recipes.load(str(path))
    runs.execute(loaded, say=lambda line: None, until="tokenize")
    return Store(loaded.store)


def copied(store: Store, run: str, other: str) -> None:
    """Another run of the same recipe and data."""
    for name in ("recipe.json", "lineage.json"):
        store.replace(f"runs/{other}/{name}", store.get(f"runs/{run}/{name}"))


def evaluated(store: Store, run: str) -> None:
    """The run's baseline and evaluation, as their steps commit them."""
    found = {
        "baseline": {"documents": 4, "bytes": 1000, "xz": 2.5, "ppmd": 2.2, "xz_given_train": 2.1},
        "evaluate": {"choice": {"accuracy": 0.4, "asked": 10}},
    }
    cost = {"seconds": 2.0, "usd": 0.001, "market": "spot", "run": run}
    lineage = json.loads(store.get(f"runs/{run}/lineage.json"))
    for step, facts in found.items():
        prefix = lineage[step] = f"{step}s/e"
        ArtifactWriter(store, prefix).commit(
            artifact="e", step=step, version=1, config={}, parents={}, shards=[], facts=facts, cost=cost
        )
    store.replace(f"runs/{run}/lineage.json", json.dumps(lineage).encode())


class Life:
    """One attempt's writers. Times are seconds after `start` (Unix seconds)."""

    def __init__(self, store: Store, run: str, attempt: int, start: float, price: dict[str, Any] = PRICE) -> None:
        self.store, self.run, self.attempt, self.start, self.price = store, run, attempt, start, price
        self.ledgers: list[Ledger] = []
        self.workers: dict[str, Ledger] = {}
        self.t = self.step = 0.0
        self.step = 0
        self.driver = self._open("driver", "a")
        self._note(self.driver, "node_up", value={"instance": "aws/x", "market": "spot"})
        self._note(self.driver, "price", value=price)

    def group(self, nodes: str, restored: int, after: float = 5.0) -> None:
        """A worker group starts, `after` seconds from now, on the nodes named by letters."""
        self.t += after
        self.step, self.workers = restored, {}
        for rank, node in enumerate(nodes):
            ledger = self.workers[node] = self._open(f"rank-{rank:05d}", node)
            self._note(ledger, "node_up")
            self._note(ledger, "price", value={"usd_per_hour": self.price["usd_per_hour"]})
            ledger.phase("setup", self.now, self.now + 2)
        if restored:
            self.first.phase("checkpoint_restore", self.now + 2.5, self.now + 3, restored)
        self.t += 3
        self._note(self.first, "restore", step=restored, value={"workers": len(nodes), "max_steps": 400})

    def steps(self, count: int, seconds: float = 1.0) -> None:
        for _ in range(count):
            self.t += seconds
            self.step += 1
            figures = {
                "loss": 3 + 5 * math.exp(-self.step / 50),
                "grad_norm": 1.0,
                "learning_rate": 0.003,
                "mfu": 0.4,
                "workers": len(self.workers),
            }
            for ledger in self.workers.values():
                first = ledger is self.first
                value = {"seconds": seconds, "data_wait": 0.01, "tokens": TOKENS if first else 0}
                self._note(ledger, "step", step=self.step, value=value | (figures if first else {}))

    def checkpoint(self) -> None:
        self.t += 2
        self.first.phase("checkpoint_save", self.now - 2, self.now, self.step)
        self._note(self.first, "checkpoint", step=self.step, value={"prefix": "x", "bytes": 16_000_000})

    def validate(self, full: bool = False) -> None:
        self.t += 1
        self.first.phase("eval", self.now - 1, self.now, self.step)
        bits = 2 + 3 * math.exp(-self.step / 50)
        value = {"bits_per_byte": bits, "loss": bits * 2, "documents": 4, "bytes": 1000, "full": full}
        self._note(self.first, "eval", step=self.step, value=value | {"domains": {"verse": bits + 0.1, "prose": bits}})

    def trouble(self) -> None:
        self._note(self.first, "skipped", step=self.step, value={"reason": "not finite"})
        self._note(self.first, "warning", step=self.step, value={"message": "a checkpoint is damaged"})

    def leave(self) -> None:
        """The group ends in order."""
        for ledger in self.workers.values():
            self._note(ledger, "node_down")

    def end(self) -> None:
        self.t += 1
        self._note(self.driver, "node_down")
        self.close()

    def flush(self) -> None:
        for ledger in self.ledgers:
            ledger.flush()

    def close(self) -> None:
        for ledger in self.ledgers:
            ledger.close()
        self.ledgers = []

    @property
    def now(self) -> float:
        return self.start + self.t

    @property
    def first(self) -> Ledger:
        return next(iter(self.workers.values()))

    def _open(self, name: str, node: str) -> Ledger:
        time.sleep(0.002)  # a writer's name holds the millisecond in which it began
        self.ledgers.append(Ledger(self.store, self.run, self.attempt, name, node))
        return self.ledgers[-1]

    def _note(self, ledger: Ledger, kind: str, **fields: Any) -> None:
        ledger.event(kind, ts=self.now, **fields)


def lived(store: Store, run: str, attempt: int, start: float, **more: Any) -> Life:
    """The story up to its last group, which still trains."""
    life = Life(store, run, attempt, start, **more)
    life.group("ab", 0)
    life.steps(20)
    life.checkpoint()
    life.validate()
    life.steps(3)
    life.trouble()
    life.group("a", 20, after=15)
    life.steps(10)
    life.checkpoint()
    life.leave()
    life.group("ac", 30)
    life.steps(10)
    life.validate()
    life.flush()
    return life
