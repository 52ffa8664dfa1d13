"""From raw text to a corpus: ingest, annotate, deduplicate, select."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.following import stop_on_cancel, walk
from flows.works import RECIPE


@flow(name="curate", on_cancellation=[stop_on_cancel])
def curate(
    recipe: str = RECIPE, overrides: tuple[str, ...] = (), store: str | None = None, snapshot: bool = False
) -> Any:
    """Makes the corpus of a recipe.

    Args:
        recipe: path (from RAYTRAIN_ROOT) or URI of the recipe
        overrides: changes such as corpus.dedup.jaccard=0.8
        store: where runs are kept; wins over the recipe's and over RAYTRAIN_STORE
        snapshot: name the run after what lies in the sources now: new objects make a new run, none makes none
    """
    return walk(recipe, overrides, store, ["select"], snapshot)
