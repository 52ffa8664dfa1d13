"""A scaling sweep: a recipe's tokens, a grid of trainings on them, the law that they follow, and its report.

A trial is the recipe's own pretrain step with another size and horizon, so that it is an artifact like any model: the
same id wherever it is made, never made twice, resumed from its own checkpoints. A sweep holds its name like a run,
with attempts, heartbeat and journal below runs/NAME. The invariant: a point is read from a committed artifact, so that
whatever was killed on the way, each trial counts once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import raytrain
from raytrain import pipeline, runs
from raytrain.config import digest
from raytrain.engine import Engine, open_engine
from raytrain.engine.tune import run_trials
from raytrain.errors import Superseded, UserError
from raytrain.ledger import account, price_of, read_events
from raytrain.ledger.prices import Price, table
from raytrain.recipe import Recipe
from raytrain.scaling.section import Cell, grid
from raytrain.store import Artifact, ArtifactWriter, Attempt, Store, open_artifact
from raytrain.store import attempt as attempts
from raytrain.store.artifact import table_bytes
from raytrain.train.job import TrainJob
from raytrain.train.progress import read_failure

Say = Callable[[str], None]


@dataclass(frozen=True)
class Trial:
    """One cell of the grid as a run of its own."""

    run: str
    cell: Cell
    recipe: Recipe
    prefix: str
    """Where its model artifact lies."""
    parameters: int
    embedding: int
    flops: float


def sweep_name(recipe: Recipe, name: str | None) -> str:
    """The sweep's name, by default the recipe's with `-sweep`. Raises UserError for one that is no run's name."""
    chosen = name or f"{recipe.name}-sweep"
    if not chosen.replace("-", "").replace("_", "").isalnum() or not chosen.isascii() or chosen[0] in "-_":
        raise UserError(f"--name: {chosen!r}: a sweep's name is made of letters, digits, dash and underscore")
    if chosen == recipe.name:
        raise UserError(f"--name: {chosen!r} is the recipe's own run; choose another name for the sweep")
    return chosen


