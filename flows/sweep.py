"""Many small runs and the law that fits them, as one Ray job."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.following import stop_on_cancel, sweep_out
from flows.works import RECIPE


@flow(name="sweep", on_cancellation=[stop_on_cancel])
def sweep(
    recipe: str = RECIPE, overrides: tuple[str, ...] = (), store: str | None = None, name: str | None = None
) -> Any:
    """Carries a sweep out.

    Args:
        recipe: path (from RAYTRAIN_ROOT) or URI of the recipe whose tokens and model family are swept
        overrides: changes such as corpus.dedup.jaccard=0.8
        store: where sweeps are kept; wins over the recipe's and over RAYTRAIN_STORE
        name: the sweep's name; by default the recipe's with -sweep
    """
    return sweep_out(recipe, overrides, store, name)
