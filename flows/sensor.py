"""Looks whether a recipe's sources hold new objects, and starts a curation if so. Holds no state of its own."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.deployments import run_deployment
from prefect.runtime import deployment
from prefect.settings import PREFECT_API_URL

from flows.following import failed
from flows.works import RECIPE, in_store, order
from raytrain.errors import UserError
from raytrain.services.prefect import check_prefect_version


@flow(name="sensor")
def sensor(recipe: str = RECIPE, overrides: tuple[str, ...] = (), store: str | None = None) -> Any:
    """Starts `curate` with snapshot=true unless what lies in the sources now has been curated.

    A listing is all that it reads. The digest of the listing names the run and the flow run that it starts, so that
    looking twice starts one.

    Args:
        recipe: path (from RAYTRAIN_ROOT) or URI of the recipe whose sources are watched
        overrides: changes of the recipe
        store: where runs are kept; wins over the recipe's and over RAYTRAIN_STORE
    """
    log = get_run_logger()
    try:
        check_prefect_version(str(PREFECT_API_URL.value()))
        found = order(recipe, overrides, store, snapshot=True)
    except UserError as error:
        return failed(str(error))
    if in_store(found.store, found.recipe.name, "select"):
        log.info("nothing new: %s is curated", found.recipe.name)
        return {"run": found.recipe.name, "started": False}
    started: Any = run_deployment(
        f"curate/{deployment.name or 'local'}",
        parameters={"recipe": recipe, "overrides": list(overrides), "store": store, "snapshot": True},
        timeout=0,
        as_subflow=False,
        idempotency_key=found.recipe.name,
    )
    log.info("new objects: curation %s is flow run %s", found.recipe.name, started.name)
    return {"run": found.recipe.name, "started": True}
