"""Ledger events on their way to and from the store.

An event is `{seq, ts, attempt, writer, kind, node, phase?, step?, value?}`. Writers append to memory and flush
whole segments `ledger/<attempt>/<writer>/<seq>.jsonl`, create-only, every few seconds and whenever asked. The
invariant: a segment is never changed, and (attempt, writer, seq) names an event once, so that reading twice
counts once.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

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
        self._seq = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flush_often, name="raytrain-ledger", daemon=True)
        self._thread.start()

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
        """Writes what has gathered as one segment. On an error the events stay and the next flush tries again."""
        with self._lock:
            batch, self._events = self._events, []
        if not batch:
            return
        key = f"runs/{self.run}/ledger/{self.attempt:05d}/{self.writer}/{batch[0]['seq']:08d}.jsonl"
        body = "".join(json.dumps(e, separators=(",", ":")) + "\n" for e in batch).encode()
        try:
            self.store.put(key, body)
        except Exception:
            with self._lock:
                self._events = batch + self._events
            raise

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.flush()

    def _flush_often(self) -> None:
        while not self._stop.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except Exception:  # kept in memory; the store may be back at the next turn
                pass


def read_events(store: Store, run: str) -> list[dict[str, Any]]:
    """Every event of a run's ledger once, by time; a torn last line of a local segment is passed over."""
    events: dict[tuple[int, str, int], dict[str, Any]] = {}
    for key in store.keys(f"runs/{run}/ledger"):
        if not key.endswith(".jsonl"):
            continue
        for line in store.get(key).splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            events[(event["attempt"], event["writer"], event["seq"])] = event
    return sorted(events.values(), key=lambda e: (e["ts"], e["attempt"], e["writer"], e["seq"]))
