"""What flows are asked for, and the jobs that do it: a recipe as read, the steps of its run, a sweep.

Plain data and lookups in the store; no framework. The invariant: a job's driver reads the same recipe as its flow.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain import recipe as recipes
from raytrain import sweep as sweeps
from raytrain.config import digest
from raytrain.corpus.inventory import listing_digest
from raytrain.observe.collect import artifacts_of
from raytrain.recipe import Recipe
from raytrain.store import Store

RECIPE = os.environ.get("RAYTRAIN_RECIPE", "recipes/quickstart.yaml")
SNAPSHOT_DIGITS = 8
_LONGEST = 60 - SNAPSHOT_DIGITS - 1  # a run's name has 60 characters at most


@dataclass(frozen=True)
class Order:
    """What a flow was asked for: the recipe as read, and how a driver reads the same one."""

    recipe: Recipe
    uri: str
    overrides: tuple[str, ...]
    store: Store

    def command(self, *words: str) -> list[str]:
        """A driver's command line. The cluster's image may hold another Python than this process."""
        python = os.environ.get("RAYTRAIN_JOB_PYTHON") or sys.executable
        changes = [word for change in self.overrides for word in ("--set", change)]
        return [python, *words, self.uri, *changes, "--store", self.store.uri]


@dataclass(frozen=True)
class Work:
    """What one job does: a step of a run, or a sweep."""

    run: str
    step: str
    command: list[str]
    identity: str
    """The digest of what decides the result, but for the sources' objects."""
    present: Callable[[], bool]
    """Whether its result is in the store: nobody deleted what a finished job had made."""
    result: Callable[[], dict[str, Any]]


def order(recipe: str, overrides: Sequence[str], store: str | None, snapshot: bool = False) -> Order:
    """Reads the recipe. A relative path counts from the flows' working directory, RAYTRAIN_ROOT.

    With `snapshot` the run is named after what lies in the sources now, so that new objects make a run of their own.
    """
    uri = absolute(recipe)
    loaded = recipes.load(uri, overrides, store)
    if snapshot:
        overrides = [*overrides, f"name={snapshot_name(loaded)}"]
        loaded = recipes.load(uri, overrides, store)
    return Order(loaded, uri, tuple(overrides), Store(loaded.store))


def absolute(recipe: str) -> str:
    return recipe if "://" in recipe else os.path.abspath(recipe)


def snapshot_name(recipe: Recipe) -> str:
    """The name of the run of this recipe over the objects that the sources hold now, by their listing alone."""
    content = digest([recipe.identity(), listing_digest(recipe.sources)])
    return f"{recipe.name[:_LONGEST]}-{content[:SNAPSHOT_DIGITS]}"


def is_snapshot_of(recipe: Recipe, name: str) -> bool:
    """Whether a run's name is one that `snapshot_name` gives, whatever lay in the sources then."""
    return bool(re.fullmatch(re.escape(recipe.name[:_LONGEST]) + rf"-[0-9a-f]{{{SNAPSHOT_DIGITS}}}", name))


def of_step(given: Order, step: str) -> Work:
    store, run = given.store, given.recipe.name
    whole = "all" if step == "evaluate" else step  # the last step ends the run: its report, its exported model
    return Work(
        run,
        step,
        given.command("-m", "raytrain.step", whole),
        digest(given.recipe.identity()),
        lambda: in_store(store, run, step),
        lambda: result_of(store, run),
    )


def of_sweep(given: Order, name: str) -> Work:
    def done() -> dict[str, Any]:
        return sweeps.finished(given.store, name) or {}

    return Work(
        name,
        "sweep",
        [*given.command("-m", "raytrain.step", "sweep"), "--name", name],
        digest([given.recipe.identity(), given.recipe.sweep.model_dump(mode="json")]),
        lambda: done().get("state") == "succeeded",
        lambda: {"sweep": name, "store": given.store.uri, "law": done().get("law")},
    )


def in_store(store: Store, run: str, step: str) -> bool:
    """Whether a finished job's work is still there: nobody deleted what it had made."""
    made = artifacts_of(store, run)
    return step in made and (step != "evaluate" or store.exists(f"runs/{run}/report.html"))


def result_of(store: Store, run: str) -> dict[str, Any]:
    """What a run has made, small enough for a flow's result."""
    made = artifacts_of(store, run)
    model = made["pretrain"].facts if "pretrain" in made else {}
    return {
        "run": run,
        "store": store.uri,
        "artifacts": {name: artifact.id for name, artifact in made.items()},
        "parameter_sha256": model.get("parameter_sha256"),
    }
