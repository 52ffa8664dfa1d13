"""From tokens to a model."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.following import stop_on_cancel, walk
from flows.works import RECIPE


@flow(name="pretrain", on_cancellation=[stop_on_cancel])
def pretrain(recipe: str = RECIPE, overrides: tuple[str, ...] = (), store: str | None = None) -> Any:
    """Trains the model of a recipe, on what workers there are; what is missing before it is made first.

    Args:
        recipe: path (from RAYTRAIN_ROOT) or URI of the recipe
        overrides: changes such as train.max_steps=500
        store: where runs are kept; wins over the recipe's and over RAYTRAIN_STORE
    """
    return walk(recipe, overrides, store, ["pretrain"])
