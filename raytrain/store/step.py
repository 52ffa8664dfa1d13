"""What a pipeline step is handed and what it gives back: the seam between steps and whatever walks them.

A step reads committed artifacts, writes shards through an ArtifactWriter and returns their records; the walker
commits the manifest. The invariant: a step knows nothing of engines, flows or other steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from raytrain.store.artifact import Artifact
from raytrain.store.uri import Store

Task = dict[str, Any]


class MapShards(Protocol):
    """Runs `work` on every task, somewhere, and returns the results in the order of the tasks.

    `work` is an importable function and tasks and results are small JSON values: the data go through the store.
    It may run more than once for a task, so it must begin by looking for the shard's record. `label` names the
    work in progress lines. An exception of `work` ends the whole call with that exception.
    """

    def __call__(self, work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]: ...


@dataclass(frozen=True)
class StepContext:
    """Everything that a step may use."""

    store: Store
    prefix: str
    config: Mapping[str, Any]
    parents: Mapping[str, Artifact]
    map_shards: MapShards
    say: Callable[[str], None]


@dataclass(frozen=True)
class StepResult:
    """A step's committed shard records, and small figures for reports and later steps."""

    shards: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any] = field(default_factory=dict)
