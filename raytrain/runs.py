"""Carrying a recipe out under a name: bind, claim, walk, and leave word of how it ended.

The invariant: a name means one configuration for good, and at most one attempt at a time writes under it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pydantic

import raytrain
from raytrain import pipeline
from raytrain.config import digest
from raytrain.corpus import forgotten, ingest, select
from raytrain.corpus.dedup import step as dedup
from raytrain.corpus.inventory import SourceFile, source_ids
from raytrain.engine import Engine, open_engine
from raytrain.engine.jobs import stop_jobs
from raytrain.errors import Superseded, UserError
from raytrain.evalsets.items import read_items
from raytrain.ledger import Ledger, as_event, price_of
from raytrain.observe.collect import artifacts_of
from raytrain.observe.sinks import keep_metrics, live_tensorboard
from raytrain.recipe import Recipe
from raytrain.store import Artifact, Attempt, Store
from raytrain.store import attempt as attempts
from raytrain.store.journal import Journal
from raytrain.tokens.shards import read_definition
from raytrain.tokens.tokenizer import encoder

MIN_FREE_BYTES = 200 * 2**20
_LAST_WORDS = {
    "succeeded": "finished",
    "stopped": "stopped: run it again to resume",
    "superseded": "superseded by a newer attempt",
    "failed": "failed: mend what is said above and run it again to resume",
}


def bind(recipe: Recipe, store: Store, files: list[SourceFile]) -> None:
    """Ties the run's name to this configuration, or refuses with what differs from the one it is tied to."""
    identity = {**recipe.identity(), "content": source_ids(files)}
    body = {
        "hash": digest(identity),
        "identity": identity,
        "recipe": recipe.model_dump(mode="json"),
        "version": raytrain.__version__,
    }
    key = f"runs/{recipe.name}/recipe.json"
    if store.put_if_absent(key, json.dumps(body, indent=1, sort_keys=True).encode()):
        return
    known = json.loads(store.get(key))
    if known["hash"] != body["hash"]:
        raise UserError(
            f"name: run {recipe.name!r} in {store.uri} has another recipe: {differences(known['identity'], identity)}; "
            "choose another name (finished steps that are equal are shared, not repeated)"
        )


def _refuse_forgotten(store: Store, run: str, made: Mapping[str, Artifact]) -> None:
    """A run stays with the documents it was made of: what is to be forgotten since then asks for another name."""
    corpus = artifacts_of(store, run).get(select.NAME)
    if corpus is None or ingest.NAME not in made or corpus.manifest["parents"]["documents"] != made[ingest.NAME].id:
        return
    since = forgotten.since(made[ingest.NAME], corpus)
    if since:
        raise UserError(
            f"name: run {run!r} was made before {len(since)} of its documents were to be forgotten ({since[0]}); "
            "choose another name to make it without them (steps before select are shared, not repeated)"
        )


def differences(old: Any, new: Any, limit: int = 4) -> str:
    """The first few keys in which two nested documents differ, old then new."""
    before, after = _flat(old), _flat(new)
    keys = [k for k in sorted(before.keys() | after.keys()) if before.get(k) != after.get(k)]
    shown = [f"{k} was {before.get(k, 'absent')!r}, is {after.get(k, 'absent')!r}" for k in keys[:limit]]
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return "; ".join(shown) + more


def finished(run: str, store: Store) -> dict[str, Any] | None:
    """The result of a run that has succeeded, None otherwise."""
    try:
        return dict(json.loads(store.get(f"runs/{run}/result.json")))
    except FileNotFoundError:
        return None


def stop(store: Store, run: str, wait: float = 90.0) -> bool:
    """Ends a run wherever it is carried out, as Ctrl-C would; False when nothing of it was alive.

    Its driver is asked through the store, so that no flow and no job server is needed; a job that has not begun yet,
    or whose driver does not end within `wait` seconds, is ended by Ray. Raises UserError when neither did it.
    """
    number, found = attempts.newest(store, run), "none"
    if number and attempts.ended(store, run, number) is None:
        attempts.request_stop(store, run, number)
        found = attempts.wait_for_end(store, run, number, wait)
    try:
        jobs = stop_jobs(store, run)
    except UserError:
        if found != "ended" and not finished(run, store):
            raise
        jobs = []
    if found == "working" and not jobs:
        raise UserError(
            f"run {run!r}: attempt {number} still works after {wait:.0f} s; it looks for the request every few "
            "seconds, so wait longer with --wait, or end its process where it runs"
        )
    return found == "ended" or bool(jobs)


@dataclass
class Held:
    """A name that this process writes under: its attempt, its journal, the state in which it will be left."""

    attempt: Attempt
    journal: Journal
    tell: Callable[[str], None]
    state: str = "failed"


@contextmanager
def hold(store: Store, name: str, say: Callable[[str], None], **claim: Any) -> Iterator[Held]:
    """Claims the next attempt of a name and leaves word of how the block ended; `claim` as Attempt.claim takes it."""
    attempt = Attempt.claim(store, name, say=say, **claim)
    journal = Journal(store, name, attempt.number)

    def tell(line: str) -> None:
        say(line)
        journal.say(line)

    held = Held(attempt, journal, tell)
    try:
        yield held
    except KeyboardInterrupt:
        held.state = "stopped"
        raise
    except Superseded:
        held.state = "superseded"
        raise
    except UserError as error:
        journal.say(f"error: {error}")
        raise
    except Exception as error:
        journal.say(f"error: {type(error).__name__}: {error}")
        raise
    finally:
        if held.state in _LAST_WORDS:
            journal.say(_LAST_WORDS[held.state])
        journal.close()
        attempt.release(held.state)


