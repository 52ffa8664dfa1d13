from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from raytrain.errors import Busy, Superseded
from raytrain.store import Attempt, Store
from raytrain.store import attempt as attempts

HOLD = """
import sys, time
from raytrain.store import Attempt, Store
a = Attempt.claim(Store(sys.argv[1]), "r")
print(a.number, flush=True)
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def holder(store: Store):  # type: ignore[no-untyped-def]
    child = subprocess.Popen([sys.executable, "-c", HOLD, store.root], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "1"
    yield child
    child.send_signal(signal.SIGCONT)
    child.kill()
    child.wait()


def test_a_live_attempt_is_not_taken(store: Store, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Busy, match=f"process {holder.pid}"):
        Attempt.claim(store, "r")


def test_a_killed_attempt_is_free_at_once(store: Store, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    start = time.monotonic()
    taken = Attempt.claim(store, "r")
    assert taken.number == 2
    assert time.monotonic() - start < 5
    taken.release("succeeded")


def test_a_stopped_attempt_is_taken_after_silence_and_superseded(store: Store, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    taken = Attempt.claim(store, "r", stale_after=2.0)
    assert taken.number == 2
    with pytest.raises(Superseded):
        attempts.check(store, "r", 1)
    taken.check()
    taken.release("succeeded")


def test_a_superseded_attempt_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.05)
    told = threading.Event()
    first = Attempt.claim(store, "r", on_superseded=lambda error: told.set())
    second = Attempt.claim(store, "r", take_over=True)
    assert told.wait(10)
    for attempt in (first, second):
        attempt.release("stopped")


def test_taking_over_asks_nobody(store: Store, holder: subprocess.Popen[str]) -> None:
    taken = Attempt.claim(store, "r", take_over=True)
    assert taken.number == 2
    taken.release("stopped")


def test_an_ended_attempt_is_free(store: Store) -> None:
    first = Attempt.claim(store, "r")
    assert attempts.alive(store, "r", 1)
    first.release("failed")
    assert attempts.ended(store, "r", 1) == "failed"
    assert not attempts.alive(store, "r", 1)
    second = Attempt.claim(store, "r")
    assert second.number == 2
    second.release("succeeded")


def test_a_claim_on_another_machine_is_judged_by_its_heartbeat(store: Store) -> None:
    claim = {"number": 1, "host": "elsewhere/abc", "pid": os.getpid(), "process": "1"}
    store.put("runs/r/attempts/00001.json", json.dumps(claim).encode())
    assert not attempts.read_claim(store, "r", 1).known_dead()
    taken = Attempt.claim(store, "r", stale_after=1.0)
    assert taken.number == 2
    taken.release("succeeded")


def test_a_request_to_stop_reaches_the_holder_and_no_other_attempt(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "HEARTBEAT_SECONDS", 0.05)
    asked = threading.Event()
    first = Attempt.claim(store, "r", on_stop=asked.set)
    attempts.request_stop(store, "r", first.number)
    attempts.request_stop(store, "r", first.number)  # asking twice is no error
    assert asked.wait(10)
    assert attempts.alive(store, "r", first.number)
    first.release("stopped")
    again = threading.Event()
    second = Attempt.claim(store, "r", on_stop=again.set)
    assert not again.wait(0.5)
    second.release("succeeded")


def test_whether_a_holder_works_is_told_by_its_beat_and_not_by_its_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "STALE_AFTER_SECONDS", 3.0)
    far = {"number": 1, "host": "elsewhere/boot", "pid": 1, "process": "x"}
    store.put("runs/r/attempts/00001.json", json.dumps(far).encode())
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.wait(0.2):
            count += 1
            store.replace("runs/r/heartbeats/00001.json", json.dumps({"count": count, "at": 0.0}).encode())

    holder = threading.Thread(target=beat)
    holder.start()
    try:
        assert not attempts.alive(store, "r", 1), "by the clock it has been dead for decades"
        assert attempts.wait_for_end(store, "r", 1, 4.0) == "working"
    finally:
        over.set()
        holder.join()
    assert attempts.wait_for_end(store, "r", 1, 60.0) == "silent"
    store.put("runs/r/ended/00001.json", json.dumps({"state": "stopped"}).encode())
    assert attempts.wait_for_end(store, "r", 1, 60.0) == "ended"
