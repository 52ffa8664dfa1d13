"""Attempts: at most one writer of a run counts, and a paused one that wakes up cannot harm its successor.

An attempt is claimed by put-if-absent under the next free number. Its heartbeat is a counter that moves, so that
no two clocks are ever compared. The invariant: whoever holds the highest number is the run's only writer, and
every writer reads the highest number again before it commits anything.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raytrain.errors import Busy, Superseded
from raytrain.store.uri import Store

HEARTBEAT_SECONDS = 3.0
STALE_AFTER_SECONDS = 15.0  # five missed beats
LOOK_EVERY = 2  # beats between two looks for a successor or a request to stop, where somebody wants to know


def newest(store: Store, run: str) -> int:
    """The highest attempt number of a run, 0 when there is none."""
    keys = store.keys(f"runs/{run}/attempts")
    return max((int(Path(k).stem) for k in keys if k.endswith(".json")), default=0)


def check(store: Store, run: str, number: int) -> None:
    """Raises Superseded when a newer attempt owns the run."""
    latest = newest(store, run)
    if latest > number:
        raise Superseded(
            f"run {run!r}: attempt {number} was superseded by attempt {latest}; this writer stops, nothing is lost"
        )


@dataclass(frozen=True)
class Claim:
    """Who holds an attempt."""

    number: int
    host: str
    pid: int
    process: str

    def known_dead(self) -> bool:
        """True when the holder ran on this machine, in this boot, and is gone."""
        return self.host == _host() and _process(self.pid) != self.process


class Attempt:
    """A claimed attempt with its heartbeat; `release` ends it, and so does the end of the process."""

    def __init__(
        self,
        store: Store,
        run: str,
        number: int,
        on_superseded: Callable[[Superseded], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        self.store, self.run, self.number = store, run, number
        self._on_superseded, self._on_stop = on_superseded, on_stop
        self._stop = threading.Event()
        self._beat(1)
        self._thread = threading.Thread(target=self._beat_often, name="raytrain-heartbeat", daemon=True)
        self._thread.start()

    @classmethod
    def claim(
        cls,
        store: Store,
        run: str,
        *,
        take_over: bool = False,
        say: Callable[[str], None] = lambda line: None,
        stale_after: float = STALE_AFTER_SECONDS,
        on_superseded: Callable[[Superseded], None] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> Attempt:
        """Claims the next attempt of a run.

        `on_superseded` is called once, on a thread, if the attempt is taken over later; `on_stop` likewise when
        `request_stop` was called for it, wherever.

        If the last holder has neither ended nor is known dead, its heartbeat is watched for `stale_after` seconds:
        a beat means that it lives and raises Busy, silence means that the run is free. `take_over` does not ask.
        """
        while True:
            number = newest(store, run)
            if number and not take_over:
                _wait_until_free(store, run, number, say, stale_after)
            claim = {"number": number + 1, "host": _host(), "pid": os.getpid(), "process": _process(os.getpid())}
            claim["at"] = time.time()
            if store.put_if_absent(_key(run, number + 1), json.dumps(claim).encode()):
                return cls(store, run, number + 1, on_superseded, on_stop)

    def check(self) -> None:
        """Raises Superseded when a newer attempt owns the run."""
        check(self.store, self.run, self.number)

    def release(self, state: str) -> None:
        """Ends the attempt: the next claim need not wait. `state` is succeeded, failed or stopped."""
        self._stop.set()
        self._thread.join()
        body = json.dumps({"state": state, "at": time.time()}).encode()
        self.store.put_if_absent(f"runs/{self.run}/ended/{self.number:05d}.json", body)

    def _beat_often(self) -> None:
        count = 1
        while not self._stop.wait(HEARTBEAT_SECONDS):
            count += 1
            self._beat(count)
            if count % LOOK_EVERY == 0:
                self._look()

    def _look(self) -> None:
        try:
            if self._on_superseded is not None:
                self.check()
            asked = self._on_stop is not None and self.store.exists(_stop_key(self.run, self.number))
        except Superseded as error:
            self._stop.set()
            assert self._on_superseded is not None
            self._on_superseded(error)
            return
        except Exception:  # a store that does not answer now is asked again at the next turn
            return
        if asked and self._on_stop is not None:
            told, self._on_stop = self._on_stop, None  # once; the beats go on until it has ended
            told()

    def _beat(self, count: int) -> None:
        body = json.dumps({"count": count, "at": time.time()}).encode()
        try:
            self.store.replace(f"runs/{self.run}/heartbeats/{self.number:05d}.json", body)
        except Exception:  # a missed beat is not worth a run; five in a row let another take over, safely
            pass


def read_claim(store: Store, run: str, number: int) -> Claim:
    raw = json.loads(store.get(_key(run, number)))
    return Claim(raw["number"], raw["host"], raw["pid"], raw["process"])


def ended(store: Store, run: str, number: int) -> str | None:
    """The state in which an attempt ended, None while it has not (or died without a word)."""
    try:
        return str(json.loads(store.get(f"runs/{run}/ended/{number:05d}.json"))["state"])
    except FileNotFoundError:
        return None


def request_stop(store: Store, run: str, number: int) -> None:
    """Asks the holder of an attempt, wherever it is, to end itself; it looks every few beats."""
    store.put_if_absent(_stop_key(run, number), json.dumps({"at": time.time()}).encode())


def wait_for_end(store: Store, run: str, number: int, patience: float) -> str:
    """`ended`, `working` after `patience` seconds, or `silent`: no beat for STALE_AFTER_SECONDS, or known dead."""
    deadline = time.monotonic() + patience
    beat, moved = _heartbeat(store, run, number), time.monotonic()
    while ended(store, run, number) is None:
        now = _heartbeat(store, run, number)
        if now != beat:
            beat, moved = now, time.monotonic()
        if time.monotonic() - moved > STALE_AFTER_SECONDS or read_claim(store, run, number).known_dead():
            return "silent"
        if time.monotonic() > deadline:
            return "working"
        time.sleep(0.5)
    return "ended"


def alive(store: Store, run: str, number: int) -> bool:
    """A guess without waiting: not ended, not known dead, and a beat by the clock of late."""
    if ended(store, run, number) is not None or read_claim(store, run, number).known_dead():
        return False
    beat = _heartbeat(store, run, number)
    return beat is not None and time.time() - float(beat["at"]) < 2 * STALE_AFTER_SECONDS


def _wait_until_free(store: Store, run: str, number: int, say: Callable[[str], None], stale_after: float) -> None:
    if ended(store, run, number) is not None:
        return
    claim = read_claim(store, run, number)
    if claim.known_dead():
        return
    who = f"process {claim.pid} on {claim.host}"
    say(f"run {run!r} is held by attempt {number} ({who}); watching its heartbeat for {stale_after:.0f} s")
    first = _heartbeat(store, run, number)
    deadline = time.monotonic() + stale_after
    while time.monotonic() < deadline:
        time.sleep(0.5)
        if ended(store, run, number) is not None or claim.known_dead():
            return
        now = _heartbeat(store, run, number)
        if (now or {}).get("count") != (first or {}).get("count"):
            raise Busy(
                f"run {run!r} is being written by {who} (attempt {number}): wait for it, choose another `name`, "
                "or take it over with --take-over"
            )
    say(f"attempt {number} has been silent for {stale_after:.0f} s: taking over")


def _heartbeat(store: Store, run: str, number: int) -> dict[str, Any] | None:
    try:
        return dict(json.loads(store.get(f"runs/{run}/heartbeats/{number:05d}.json")))
    except FileNotFoundError:
        return None


def _stop_key(run: str, number: int) -> str:
    return f"runs/{run}/stops/{number:05d}.json"


def _key(run: str, number: int) -> str:
    return f"runs/{run}/attempts/{number:05d}.json"


def _host() -> str:
    """This machine in this boot: a process id means nothing without both."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        boot = "-"
    return f"{socket.gethostname()}/{boot}"


def _process(pid: int) -> str:
    """A process's start time in clock ticks since boot (proc(5), field 22), empty when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
