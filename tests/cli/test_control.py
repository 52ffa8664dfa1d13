"""A run is read, followed and stopped by people who only know its store."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.store import Store
from raytrain.train.progress import read_progress

from .conftest import COMMAND, Call, Finished, environment

pytestmark = pytest.mark.slow  # each needs a finished run
Write = Callable[..., Path]


def test_an_unknown_run_is_named_with_those_that_there_are(call: Call, finished: Finished) -> None:
    for command in ("logs", "stop", "attach"):
        line = call(command, "nobody", "--store", finished.store).error
        assert "'nobody' is not in" in line and "there are tiny" in line


def test_what_a_run_said_can_be_read_afterwards(call: Call, finished: Finished) -> None:
    lines = call("logs", "tiny", "--store", finished.store).out.splitlines()
    texts = [line.partition(" ")[2] for line in lines]
    assert {"[ingest]", "[pretrain]", "[evaluate]", "finished"} <= set(texts)
    assert any("step 20/20" in text for text in texts)
    assert lines == sorted(lines, key=lambda line: line.partition(" ")[0])


def test_a_run_that_is_over_is_not_stopped_and_attaching_to_it_ends_at_once(call: Call, finished: Finished) -> None:
    assert "nothing to stop, it is succeeded" in call("stop", "tiny", "--store", finished.store).out
    assert call("attach", "tiny", "--store", finished.store).code == 0


def test_a_run_is_followed_and_stopped_from_another_place(
    call: Call, recipe: Write, tmp_path: Path, ended: list[Any]
) -> None:
    store, path = tmp_path / "s", recipe(train__max_steps=100_000)

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [*COMMAND, *map(str, arguments), "--store", str(store)]
        process = subprocess.Popen(
            command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ended.append(process)
        return process

    run = start("run", path)
    deadline = time.monotonic() + 120
    while (read_progress(Store(str(store)), "tiny") or {}).get("step", 0) < 1:
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    leaver, follower = start("attach", "tiny"), start("attach", "tiny")
    for process in (leaver, follower):
        assert process.stderr is not None
        assert "is running" in process.stderr.readline()
    leaver.send_signal(signal.SIGINT)
    _, said = leaver.communicate(timeout=120)
    assert leaver.returncode == 0 and "detached; the run goes on" in said
    assert run.poll() is None

    assert "stopped; the same command resumes it" in call("stop", "tiny", "--store", store).out
    _, last = run.communicate(timeout=120)
    assert run.returncode == 130 and last.splitlines()[-1] == "stopped: run the same command again to resume"
    _, seen = follower.communicate(timeout=60)
    assert follower.returncode == 130 and "run 'tiny' stopped" in seen
    assert call("show", "tiny", "--store", store, "--json").json["state"] == "stopped"
