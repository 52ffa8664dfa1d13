"""Kill it anywhere: the same command ends in the same bits, and each planned sequence is trained on once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from raytrain.store import Store
from raytrain.train.checkpoint import list_checkpoints

from .conftest import Started, raytrain, same_as, shown

pytestmark = pytest.mark.slow
Start = Callable[..., Started]


def history_is_whole(store: Path) -> None:
    """`data at` names each planned sequence once over the surviving history."""
    from raytrain.ledger import account, read_events
    from raytrain.observe.data_at import data_at

    place = Store(str(store))
    steps = sorted(account(read_events(place, "small")).surviving_steps)
    assert steps == list(range(1, 301))
    seen = [s["sequence"] for step in steps[::50] for s in data_at(place, "small", step)["sequences"]]
    assert len(seen) == len(set(seen)) == 16 * len(steps[::50])


def test_a_killed_worker_costs_nothing_but_time(
    recipe: Callable[..., Path], tmp_path: Path, start: Start, undisturbed: Path
) -> None:
    store = tmp_path / "s"
    run = start("run", recipe(), "--store", store)
    run.wait_for_step(store, 60)
    workers = run.workers()
    assert len(workers) == 2
    os.kill(workers[-1], signal.SIGKILL)
    assert run.end() == 0, run.output()
    same_as(undisturbed, store)
    assert shown(store)["phases"]["recovery"] > 0
    history_is_whole(store)


def test_the_same_command_resumes_a_killed_run(
    recipe: Callable[..., Path], tmp_path: Path, start: Start, undisturbed: Path
) -> None:
    store, path = tmp_path / "s", recipe()
    run = start("run", path, "--store", store)
    run.wait_for_step(store, 60)
    everybody = [run.process.pid, *run.descendants()]
    for pid in everybody:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    run.process.wait()
    assert shown(store)["state"] == "interrupted"
    again = raytrain("run", path, "--store", store, "--set", "train.workers=3")
    assert again.returncode == 0, again.stderr
    assert "verified" in again.stderr
    same_as(undisturbed, store)
    history_is_whole(store)


def test_a_killed_driver_takes_its_cluster_with_it(recipe: Callable[..., Path], tmp_path: Path, start: Start) -> None:
    store = tmp_path / "s"
    run = start("run", recipe(), "--store", store)
    run.wait_for_step(store, 20)
    # Ray's two agents see at once that their node is gone, and then spend a minute telling the dead head so.
    below = {p: name(p) for p in run.descendants() if not name(p).endswith("Agent")}
    assert len(below) > 4
    os.kill(run.process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(alive(p) for p in below) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not [what for pid, what in below.items() if alive(pid)]


@pytest.mark.long
def test_a_paused_driver_cannot_harm_its_successor(
    recipe: Callable[..., Path], tmp_path: Path, start: Start, undisturbed: Path
) -> None:
    store, path = tmp_path / "s", recipe()
    first = start("run", path, "--store", store)
    first.wait_for_step(store, 40)
    everybody = [first.process.pid, *first.descendants()]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    second = raytrain("run", path, "--store", store, "--engine", "local")
    assert second.returncode == 0, second.stderr
    assert "taking over" in second.stderr
    before = [c.prefix for c in list_checkpoints(Store(str(store)), "small")]
    for pid in reversed(everybody):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    assert first.end() == 3, first.output()
    assert "superseded" in first.output()
    assert [c.prefix for c in list_checkpoints(Store(str(store)), "small")] == before
    same_as(undisturbed, store)


def name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