def execute(
    recipe: Recipe,
    *,
    say: Callable[[str], None],
    take_over: bool = False,
    until: str | None = None,
    training: Callable[[Store, str, int, float, Callable[[str], None]], Any] | None = None,
    engine: Engine | None = None,
    on_superseded: Callable[[Superseded], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Walks the steps of a recipe to the end, or to the step `until`, and returns what was made.

    Nothing is done that is done already. `training` gives a context manager that shows progress while the model
    trains, and is handed a function that notes lines in the run's journal; `engine` is used instead of the one the
    recipe names; `on_superseded` is told on a thread when another attempt takes over, `on_stop` when somebody asked
    this one to stop. What is said after the claim goes to the run's journal too. Raises UserError with one line for
    what the user can mend, before anything is spent where that is possible.
    """
    steps = pipeline.steps_of(recipe)
    last = pipeline.find(recipe, until) if until else steps[-1]
    price = price_of(recipe.cost)
    _foresee(recipe)
    store = Store(recipe.store)
    store.probe()
    dedup.config_of(recipe.corpus, store)  # refuses what `against` names and the store has not
    _room(store)
    files, made = pipeline.look(recipe, store, say)
    bind(recipe, store, files)
    _refuse_forgotten(store, recipe.name, made)
    done = finished(recipe.name, store)
    if last.name in made and (until or done):
        what = "is finished, every step's result" if done else f"has come as far as {last.name}, its result"
        _note_lineage(store, recipe.name, made)  # another run may have made them
        say(f"nothing to do: run {recipe.name!r} {what} is in {store.uri}")
        return done or _result(recipe, made, "partial")
    if price.stale_days:
        say(f"note: the price of {price.instance} is {price.stale_days} days older than the 90 it should be trusted")
    claim = {"take_over": take_over, "on_superseded": on_superseded, "on_stop": on_stop}
    with hold(store, recipe.name, say, **claim) as held:
        with nullcontext(engine) if engine else open_engine(recipe.engine, recipe.train, held.tell) as place:
            walk = pipeline.Walk(recipe, store, place, held.attempt, price, held.tell, files)
            for step in steps:
                if step.name == "pretrain" and "pretrain" not in made:
                    _train(walk, step, training, held.journal)
                else:
                    pipeline.carry_out(walk, step)
                _note_lineage(store, recipe.name, walk.made)
                if step.name == last.name:
                    break
        result = _result(recipe, walk.made, "partial" if until else "succeeded")
        if until is None:
            keep_metrics(store, recipe.name)
            held.attempt.check()
            store.replace(f"runs/{recipe.name}/result.json", json.dumps(result, indent=1).encode())
        held.state = result["state"]
        if until:
            held.journal.say(f"done as far as {last.name}")
        return result


def _train(walk: pipeline.Walk, step: pipeline.Step, training: Callable[..., Any] | None, journal: Journal) -> None:
    """The pretrain step with the books open: this machine is paid for from here to the end of it."""
    ledger = Ledger(walk.store, walk.recipe.name, walk.attempt.number, "driver", walk.engine.node())
    ledger.event("node_up", value={"instance": walk.price.instance, "market": walk.price.market})
    ledger.event("price", value=as_event(walk.price))
    ledger.flush()
    name, number, usd = walk.recipe.name, walk.attempt.number, walk.price.usd_per_hour
    watching = live_tensorboard(walk.store, name) if walk.recipe.observe.tensorboard else nullcontext()
    showing = training(walk.store, name, number, usd, journal.say) if training else nullcontext()
    try:
        with watching, showing:
            pipeline.carry_out(walk, step)
    finally:
        ledger.event("node_down")
        ledger.close()


def _note_lineage(store: Store, run: str, made: Mapping[str, Artifact]) -> None:
    """Which artifacts are the run's so far."""
    body = json.dumps({name: artifact.prefix for name, artifact in made.items()})
    key = f"runs/{run}/lineage.json"
    if not store.put_if_absent(key, body.encode()) and store.get(key) != body.encode():
        store.replace(key, body.encode())


def _result(recipe: Recipe, made: Mapping[str, Artifact], state: str) -> dict[str, Any]:
    return {
        "run": recipe.name,
        "state": state,
        "at": time.time(),
        "artifacts": {
            name: {"id": a.id, "prefix": a.prefix, "sha256": a.manifest["sha256"]} for name, a in made.items()
        },
    }


def _foresee(recipe: Recipe) -> None:
    """Raises UserError for what would stop a later step and can be known before the first."""
    for held in recipe.corpus.decontaminate.sets:
        for _ in read_items(held):
            pass
    select.config_of(recipe.corpus)
    vocab_size, given = recipe.tokenizer.vocab_size, recipe.tokenizer.file
    if given is not None:
        definition = read_definition(given)
        try:
            vocab_size = encoder(definition, recipe.tokenizer.end_of_text).vocab_size
        except UserError as error:
            raise UserError(f"tokenizer.file: {given}: {error}") from None
    try:
        recipe.train.resolved(recipe.model, vocab_size)
    except pydantic.ValidationError as error:
        raise UserError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _room(store: Store) -> None:
    if not store.local:
        return
    free = shutil.disk_usage(store.root if store.exists("") else "/").free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"store: {free >> 20} MiB free at {store.root}, at least {MIN_FREE_BYTES >> 20} are needed; "
            "free some or point `store` elsewhere"
        )


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{path}.{key}" if path else key).items()}
    if isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        return {k: v for i, inner in enumerate(value) for k, v in _flat(inner, f"{path}.{i}").items()}
    return {path: value}
