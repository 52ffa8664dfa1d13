"""Ledger events on their way to and from the store.

An event is `{seq, ts, attempt, writer, kind, node, phase?, step?, value?}`. Writers append to memory and flush
whole segments `ledger/<attempt>/<writer>/<seq>.jsonl`, create-only, every few seconds and whenever asked; each is
named after its first event, so that who has read one knows the name of the next. The invariant: a segment is never
changed, and (attempt, writer, seq) names an event once, so that reading twice counts once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable
from typing import Any

from raytrain.store.repeat import Repeating
from raytrain.store.uri import Store

FLUSH_SECONDS = 10.0


class Ledger:
    """One writer's end of a run's ledger; thread-safe. `close` flushes what is left.

    A process that takes another's place is another writer: `name` is made unique by the process's start.
    """

    def __init__(self, store: Store, run: str, attempt: int, name: str, node: str) -> None:
        self.store, self.run, self.attempt, self.node = store, run, attempt, node
        self.writer = f"{name}-{time.time_ns() // 1_000_000:x}-{os.getpid():x}"
        self._events: list[dict[str, Any]] = []
        self._segments: list[tuple[str, bytes]] = []
        self._seq = 0
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._flushes = Repeating("ledger", FLUSH_SECONDS, self.flush)

    def event(self, kind: str, *, ts: float | None = None, **fields: Any) -> None:
        """Notes an event. `ts` is Unix seconds, now by default; fields are phase, step and value."""
        with self._lock:
            self._seq += 1
            self._events.append(
                {
                    "seq": self._seq,
                    "ts": time.time() if ts is None else ts,
                    "attempt": self.attempt,
                    "writer": self.writer,
                    "node": self.node,
                    "kind": kind,
                    **fields,
                }
            )

    def phase(self, phase: str, start: float, end: float, step: int | None = None) -> None:
        """Notes that this node spent [start, end) (Unix seconds) in a phase."""
        extra = {} if step is None else {"step": step}
        self.event("phase", ts=end, phase=phase, value={"start": start, "end": end}, **extra)

    def flush(self) -> None:
        """Writes what has gathered as one segment. On an error the segment stays and the next flush tries it again."""
        with self._lock:
            if self._events:
                key = f"runs/{self.run}/ledger/{self.attempt:05d}/{self.writer}/{self._events[0]['seq']:08d}.jsonl"
                body = "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in self._events).encode()
                self._segments.append((key, body))
                self._events = []
        with self._flushing:
            while self._segments:
                try:
                    self.store.put(*self._segments[0])
                except FileExistsError:  # no other writer has our name: an earlier try arrived, its answer did not
                    pass
                del self._segments[0]

    def close(self) -> None:
        self._flushes.end()
        self.flush()


def read_events(store: Store, run: str) -> list[dict[str, Any]]:
    """Every event of a run's ledger once, by time; a torn last line of a local segment is passed over."""
    keys = (key for key in store.keys(f"runs/{run}/ledger") if key.endswith(".jsonl"))
    return _in_order(event for key in keys for event in _parse(store.get(key)))


class LedgerReader:
    """Follows a run's ledger: each call of `news` gives what was written since the last, by time.

    A look costs one listing an attempt and one request a writer, however long the ledger has become: writers that
    were replaced are asked at every `LATE_EVERY`th look only, for the case that one was merely paused.
    """

    LATE_EVERY = 30

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.root = store, f"runs/{run}/ledger"
        self._next: dict[str, int] = {}
        self._looks = 0

    def news(self) -> list[dict[str, Any]]:
        """Events that are new since the last call; whatever the store raises, nothing is lost."""
        gathered: list[dict[str, Any]] = []
        ahead = dict(self._next)
        attempts = self.store.folders(self.root)
        late = self._looks % self.LATE_EVERY == 0
        for attempt in attempts if late else attempts[-2:]:
            names = self.store.folders(f"{self.root}/{attempt}")
            current = {name.rsplit("-", 2)[0]: name for name in names}  # names end in their start: the last is newest
            for name in names:
                folder = f"{self.root}/{attempt}/{name}"
                if late or folder not in ahead or name in current.values():
                    gathered += self._follow(folder, ahead)
        self._next, self._looks = ahead, self._looks + 1
        return _in_order(gathered)

    def _follow(self, folder: str, ahead: dict[str, int]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            try:
                segment = _parse(self.store.get(f"{folder}/{ahead.setdefault(folder, 1):08d}.jsonl"))
            except FileNotFoundError:
                return found
            if not segment:
                return found
            ahead[folder] = int(segment[-1]["seq"]) + 1
            found += segment


def _parse(segment: bytes) -> list[dict[str, Any]]:
    events = []
    for line in segment.splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def _in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    unique = {(e["attempt"], e["writer"], e["seq"]): e for e in events}
    return sorted(unique.values(), key=lambda e: (e["ts"], e["attempt"], e["writer"], e["seq"]))
