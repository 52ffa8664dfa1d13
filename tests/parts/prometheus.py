"""A real Prometheus with our configuration and rules, for tests: `with prometheus(folder, exporter) as server: ...`.

It listens on a loopback port of its own, keeps its data in the folder given and is ended by process id. Where the
programs are not installed, `needs_prometheus` skips and says so.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from raytrain.observe.scrape import prometheus_config
from raytrain.services import programs

RULES = Path(__file__).parents[2] / "dashboards" / "rules.yml"
PATIENCE = 90.0
needs_prometheus = pytest.mark.skipif(
    not (programs.present("prometheus") and programs.present("promtool")),
    reason="prometheus and promtool are not installed: run infra/get-prometheus.sh",
)


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query's result; what Prometheus refuses is an AssertionError with its words."""
        asked = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                found: list[dict[str, Any]] = json.loads(answer.read())["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}: {json.loads(error.read())['error']}") from None


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


def wait_for(what: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """The first true value of `what`, which may fail until then; at the deadline its last failure or value."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if found := what():
                return found
        except (OSError, AssertionError):
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, f"did not come to be within {patience:.0f} s"
        time.sleep(0.3)


@contextmanager
def prometheus(folder: Path, exporter: str, prefect: str | None = None) -> Iterator[Prometheus]:
    """A server that asks `exporter` (host:port), and Prefect's API where it is given, once a second."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "prometheus.yml"
    config.write_text(prometheus_config(exporter, prefect=prefect, rules=RULES, cluster="test", every_seconds=1))
    place = f"127.0.0.1:{free_port()}"
    command = [str(programs.find("prometheus")), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen([*command, f"--web.listen-address={place}"], stdout=log, stderr=log, cwd=folder)
    try:
        started = Prometheus(f"http://{place}")
        wait_for(lambda: server.poll() is not None or urllib.request.urlopen(f"{started.url}/-/ready", timeout=5))
        assert server.poll() is None, (folder / "log").read_text()[-2000:]
        yield started
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
