"""From a corpus to tokens: the tokenizer, then the token shards."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.following import stop_on_cancel, walk
from flows.works import RECIPE


@flow(name="tokenize", on_cancellation=[stop_on_cancel])
def tokenize(recipe: str = RECIPE, overrides: tuple[str, ...] = (), store: str | None = None) -> Any:
    """Makes the tokens of a recipe, and the corpus before them where it is missing.

    Args:
        recipe: path (from RAYTRAIN_ROOT) or URI of the recipe
        overrides: changes such as train.max_steps=500
        store: where runs are kept; wins over the recipe's and over RAYTRAIN_STORE
    """
    return walk(recipe, overrides, store, ["tokenize"])
