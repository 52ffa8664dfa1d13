"""Prefect's server, its worker and our deployments, as `raytrain up` starts them: programs and HTTP, no import.

The invariant: server, worker and deployments come from one installation, so that their versions agree.
"""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from raytrain.errors import UserError
from raytrain.observe.prefect import authorization
from raytrain.services import programs
from raytrain.services.place import HOST, Place
from raytrain.services.processes import Started
from raytrain.services.service import Service
from raytrain.services.web import ask, well

POOL = "raytrain-local"
WORKER = "raytrain"
_SILENCE_SECONDS = 100  # a worker speaks every 30
_ENVIRONMENT = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # Without these two, `prefect deployment run --watch` shows no line of a log.
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
    "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
    "PREFECT_SERVER_METRICS_ENABLED": "true",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # the default, 180 s, lets healthy runs look dead
    "PREFECT_WORKER_QUERY_SECONDS": "4",  # the default, 10, is a person's whole patience
    "PREFECT_LOGGING_COLORS": "false",
}


def server(place: Place) -> Service:
    url = f"{place.url('prefect')}/api"
    return Service(
        name="prefect",
        argv=[str(programs.find("prefect")), "server", "start", "--host", HOST, "--port", str(place.port("prefect"))],
        environment=place.services_environment() | _ENVIRONMENT,
        folder=place.folder,
        ports=place.ports_of("prefect"),
        url=place.url("prefect"),
        healthy=lambda _: well(f"{url}/health"),
        then=lambda: _make_pool(url),
    )


def worker(place: Place) -> Service:
    """Carries out flow runs; it has the whole environment, for cancellation hooks run in it and speak to Ray."""
    options = ["--pool", POOL, "--type", "process", "--name", WORKER]
    return Service(
        name="worker",
        argv=[str(programs.find("prefect")), "worker", "start", *options],
        environment=place.services_environment() | _ENVIRONMENT,
        folder=place.root,
        ports=(),
        url=f"{place.url('prefect')}/work-pools/work-pool/{POOL}",
        healthy=lambda process: worker_speaks(place, process),
        after=("prefect",),
        keeps_orphans=True,
    )


def deploy_command(place: Place) -> list[str]:
    """Registers the deployments named `local` of the root's prefect.yaml: the others are other clusters'."""
    return [str(programs.find("prefect")), "--no-prompt", "deploy", "--name", "*/local"]


def deploy_environment(place: Place) -> dict[str, str]:
    return place.services_environment() | _ENVIRONMENT


def deployments_digest(place: Place) -> str | None:
    """Changes when the deployments must be registered anew; None where there are none."""
    if not (place.root / "prefect.yaml").exists():
        return None
    seen = hashlib.sha256()
    for path in [place.root / "prefect.yaml", *sorted((place.root / "flows").glob("*.py"))]:
        seen.update(str(path).encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()


def worker_speaks(place: Place, process: Started) -> bool:
    """Whether the worker of this start has said lately that it lives."""
    answer = ask(f"{place.url('prefect')}/api/work_pools/{POOL}/workers/filter", body={})
    if answer is None or answer[0] != 200:
        return False
    heard = [w["last_heartbeat_time"] for w in json.loads(answer[1]) if w["name"] == WORKER]
    return any(_fresh(when, process) for when in heard if when)


def check_prefect_version(url: str) -> None:
    """Raises UserError, one line, unless a Prefect server of our version answers at `url` (PREFECT_API_URL)."""
    try:
        ours = version("prefect")
    except PackageNotFoundError:
        raise UserError("prefect: not installed; pip install 'raytrain[flows]'") from None
    answer = ask(f"{url.rstrip('/')}/admin/version", headers=authorization())
    if answer is None:
        raise UserError(f"PREFECT_API_URL={url}: nobody answers; is the server up? `raytrain status` tells")
    if answer[0] in (401, 403):
        given = [name for name in ("PREFECT_API_AUTH_STRING", "PREFECT_API_KEY") if os.environ.get(name)]
        held = f"{given[0]} is wrong" if given else "it is not set"
        raise UserError(f"PREFECT_API_AUTH_STRING: Prefect at {url} refuses us, {held}; set the server's user:password")
    try:
        theirs = json.loads(answer[1]) if answer[0] == 200 else None
    except ValueError:
        theirs = None
    if not isinstance(theirs, str):
        raise UserError(f"PREFECT_API_URL={url}: no Prefect server answers there; it ends in /api, as a rule")
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        raise UserError(
            f"PREFECT_API_URL={url}: the server is Prefect {theirs}, this is {ours}; install prefect=={theirs} here or "
            f"{ours} there"
        )


def _make_pool(url: str) -> None:
    """Made here, so that worker and deployments need not wait for each other; the worker fills in the template."""
    answer = ask(f"{url}/work_pools/", body={"name": POOL, "type": "process"})
    if answer is None or answer[0] not in (201, 409):  # 409: it is there
        raise UserError(f"prefect: the work pool {POOL} could not be made: {answer}")


def _fresh(when: str, process: Started) -> bool:
    heard = datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()
    now = datetime.now().timestamp()
    return heard > process.born and now - heard < _SILENCE_SECONDS
