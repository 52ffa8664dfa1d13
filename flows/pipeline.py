"""The whole run, a task and a job a stage, so that the page shows where it is."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.following import stop_on_cancel, walk
from flows.works import RECIPE


@flow(name="pipeline", on_cancellation=[stop_on_cancel])
def pipeline(recipe: str = RECIPE, overrides: tuple[str, ...] = (), store: str | None = None) -> Any:
    """Carries a recipe out from its sources to the report.

    Args:
        recipe: path (from RAYTRAIN_ROOT) or URI of the recipe
        overrides: changes such as train.max_steps=500
        store: where runs are kept; wins over the recipe's and over RAYTRAIN_STORE
    """
    return walk(recipe, overrides, store, ["select", "tokenize", "pretrain", "evaluate"])
