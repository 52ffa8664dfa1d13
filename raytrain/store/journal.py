"""What a run says while it works, kept in the store, so that anybody who can read it can follow a run from afar.

Not the ledger: lines for people, in the order in which they were said. One writer an attempt. The lines lie in
segments `logs/<attempt>/<segment>.jsonl`; the last one is replaced as it grows, a full one is never touched again.
The invariant: a reader who goes on from its cursor sees every written line once.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass

from raytrain.store.repeat import Repeating
from raytrain.store.uri import Store

SEGMENT_BYTES = 64 * 1024
LOCAL_SECONDS, REMOTE_SECONDS = 1.0, 3.0


@dataclass(frozen=True)
class Line:
    """A line with the Unix time at which it was said."""

    at: float
    text: str


Cursor = tuple[int, int, int]
"""Attempt, segment, and lines of it that were read."""
START: Cursor = (0, 0, 0)


class Journal:
    """The writer's end; `say` never waits for the store. `close` writes what is left."""

    def __init__(self, store: Store, run: str, attempt: int) -> None:
        self.store, self.prefix = store, _folder(run, attempt)
        self._segment = 0
        self._lines: list[bytes] = []
        self._changed = False
        self._lock = threading.Lock()
        self._writing = Repeating("journal", LOCAL_SECONDS if store.local else REMOTE_SECONDS, self._write)

    def say(self, line: str) -> None:
        encoded = json.dumps([round(time.time(), 3), line], ensure_ascii=False).encode() + b"\n"
        with self._lock:
            self._lines.append(encoded)
            self._changed = True

    def close(self) -> None:
        self._writing.end()
        self._write()

    def _write(self) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            lines, body = len(self._lines), b"".join(self._lines)
        try:
            self.store.replace(f"{self.prefix}/{self._segment:08d}.jsonl", body)
        except Exception:  # lines for people are not worth a run; the next turn tries again
            self._changed = True
            return
        if len(body) >= SEGMENT_BYTES:
            with self._lock:
                self._lines = self._lines[lines:]
                self._segment += 1
                self._changed = bool(self._lines)


def read_journal(store: Store, run: str, after: Cursor = START) -> tuple[list[Line], Cursor]:
    """The lines said since a cursor, over all attempts, and the cursor to go on from."""
    lines: list[Line] = []
    cursor = after
    for key in store.keys(f"runs/{run}/logs"):
        attempt, segment = (int(part) for part in key.removesuffix(".jsonl").rsplit("/", 2)[1:])
        if (attempt, segment) < after[:2]:
            continue
        known = after[2] if (attempt, segment) == after[:2] else 0
        said = store.get(key).splitlines()
        lines += [Line(*json.loads(line)) for line in said[known:]]
        cursor = (attempt, segment, len(said))
    return lines, cursor


def _folder(run: str, attempt: int) -> str:
    return f"runs/{run}/logs/{attempt:05d}"
