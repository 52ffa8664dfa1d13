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
from raytrain.services.processes import Mark, Started


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Mark]:
    made = Mark(secrets.token_hex(8), tmp_path)
    yield made
    processes.end_marked(made)


def start(mark: Mark, folder: Path, script: str, part: str = "part") -> Started:
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


def test_a_grandchild_is_found_after_its_parent_has_gone(mark: Mark, tmp_path: Path) -> None:
    parent = start(mark, tmp_path, ORPHAN)
    orphan = int(wait_for(tmp_path / "pid"))
    while processes.exit_code(parent) is None:
        time.sleep(0.05)
    assert [p.pid for p in processes.marked(mark)] == [orphan]
    processes.end_marked(mark)
    assert processes.marked(mark) == []


NAMELESS = """
import subprocess
child = subprocess.Popen(["sleep", "1000"], env={}, stdout=open("held", "w"))
open("pid", "w").write(str(child.pid))
"""


def test_one_that_lost_its_mark_is_known_by_session_and_open_file(mark: Mark, tmp_path: Path) -> None:
    parent = start(mark, tmp_path, NAMELESS)
    nameless = int(wait_for(tmp_path / "pid"))
    while processes.exit_code(parent) is None:
        time.sleep(0.05)
    assert [p.pid for p in processes.marked(mark)] == [nameless]
    processes.end_marked(mark)
    assert processes.marked(mark) == []


def test_neither_a_session_nor_an_open_file_is_enough(mark: Mark, tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        reader = subprocess.Popen(["sleep", "1000"], stdout=held, start_new_session=True)
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    mark.begin(stranger.pid, "part")  # a number used again
    try:
        assert processes.marked(mark) == []
    finally:
        for process in (reader, stranger):
            process.kill()
            process.wait()


def test_a_process_without_the_mark_is_left_alone(mark: Mark, tmp_path: Path) -> None:
    neighbour = subprocess.Popen(["sleep", "1000"], env=os.environ | {processes.MARK: mark.word + "x"})
    try:
        start(mark, tmp_path, "import time; time.sleep(1000)")
        processes.end_marked(mark)
        assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.wait()


def test_parts_are_told_apart(mark: Mark, tmp_path: Path) -> None:
    one = start(mark, tmp_path, "import time; time.sleep(1000)", part="one")
    start(mark, tmp_path, "import time; time.sleep(1000)", part="two")
    assert [p.pid for p in processes.marked(mark, "one")] == [one.pid]


def test_asked_politely_before_it_is_killed(mark: Mark, tmp_path: Path) -> None:
    script = """
import signal, sys, time
def leave(*_): open("left", "w").write("politely"); sys.exit()
signal.signal(signal.SIGTERM, leave); open("ready", "w").write("y"); time.sleep(1000)
"""
    start(mark, tmp_path, script)
    wait_for(tmp_path / "ready")
    processes.end(processes.marked(mark), 30)
    assert (tmp_path / "left").read_text() == "politely"


def test_who_does_not_listen_is_killed(mark: Mark, tmp_path: Path) -> None:
    script = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN); open("ready", "w").write("y"); time.sleep(1000)
"""
    start(mark, tmp_path, script)
    wait_for(tmp_path / "ready")
    processes.end(processes.marked(mark), 0.5)
    assert processes.marked(mark) == []


def test_a_number_used_again_is_not_the_process_remembered(mark: Mark, tmp_path: Path) -> None:
    started = start(mark, tmp_path, "import time; time.sleep(1000)")
    assert started.process() is not None
    assert Started(started.pid, started.born - 100).process() is None
    os.kill(started.pid, signal.SIGKILL)
    while processes.exit_code(started) is None:
        time.sleep(0.05)
    assert started.process() is None


def test_the_log_of_the_time_before_is_kept_once(mark: Mark, tmp_path: Path) -> None:
    for word in ("first", "second", "third"):
        started = start(mark, tmp_path, f"print({word!r})")
        while processes.exit_code(started) is None:
            time.sleep(0.05)
    assert (tmp_path / "log").read_text() == "third\n" and (tmp_path / "log.1").read_text() == "second\n"
