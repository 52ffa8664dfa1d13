"""Joining a cluster: one clear line where there is none, and where it does not let us in."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import COMMAND, environment


def run_with(path: Path, store: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "run", str(path), "--store", str(store), "--engine", "ray", "--until", "ingest"]
    return subprocess.run(command, env=environment() | more, capture_output=True, text=True, timeout=300)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (said,) = (line for line in done.stderr.splitlines() if line != "[ingest]")  # the step that needed Ray
    return said


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:FREE", "127.0.0.1:99999"])
def test_no_cluster_at_the_address(recipe: Callable[..., Path], tmp_path: Path, address: str) -> None:
    address = address.replace("FREE", str(free_port()))
    said = one_line(run_with(recipe(), tmp_path / "s", RAY_ADDRESS=address))
    assert "RAY_ADDRESS" in said and address in said and "unset RAY_ADDRESS" in said


@pytest.fixture
def head() -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a bare head that asks for a token, and the environment that knows it."""
    folder = Path(tempfile.mkdtemp(prefix="rj-", dir="/tmp"))
    port = free_port()
    known = {
        "HOME": str(folder),
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=104857600"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}", f"--ray-client-server-port={free_port()}"]
    command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"]
    with (folder / "head.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment() | known, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in (folder / "head.log").read_text():
            assert process.poll() is None and time.monotonic() < deadline, (folder / "head.log").read_text()
            time.sleep(0.3)
        yield f"127.0.0.1:{port}", known
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_cluster_that_does_not_let_us_in(
    head: tuple[str, dict[str, str]],
    recipe: Callable[..., Path],
    tmp_path: Path,
) -> None:
    address, known = head
    wrong = known | {"RAY_ADDRESS": address, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    assert "RAY_AUTH_TOKEN" in one_line(run_with(recipe(), tmp_path / "s", **wrong))
    without = {k: v for k, v in known.items() if not k.startswith("RAY_AUTH")} | {"RAY_ADDRESS": address}
    assert "RAY_AUTH_TOKEN" in one_line(run_with(recipe(), tmp_path / "s", **without))
    done = run_with(recipe(), tmp_path / "s", **known, RAY_ADDRESS=address)
    assert done.returncode == 0, done.stderr[-3000:]
