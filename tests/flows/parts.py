"""Real parts for the flows: a Prefect server, a process worker and a Ray head, each a process of its own to kill."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def free_ports(count: int) -> list[int]:
    """Ports that were free just now, outside Ray's default range for workers."""
    found: list[int] = []
    port = 20000 + secrets.randbelow(8000)
    while len(found) < count:
        port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def wait_for(look: Callable[[], Any], what: str, seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.25)
    raise TimeoutError(what)


class Part:
    """A program in the background, with its log; `kill` takes all that it started with it, by pid."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.command, self.env, self.log = command, env, log
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as out:
            self.process = psutil.Popen(
                self.command, env=self.env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )

    def children(self) -> list[psutil.Process]:
        try:
            return list(self.process.children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def kill(self, *, alone: bool = False) -> None:
        for process in [self.process, *([] if alone else self.children())]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self.process.wait(30)


class Ground:
    """The environment of `raytrain status --env`, with its parts started one by one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temp = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))  # Ray's sockets want a short path
        server, gcs, dashboard, agent, first = free_ports(5)
        self._gcs, self._dashboard, self._agent, self._first = gcs, dashboard, agent, first
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY", "PREFECT_", "AWS_"))}
        self.store = f"file://{folder}/store"
        self.env = kept | {
            "HOME": str(self.temp),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": f"http://127.0.0.1:{server}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "true",
            "PREFECT_SERVER_LOGS_STREAM_PUBLISHING_ENABLED": "true",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "DO_NOT_TRACK": "1",
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAYTRAIN_ROOT": str(ROOT),
            "RAYTRAIN_STORE": self.store,
            "PYTHONPATH": str(ROOT),
        }
        self._port = server
        self.parts: list[Part] = []

    def start(self, command: list[str], name: str) -> Part:
        part = Part(command, self.env, self.folder / f"{name}.log")
        self.parts.append(part)
        return part

    def ray(self) -> Part:
        """A head with four logical cores, whose job server answers."""
        self.head = self.start(
            [
                *(str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=4", "--disable-usage-stats"),
                *("--node-ip-address=127.0.0.1", f"--port={self._gcs}", f"--dashboard-port={self._dashboard}"),
                *("--dashboard-host=127.0.0.1", f"--dashboard-agent-listen-port={self._agent}"),
                *(f"--ray-client-server-port={self._first}", f"--min-worker-port={self._first + 1}"),
                *(f"--max-worker-port={self._first + 400}", f"--temp-dir={self.temp / 'ray'}"),
                f"--object-store-memory={200 * 2**20}",
            ],
            "ray",
        )
        self.wait_for_ray()
        return self.head

    def wait_for_ray(self) -> None:
        wait_for(lambda: self.ask_ray("/api/version"), self._log("ray"))

    def ask_ray(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.env['RAY_AUTH_TOKEN']}"}
        return answer(self.env["RAY_API_SERVER_ADDRESS"] + path, headers=headers)

    def prefect(self) -> Part:
        command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(self._port)]
        self.server = self.start(command, "server")
        self.wait_for_server()
        return self.server

    def wait_for_server(self) -> None:
        wait_for(lambda: answer(self.env["PREFECT_API_URL"] + "/health"), self._log("server"))

    def worker(self) -> Part:
        command = [str(BIN / "prefect"), "worker", "start", "--pool", "raytrain-local", "--type", "process"]
        self.hand = self.start(command, "worker")
        return self.hand

    def call(self, *arguments: str, seconds: float = 400) -> subprocess.CompletedProcess[str]:
        """The `prefect` command, to its end."""
        command = [str(BIN / "prefect"), *arguments]
        return subprocess.run(
            command, env=self.env | {"COLUMNS": "400"}, cwd=ROOT, capture_output=True, text=True, timeout=seconds
        )

    def run(self, deployment: str, *parameters: str, seconds: float = 400) -> subprocess.CompletedProcess[str]:
        """`prefect deployment run ... --watch`."""
        given = [word for p in parameters for word in ("-p", p)]
        return self.call("deployment", "run", deployment, *given, "--watch", seconds=seconds)

    def start_run(self, deployment: str, *parameters: str) -> str:
        """Starts a deployment without waiting; the flow run's id."""
        given = [word for p in parameters for word in ("-p", p)]
        done = self.call("deployment", "run", deployment, *given)
        assert done.returncode == 0, done.stdout + done.stderr
        return next(word for word in done.stdout.replace("/", " ").split() if len(word) == 36 and word.count("-") == 4)

    def api(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return answer(self.env["PREFECT_API_URL"] + path, data=data, headers={"Content-Type": "application/json"})

    def patch(self, path: str, body: Any) -> None:
        """A change through Prefect's interface."""
        request = urllib.request.Request(
            self.env["PREFECT_API_URL"] + path,
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="PATCH",
        )
        urllib.request.urlopen(request, timeout=30).close()

    def state(self, flow_run: str) -> str:
        return str(self.api(f"/flow_runs/{flow_run}")["state"]["type"])

    def logs(self, flow_run: str) -> list[str]:
        found = self.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}, "sort": "TIMESTAMP_ASC"})
        return [entry["message"] for entry in found]

    def jobs(self) -> dict[str, str]:
        """Ray's jobs of ours by name, with their states."""
        return {j["submission_id"]: j["status"] for j in self.ask_ray("/api/jobs/") if j["submission_id"]}

    def close(self) -> None:
        for part in reversed(self.parts):
            part.kill()
        import shutil

        shutil.rmtree(self.temp, ignore_errors=True)

    def _log(self, name: str) -> str:
        return f"{name} does not answer; its log is {self.folder / f'{name}.log'}"


def answer(url: str, *, data: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """The JSON at a URL, None where nothing answers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=headers or {}), timeout=30) as reply:
            return json.loads(reply.read())
    except OSError:
        return None


def end(process: psutil.Process) -> None:
    os.kill(process.pid, signal.SIGKILL)