def execute(
    recipe: Recipe,
    *,
    say: Say,
    name: str | None = None,
    take_over: bool = False,
    on_superseded: Callable[[Superseded], None] | None = None,
    on_stop: Callable[[], None] | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """Carries a sweep to its end and returns what `sweep.json` in docs/schemas describes.

    Finished steps and trials are not repeated. Raises Busy when a live attempt holds the sweep, and UserError for what
    the user can mend; trials that failed are named at the end, when all others are done.
    """
    name = sweep_name(recipe, name)
    price = price_of(recipe.cost)
    store = Store(recipe.store)
    store.probe()
    if store.exists(f"runs/{name}/recipe.json"):
        raise UserError(f"--name: {name!r} is a run in {store.uri}; choose another name for the sweep")
    files, made = pipeline.look(recipe, store, say)
    if "tokenize" in made:
        trials = plan_trials(recipe, name, files, made)
        _bind(store, name, recipe, trials, made)
        done = finished(store, name)
        if done and done["state"] == "succeeded" and _has_draws(done["law"], recipe.sweep.draws):
            say(f"nothing to do: sweep {name!r} is finished, its results are in {store.where(f'sweeps/{name}')}")
            return done
    claim = {"take_over": take_over, "on_superseded": on_superseded, "on_stop": on_stop}
    with runs.hold(store, name, say, **claim) as held:
        tell = held.tell
        with nullcontext(engine) if engine else open_engine(recipe.engine, recipe.train, tell) as place:
            if "tokenize" not in made:
                runs.execute(recipe, say=tell, take_over=take_over, until="tokenize", engine=place)
                files, made = pipeline.look(recipe, store, lambda line: None)
            trials = plan_trials(recipe, name, files, made)
            _bind(store, name, recipe, trials, made)
            result = _walk(Course(store, name, recipe, trials, made, held.attempt, price, tell), place)
        _complain(result)
        held.state = "succeeded"
        return result


def _has_draws(law: Mapping[str, Any] | None, count: int) -> bool:
    """Whether a law has the bootstrap that is asked for; a grid of too few trials has no law, whatever is asked."""
    return law is None or law["draws"]["count"] == count


def _complain(result: Mapping[str, Any]) -> None:
    if result["failed"]:
        first = result["failed"][0]
        raise UserError(
            f"{len(result['failed'])} of {len(result['points'])} trials failed, the first: {first['run']}: "
            f"{first['why']} (the others are done and kept)"
        )


def plan_trials(recipe: Recipe, name: str, files: Any, made: Mapping[str, Artifact]) -> list[Trial]:
    """The trials of a recipe whose tokens are made, by rising size, then tokens."""
    vocab_size = int(made["tokenizer"].facts["vocab_size"])
    step, trials = pipeline.find(recipe, "pretrain"), []
    for cell in grid(recipe.sweep, recipe.model, recipe.train, vocab_size):
        own = recipe.model_copy(update={"name": f"{name}-{cell.name}", "model": cell.model, "train": cell.train})
        counts = cell.model.parameter_counts(vocab_size)
        trials.append(
            Trial(
                run=own.name,
                cell=cell,
                recipe=own,
                prefix=pipeline.prefix_of(step, own, files, made),
                parameters=sum(counts.values()),
                embedding=counts["embedding"],
                flops=cell.flops(vocab_size),
            )
        )
    return trials


def _bind(store: Store, name: str, recipe: Recipe, trials: Sequence[Trial], made: Mapping[str, Artifact]) -> None:
    """Ties the sweep's name to this grid on these tokens, or refuses with what differs."""
    identity = {
        "data": made["tokenize"].id,
        "seed": recipe.seed,
        "grid": [trial.cell.name for trial in trials],
        "trials": {
            t.cell.name: {"model": t.cell.model.resolved().model_dump(mode="json"), "train": t.cell.train.identity()}
            for t in trials
        },
    }
    body = {"hash": digest(identity), "identity": identity, "version": raytrain.__version__}
    key = f"sweeps/{name}/sweep.json"
    if store.put_if_absent(key, json.dumps(body, indent=1, sort_keys=True).encode()):
        return
    known = json.loads(store.get(key))
    if known["hash"] != body["hash"]:
        told = runs.differences(known["identity"], identity)
        raise UserError(f"--name: sweep {name!r} in {store.uri} has another grid or data: {told}; choose another name")


def _record(store: Store, trial: Trial) -> dict[str, Any] | None:
    """The record of a trial's finished model."""
    return ArtifactWriter(store, trial.prefix).record(0)


def finished(store: Store, name: str) -> dict[str, Any] | None:
    """How a sweep ended when it last did, None while it never has."""
    try:
        return dict(json.loads(store.get(f"sweeps/{name}/result.json")))
    except FileNotFoundError:
        return None


# -- the trials -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """One attempt at a sweep whose tokens are made."""

    store: Store
    name: str
    recipe: Recipe
    trials: Sequence[Trial]
    made: Mapping[str, Artifact]
    attempt: Attempt
    price: Price
    say: Say


class _Board:
    """What is done, running and to come: spoken, and kept in state.json for the exporter. Thread-safe."""

    def __init__(self, course: Course) -> None:
        self._course, self._lock = course, threading.Lock()
        self._by_run = {trial.run: trial for trial in course.trials}
        self._running: set[str] = set()
        self._failed: set[str] = set()
        done = [p for t in course.trials if (p := _point(course, t)) is not None]
        self._losses = {p["run"]: p["loss"] for p in done}
        self._costs = {p["run"]: p["cost_usd"] for p in done}
        self.write()

    def told(self, run: str, state: str) -> None:
        with self._lock:
            trial = self._by_run[run]
            if state == "running":
                self._running.add(run)
            elif run not in self._losses and run not in self._failed:  # a restarted trial may be told of twice
                self._running.discard(run)
                self._ended(trial)
        self.write()

    def _ended(self, trial: Trial) -> None:
        course = self._course
        why = read_failure(course.store, trial.run, course.attempt.number)
        if why is None and _record(course.store, trial) is not None:
            course.attempt.check()
            _commit(course, trial)
            point = _point(course, trial)
            assert point is not None
            self._losses[trial.run], self._costs[trial.run] = point["loss"], point["cost_usd"]
            course.say(
                f"  {len(self._losses)}/{len(self._by_run)}  {trial.cell.name}: {point['loss']:.4f} nats a token, "
                f"{point['bits_per_byte']:.4f} bits per byte, {point['seconds']:.0f} s"
            )
        else:
            self._failed.add(trial.run)
            course.say(f"  {trial.cell.name} failed: {why or 'it ended without a model'}")

    def rest(self) -> None:
        """Nothing runs any more, however it ended."""
        with self._lock:
            self._running.clear()
        self.write()

    def write(self) -> None:
        with self._lock:
            done, running, failed = len(self._losses), len(self._running - self._losses.keys()), len(self._failed)
            body = {
                "sweep": self._course.name,
                "trials": {
                    "done": done,
                    "running": running,
                    "failed": failed,
                    "planned": len(self._by_run) - done - running - failed,
                },
                "best_loss": min(self._losses.values(), default=None),
                "cost_usd": sum(self._costs.values()),
                "at": time.time(),
            }
            self._course.store.replace(f"sweeps/{self._course.name}/state.json", json.dumps(body).encode())


def _walk(course: Course, engine: Engine) -> dict[str, Any]:
    store, trials = course.store, course.trials
    for trial in trials:
        if _record(store, trial) is not None:
            _commit(course, trial)  # its driver may have died between the model and the manifest
    board = _Board(course)
    missing = sorted((t for t in trials if _record(store, t) is None), key=lambda t: -t.flops)
    start = time.time()
    if missing:
        have = f", {len(trials) - len(missing)} of them done" if len(missing) < len(trials) else ""
        course.say(f"[sweep] {len(trials)} trials{have}; {sum(t.flops for t in missing):.2e} FLOPs to do")
        usd = course.price.usd_per_hour / _trials_a_node(course.recipe)
        jobs = [_job(course, trial, usd) for trial in missing]
        try:
            run_trials(engine, jobs, course.recipe.sweep.concurrency, board.told)
        finally:
            board.rest()
    course.attempt.check()
    return _conclude(course, time.time() - start)


def _job(course: Course, trial: Trial, usd_per_hour: float) -> TrainJob:
    """A trial's job. Its attempts carry the sweep's number, so that a process of a dead driver finds itself superseded
    at its next checkpoint."""
    number = course.attempt.number
    claim = asdict(attempts.read_claim(course.store, course.name, number)) | {"sweep": course.name, "at": time.time()}
    course.store.put_if_absent(f"runs/{trial.run}/attempts/{number:05d}.json", json.dumps(claim).encode())
    return TrainJob(
        store=course.store.uri,
        run=trial.run,
        attempt=number,
        seed=course.recipe.seed,
        model=trial.cell.model,
        train=trial.cell.train,
        tokens=course.made["tokenize"].prefix,
        tokenizer=course.made["tokenizer"].prefix,
        output=trial.prefix,
        usd_per_hour=usd_per_hour,
    )


def _trials_a_node(recipe: Recipe) -> int:
    """How many trials share a node and its price: one a GPU, or one a core."""
    gpus = table()["instances"].get(recipe.cost.instance, {}).get("gpus")
    room = int(gpus) if gpus else (os.cpu_count() or 1) // recipe.train.threads
    return max(1, min(room, recipe.sweep.concurrency or room))


def _commit(course: Course, trial: Trial) -> None:
    """The manifest of a trial whose model is written, if it is not there yet."""
    if open_artifact(course.store, trial.prefix) is not None:
        return
    step = pipeline.find(trial.recipe, "pretrain")
    record = _record(course.store, trial)
    assert record is not None
    books = account(read_events(course.store, trial.run))
    ArtifactWriter(course.store, trial.prefix).commit(
        artifact=trial.prefix.rsplit("/", 1)[1],
        step=step.name,
        version=step.version,
        config=step.config(trial.recipe, course.made),
        parents={role: course.made[parent].id for role, parent in step.parents.items()},
        shards=[record],
        facts=record["facts"],
        cost={"seconds": books.elapsed_seconds, "usd": books.cost_usd},
    )


# -- the points and the law -----------------------------------------------------------------------------------------


def _point(course: Course, trial: Trial) -> dict[str, Any] | None:
    """The row of a finished trial, read from its artifact; None while there is none."""
    artifact = open_artifact(course.store, trial.prefix)
    if artifact is None:
        return None
    final, cost, train = artifact.facts["validation"], artifact.manifest["cost"], trial.cell.train
    return {
        "run": trial.run,
        "parameters": trial.parameters,
        "non_embedding_parameters": trial.parameters - trial.embedding,
        "tokens": int(artifact.facts["tokens"]),
        "flops": trial.flops,
        "loss": float(final["loss"]),
        "bits_per_byte": float(final["bits_per_byte"]),
        "depth": trial.cell.model.depth,
        "learning_rate": train.learning_rate,
        "batch_tokens": (train.batch_sequences or 0) * trial.cell.model.context,
        "steps": train.max_steps,
        "seed": course.recipe.seed,
        "seconds": float(cost["seconds"]),
        "cost_usd": float(cost["usd"]),
        "status": "done",
    }


def _missing(course: Course, trial: Trial) -> dict[str, Any]:
    """The row of a trial without a model: what was planned."""
    train = trial.cell.train
    return {
        "run": trial.run,
        "parameters": trial.parameters,
        "non_embedding_parameters": trial.parameters - trial.embedding,
        "tokens": trial.cell.tokens,
        "flops": trial.flops,
        "loss": None,
        "bits_per_byte": None,
        "depth": trial.cell.model.depth,
        "learning_rate": train.learning_rate,
        "batch_tokens": (train.batch_sequences or 0) * trial.cell.model.context,
        "steps": train.max_steps,
        "seed": course.recipe.seed,
        "seconds": None,
        "cost_usd": None,
        "status": "failed",
    }


def _conclude(course: Course, seconds: float) -> dict[str, Any]:
    """Writes points, law and report, which can be remade from the artifacts at any time, and returns the result."""
    import pyarrow as pa

    from raytrain.observe.sweep import render
    from raytrain.scaling.study import study

    store, base = course.store, f"sweeps/{course.name}"
    rows = [_point(course, trial) or _missing(course, trial) for trial in course.trials]
    finished = [row for row in rows if row["status"] == "done"]
    store.replace(f"{base}/points.parquet", table_bytes(pa.Table.from_pylist(rows)))
    law = None
    if len(finished) >= 3:
        law, draws = study(finished, seed=course.recipe.seed, draws=course.recipe.sweep.draws)
        law |= {"sweep": course.name, "data": course.made["tokenize"].id, "at": time.time()}
        store.replace(f"{base}/draws.npy", draws)
        store.replace(f"{base}/law.json", json.dumps(law, indent=1).encode())
    failures = [_failure(course, t) for t, row in zip(course.trials, rows, strict=True) if row["status"] == "failed"]
    result = {
        "sweep": course.name,
        "state": "failed" if failures else "succeeded",
        "at": time.time(),
        "seconds": seconds,
        "points": rows,
        "law": law,
        "failed": failures,
        "paths": {name: store.where(f"{base}/{name}") for name in ("points.parquet", "law.json", "report.html")},
    }
    store.replace(f"{base}/report.html", render(result).encode())
    store.replace(f"{base}/result.json", json.dumps(result, indent=1).encode())
    return result


def _failure(course: Course, trial: Trial) -> dict[str, str]:
    why = read_failure(course.store, trial.run, course.attempt.number)
    return {"run": trial.run, "why": str(why) if why else "it ended without a model"}
