"""What a worker writes down: the ledger for ever, progress for whoever looks on.

The first worker of a node keeps the node's time, the first of all also the losses. The invariant: what is seen
and what is booked come from the same figures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from raytrain.ledger import Ledger
from raytrain.store import Store
from raytrain.train.job import TrainJob
from raytrain.train.parallel import World


class Books:
    """One worker's ledger and voice. Opening begins the node's paid time, closing ends it."""

    def __init__(self, job: TrainJob, world: World, progress: Callable[[dict[str, Any]], None]) -> None:
        self._world, self._progress = world, progress
        self._born = time.time()
        self.ledger = Ledger(Store(job.store), job.run, job.attempt, f"rank-{world.rank:05d}", world.node)
        if world.leader:
            self.ledger.event("node_up")
            self.ledger.event("price", value={"usd_per_hour": job.usd_per_hour})

    def ready(self) -> None:
        """Everything up to here was setup."""
        if self._world.leader:
            self.ledger.phase("setup", self._born, time.time())

    def close(self) -> None:
        if self._world.leader:
            self.ledger.event("node_down")
        self.ledger.close()

    @contextmanager
    def phase(self, name: str, step: int) -> Iterator[None]:
        """The block's time belongs to a phase."""
        start = time.time()
        try:
            yield
        finally:
            if self._world.leader:
                self.ledger.phase(name, start, time.time(), step)

    def step(self, step: int, began: float, tokens: int, waited: float, figures: dict[str, float]) -> None:
        """A finished optimizer step; `figures` are its loss, norm, rate and MFU."""
        now = time.time()
        first, seconds = self._world.rank == 0, now - began
        if self._world.leader:
            value: dict[str, Any] = {"seconds": seconds, "data_wait": waited, "tokens": tokens if first else 0}
            self.ledger.event("step", ts=now, step=step, value=value | (figures if first else {}))
        if first:
            seen = {"step": step, "loss": figures["loss"], "mfu": figures["mfu"], "tokens_per_second": tokens / seconds}
            self._progress(seen)

    def note(self, kind: str, step: int, **value: Any) -> None:
        """An event of the whole run, noted once."""
        if self._world.rank == 0:
            self.ledger.event(kind, step=step, value=value)

    def see(self, **figures: Any) -> None:
        """Figures for onlookers only."""
        if self._world.rank == 0:
            self._progress(figures)

    def say(self, line: str) -> None:
        if self._world.rank == 0:
            self._progress({"say": line})

    def loud(self, line: str, step: int) -> None:
        """Something that must not pass unseen: into the ledger and before the user's eyes."""
        self.note("warning", step, message=line)
        self.say(f"WARNING {line}")
