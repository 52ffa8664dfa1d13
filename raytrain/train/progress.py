"""How a worker far away is seen: a small object in the store that the first worker renews and anybody reads.

Not a record (that is the ledger): only the latest figures and the last lines said. A failure that the user can
mend is left as an object of its own, once, by whichever worker met it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from raytrain.errors import Superseded, UserError
from raytrain.store import Store
from raytrain.store.repeat import Repeating

LINES = 50  # kept in the object, so that a slow reader misses none
LOCAL_SECONDS, REMOTE_SECONDS = 0.5, 3.0


class Reporter:
    """Collects figures and lines; a thread writes them when they changed."""

    def __init__(self, store: Store, run: str, attempt: int) -> None:
        self.store, self.key = store, f"runs/{run}/progress.json"
        self._state: dict[str, Any] = {"attempt": attempt, "leg": f"{os.getpid()}-{time.time():.0f}"}
        self._lines: list[tuple[int, str]] = []
        self._changed = False
        self._lock = threading.Lock()
        self._writing = Repeating("progress", LOCAL_SECONDS if store.local else REMOTE_SECONDS, self._write)

    def __call__(self, figures: dict[str, Any]) -> None:
        with self._lock:
            line = figures.pop("say", None)
            if line is not None:
                number = self._lines[-1][0] + 1 if self._lines else 1
                self._lines = [*self._lines[-LINES + 1 :], (number, line)]
            self._state |= figures
            self._changed = True

    def close(self) -> None:
        self._writing.end()
        self._write()

    def _write(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            body = json.dumps(self._state | {"lines": self._lines, "at": time.time()}).encode()
        try:
            self.store.replace(self.key, body)
        except Exception:  # only a display; the ledger holds the truth
            self._changed = True


def read_progress(store: Store, run: str) -> dict[str, Any] | None:
    """The latest figures of a run, None when there are none."""
    try:
        return dict(json.loads(store.get(f"runs/{run}/progress.json")))
    except (FileNotFoundError, ValueError):
        return None


def leave_failure(store: Store, run: str, attempt: int, error: UserError) -> None:
    """Notes why an attempt cannot go on; the first one noted counts."""
    body = {"message": str(error), "superseded": isinstance(error, Superseded)}
    store.put_if_absent(_failure_key(run, attempt), json.dumps(body).encode())


def read_failure(store: Store, run: str, attempt: int) -> UserError | None:
    """Why an attempt could not go on, None when nothing was noted."""
    try:
        body = json.loads(store.get(_failure_key(run, attempt)))
    except FileNotFoundError:
        return None
    return (Superseded if body["superseded"] else UserError)(body["message"])


def _failure_key(run: str, attempt: int) -> str:
    return f"runs/{run}/failures/{attempt:05d}.json"
