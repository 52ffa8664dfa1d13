"""The services that `raytrain up` starts, for tests: `from tests.parts.stack import stack`.

One set a session however many modules import the fixture, in a folder and on ports of its own, gone afterwards.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from raytrain.services import place as places

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from raytrain.cli import main; main()"]
SPAN = 40  # more ports than the services take


@dataclass(frozen=True)
class Stack:
    """A folder of services and the caller's environment for its commands."""

    folder: Path
    base_port: int
    root: Path = ROOT
    home: Path | None = None

    def run(self, command: str, *options: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """`raytrain COMMAND --folder ... OPTIONS` as a person runs it; with `ok` it must end with 0."""
        changes = {"RAYTRAIN_ROOT": str(self.root)} | ({"HOME": str(self.home)} if self.home else {})
        argv = [*COMMAND, command, "--folder", str(self.folder), *options]
        done = subprocess.run(argv, env=os.environ | changes, capture_output=True, text=True, timeout=900)
        assert not ok or done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done

    def up(self, *options: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--base-port", str(self.base_port), *options, ok=ok)

    def place(self) -> places.Place:
        place = places.load(self.folder)
        assert place is not None
        return place

    def environment(self) -> dict[str, str]:
        """The variables that point a process at these services; add them to os.environ's."""
        return self.place().environment()


RUNNING = pytest.StashKey[Stack]()


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """All services, with this repository's deployments."""
    stash = request.config.stash
    if RUNNING not in stash:
        made = Stack(tmp_path_factory.mktemp("stack") / "services", free_base_port())
        request.config.add_cleanup(lambda: made.run("down", "--wipe", ok=False))
        made.up()
        stash[RUNNING] = made
    return stash[RUNNING]


def free_base_port() -> int:
    """The first of SPAN free ports, below those that systems give out and beside those of Ray's workers."""
    for base in random.sample(range(20_000, 32_000, SPAN), 200):
        if all(_is_free(port) for port in range(base, base + SPAN)):
            return base
    raise RuntimeError("no range of free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
