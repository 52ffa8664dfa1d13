"""A Ray head on loopback with a token, as `raytrain up` starts it, and what its job server says over HTTP.

Imports nothing of Ray. The invariant: nothing of it listens on any address but loopback.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from raytrain.services import programs
from raytrain.services.place import HOST, Place
from raytrain.services.service import Service
from raytrain.services.web import ask, well

DISCOVERY = "prom_metrics_service_discovery.json"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_JOB_STOP_WAIT_TIME_S": "30",  # a stopped training saves first; Ray would kill it after three seconds
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_OBJECT_STORE_BYTES = 1 << 30


def service(place: Place) -> Service:
    headers = _headers(place.environment())
    agent = f"{place.url('agent')}/api/local_raylet_healthz"
    environment = place.services_environment() | _ENVIRONMENT
    del environment["RAY_ADDRESS"]  # it is the address
    environment |= {
        "RAY_TMPDIR": str(place.short / "ray"),
        "AUTOSCALER_METRIC_PORT": str(place.port("autoscaler-metrics")),
        "DASHBOARD_METRIC_PORT": str(place.port("dashboard-metrics")),
        "RAY_PROMETHEUS_HOST": place.url("prometheus"),
    }
    return Service(
        name="ray",
        argv=_command(place),
        environment=environment,
        folder=place.root,
        ports=place.ports_of("ray"),
        url=place.url("dashboard"),
        healthy=lambda _: well(f"{place.url('dashboard')}/api/gcs_healthz", headers) and well(agent, headers),
        before=lambda: _forget_sessions(place.folder / "ray"),
    )


def running_jobs(environment: Mapping[str, str]) -> list[str]:
    """The names of the jobs that Ray is at; none where it is left out or does not answer."""
    url = environment.get("RAY_API_SERVER_ADDRESS")
    answer = ask(f"{url}/api/jobs/", headers=_headers(environment)) if url else None
    if answer is None or answer[0] != 200:
        return []
    jobs = json.loads(answer[1])
    return sorted(str(j["submission_id"]) for j in jobs if j["status"] in ("PENDING", "RUNNING") and j["submission_id"])


def _command(place: Place) -> list[str]:
    options = {
        "node-ip-address": HOST,
        "port": place.port("gcs"),
        "dashboard-host": HOST,
        "dashboard-port": place.port("dashboard"),
        "dashboard-agent-listen-port": place.port("agent"),
        "dashboard-agent-grpc-port": place.port("agent-grpc"),
        "runtime-env-agent-port": place.port("runtime-env"),
        "ray-client-server-port": place.port("client"),
        "metrics-export-port": place.port("metrics"),
        "node-manager-port": place.port("node-manager"),
        "object-manager-port": place.port("object-manager"),
        "min-worker-port": 0,
        "max-worker-port": 0,
        "num-cpus": place.cpus,
        "object-store-memory": _OBJECT_STORE_BYTES,
        "temp-dir": place.short / "ray",
        "include-dashboard": "true",
        "include-log-monitor": "false",
        "log-color": "false",
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    return [str(programs.find("ray")), "start", "--head", "--block", "--disable-usage-stats", *given]


def _forget_sessions(folder: Path) -> None:
    """The logs and sockets of sessions past; a target list of theirs would send Prometheus to the dead."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def _headers(environment: Mapping[str, str]) -> dict[str, str]:
    token = environment.get("RAY_AUTH_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
