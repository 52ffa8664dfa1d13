"""A real S3 store for tests: `from tests.parts.seaweed import seaweed`.

One server a session however many modules import the fixture, on loopback ports of its own, gone afterwards.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from raytrain.services import objectstore
from raytrain.services.objectstore import READ_ONLY, Identity
from raytrain.services.programs import find


@dataclass(frozen=True)
class Seaweed:
    """The running store; `writer` may do everything, `reader` may only read and list."""

    endpoint: str
    writer: Identity
    reader: Identity

    def environment(self, endpoint: str | None = None, identity: Identity | None = None) -> dict[str, str]:
        """The AWS_* variables that point at it, or at a proxy before it."""
        return objectstore.environment(endpoint or self.endpoint, identity or self.writer)

    def bucket(self, name: str | None = None) -> str:
        """Makes a bucket (unless it is there) and returns its URI; without a name, one of its own."""
        name = name or f"test-{secrets.token_hex(4)}"
        objectstore.make_bucket(self.endpoint, name, self.writer)
        return f"s3://{name}"


RUNNING = pytest.StashKey[Seaweed]()


@pytest.fixture(scope="session")
def seaweed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seaweed:
    stash = request.config.stash
    if RUNNING not in stash:
        stash[RUNNING] = _start(tmp_path_factory.mktemp("seaweed"), request.config.add_cleanup)
    return stash[RUNNING]


def _start(folder: Path, at_end: Callable[[Callable[[], None]], None]) -> Seaweed:
    writer = Identity("writer", secrets.token_hex(8))
    reader = Identity("reader", secrets.token_hex(8), READ_ONLY)
    objectstore.configure(folder, [writer, reader])
    ports = _free_ports(objectstore.PORTS)
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(
            objectstore.command(find("weed"), ports),
            cwd=folder,
            env=os.environ | objectstore.ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def stop() -> None:
        process.kill()
        process.wait()
        for path in objectstore.leftovers(ports):
            path.unlink(missing_ok=True)

    at_end(stop)
    deadline = time.monotonic() + 180
    while not objectstore.ready(ports):
        said = (folder / "log").read_text()[-2000:]
        assert process.poll() is None and time.monotonic() < deadline, f"the S3 store does not start: {said}"
        time.sleep(0.1)
    return Seaweed(objectstore.endpoint(ports), writer, reader)


def _die_with_parent() -> None:
    """Tests that are killed take the server with them."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, see prctl(2)


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
