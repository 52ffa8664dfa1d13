"""Where work runs: `map_shards` behind one signature, and training on a worker group.

`local` is this process and its threads, `ray` a Ray cluster; steps see no difference. Only this package imports
Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from raytrain.store.step import Task
from raytrain.train.job import TrainJob
from raytrain.train.section import TrainSection


class Engine(Protocol):
    """A place for work, open while its `open_engine` block runs."""

    name: str
    cpu_seconds: float
    """What the tasks of `map_shards` have taken so far, wherever they ran; waiting and the engine's own work apart."""

    def map_shards(self, work: Callable[[Task], Task], tasks: Any, label: str) -> list[Task]: ...

    def node(self) -> str:
        """The name under which this process's machine stands in the ledger, the same as its workers give."""
        ...

    def train(self, job: TrainJob) -> None:
        """Trains to the end; raises UserError for what the user can mend."""
        ...


@contextmanager
def open_engine(name: str, train: TrainSection, say: Callable[[str], None]) -> Iterator[Engine]:
    """Opens `local` or `ray`; a Ray cluster starts at the first use, so that a run with nothing to do costs nothing."""
    if name == "local":
        from raytrain.engine.local import LocalEngine

        yield LocalEngine(say)
        return
    from raytrain.engine.ray import RayEngine

    engine = RayEngine(train, say)
    try:
        yield engine
    finally:
        engine.close()
