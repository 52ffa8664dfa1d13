"""Exactly the marked processes are found and ended, whatever became of their parents."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytrain.services import processes
from raytrain.services.processes import Started


@pytest.fixture
def mark() -> Iterator[str]:
    made = secrets.token_hex(8)
    yield made
    processes.end_marked(made)


def start(mark: str, folder: Path, script: str, part: str = "part") -> Started:
    argv = [sys.executable, "-c", script]
    environment = dict(os.environ)
    return processes.start(argv, mark=mark, part=part, environment=environment, folder=folder, log=folder / "log")


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.05)
    return path.read_text()


ORPHAN = """
import subprocess
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
open("pid", "w").write(str(child.pid))
"""


def test_a_grandchild_is_found_after_its_parent_has_gone(mark: str, tmp_path: Path) -> None:
    parent = start(mark, tmp_path, ORPHAN)
    orphan = int(wait_for(tmp_path / "pid"))
    while processes.exit_code(parent) is None:
        time.sleep(0.05)
    assert [p.pid for p in processes.marked(mark)] == [orphan]
    processes.end_marked(mark)
    assert processes.marked(mark) == []


def test_a_process_without_the_mark_is_left_alone(mark: str, tmp_path: Path) -> None:
    neighbour = subprocess.Popen(["sleep", "1000"], env=os.environ | {processes.MARK: mark + "x"})
    try:
        start(mark, tmp_path, "import time; time.sleep(1000)")
        processes.end_marked(mark)
        assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.wait()


def test_parts_are_told_apart(mark: str, tmp_path: Path) -> None:
    one = start(mark, tmp_path, "import time; time.sleep(1000)", part="one")
    start(mark, tmp_path, "import time; time.sleep(1000)", part="two")
    assert [p.pid for p in processes.marked(mark, "one")] == [one.pid]


def test_asked_politely_before_it_is_killed(mark: str, tmp_path: Path) -> None:
    script = """
import signal, sys, time
def leave(*_): open("left", "w").write("politely"); sys.exit()
signal.signal(signal.SIGTERM, leave); open("ready", "w").write("y"); time.sleep(1000)
"""
    start(mark, tmp_path, script)
    wait_for(tmp_path / "ready")
    processes.end(processes.marked(mark), 30)
    assert (tmp_path / "left").read_text() == "politely"


def test_who_does_not_listen_is_killed(mark: str, tmp_path: Path) -> None:
    script = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN); open("ready", "w").write("y"); time.sleep(1000)
"""
    start(mark, tmp_path, script)
    wait_for(tmp_path / "ready")
    processes.end(processes.marked(mark), 0.5)
    assert processes.marked(mark) == []


def test_a_number_used_again_is_not_the_process_remembered(mark: str, tmp_path: Path) -> None:
    started = start(mark, tmp_path, "import time; time.sleep(1000)")
    assert started.process() is not None
    assert Started(started.pid, started.born - 100).process() is None
    os.kill(started.pid, signal.SIGKILL)
    while processes.exit_code(started) is None:
        time.sleep(0.05)
    assert started.process() is None


def test_the_log_of_the_time_before_is_kept_once(mark: str, tmp_path: Path) -> None:
    for word in ("first", "second", "third"):
        started = start(mark, tmp_path, f"print({word!r})")
        while processes.exit_code(started) is None:
            time.sleep(0.05)
    assert (tmp_path / "log").read_text() == "third\n" and (tmp_path / "log.1").read_text() == "second\n"
