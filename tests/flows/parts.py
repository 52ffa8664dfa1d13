"""The services of `raytrain up` as the tests of flows use them: asked over HTTP, killed one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.parts.stack import Stack

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def wait_for(look: Callable[[], Any], what: str, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.25)
    raise TimeoutError(what)


class Ground:
    """A set of services, and what a person does with it."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.env = stack, stack.environment()

    # -- Prefect -------------------------------------------------------------------------------------------------------

    def call(self, *arguments: str, seconds: float = 600) -> subprocess.CompletedProcess[str]:
        """The `prefect` command, to its end."""
        env = os.environ | self.env | {"COLUMNS": "400"}
        command = [str(BIN / "prefect"), *arguments]
        return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=seconds)

    def run(self, deployment: str, *parameters: str) -> subprocess.CompletedProcess[str]:
        """`prefect deployment run ... --watch`."""
        given = [word for p in parameters for word in ("-p", p)]
        return self.call("deployment", "run", deployment, *given, "--watch")

    def start_run(self, deployment: str, *parameters: str) -> str:
        """Starts a deployment without waiting; the flow run's id."""
        given = [word for p in parameters for word in ("-p", p)]
        done = self.call("deployment", "run", deployment, *given)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(word for word in done.stdout.replace("/", " ").split() if len(word) == 36 and word.count("-") == 4)

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """An answer of Prefect's, None where it gives none."""
        return answer(self.env["PREFECT_API_URL"] + path, body, method=method)

    def state(self, flow_run: str) -> str:
        found = self.api(f"/flow_runs/{flow_run}")
        return str(found["state"]["type"]) if found else ""

    def logs(self, flow_run: str) -> list[str]:
        found = self.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"})
        return [entry["message"] for entry in found or []]

    # -- Ray -----------------------------------------------------------------------------------------------------------

    def jobs(self, run: str) -> dict[str, str]:
        """Ray's jobs of a run, `<step>.<n>` to state."""
        headers = {"Authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"}
        found = answer(self.env["RAY_API_SERVER_ADDRESS"] + "/api/jobs/", headers=headers)
        named = {str(j["submission_id"]): str(j["status"]) for j in found}
        return {name.removeprefix(f"raytrain.{run}."): s for name, s in named.items() if f".{run}." in name}

    # -- processes -----------------------------------------------------------------------------------------------------

    def process(self, service: str) -> psutil.Process:
        return psutil.Process(self.stack.place().processes[service].pid)

    def kill(self, service: str) -> None:
        """SIGKILL to a service and all that it started."""
        process = self.process(service)
        for one in [process, *process.children(recursive=True)]:
            end(one)

    def flow_process(self) -> psutil.Process:
        """The process of the one flow run that works now."""
        below = self.process("worker").children(recursive=True)
        return next(p for p in reversed(below) if "prefect" in " ".join(command_line(p)))


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def end(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        pass


def answer(url: str, body: Any = None, *, method: str | None = None, headers: dict[str, str] | None = None) -> Any:
    """The JSON at a URL, None where nothing answers."""
    data = None if body is None else json.dumps(body).encode()
    sent = {"Content-Type": "application/json"} | (headers or {})
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, sent, method=method), timeout=30) as reply:
            return json.loads(reply.read() or b"null")
    except OSError:
        return None
