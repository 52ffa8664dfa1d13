"""Attribute tables: numbers about documents, beside them and in the same order, never inside them.

What every stage and its readers share: tasks, the tables of a shard, and the check that a table belongs to the
documents at hand. The invariant: row i of shard s of an attribute artifact speaks of row i of shard s of its
documents, and of no others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raytrain.errors import UserError
from raytrain.store import Artifact, Store
from raytrain.store.artifact import read_table
from raytrain.store.step import StepContext, Task


def shard_tasks(ctx: StepContext, documents: Artifact, **more: Any) -> list[Task]:
    """One task a shard, self-contained: the worker needs no manifest."""
    shared = {"store": ctx.store.uri, "prefix": ctx.prefix, "config": dict(ctx.config), **more}
    return [{**shared, "shard": i, "documents": shard} for i, shard in enumerate(documents.shards)]


def shard_table(store: Store, record: Mapping[str, Any], name: str, columns: list[str] | None = None) -> Any:
    """A table of one shard, given the shard's record, its checksum verified."""
    prefix = str(record["objects"][name]["key"]).rpartition("/")[0]
    return read_table(Artifact(store, prefix, {"shards": [record]}), 0, name, columns)


def check_aligned(documents: Artifact, attributes: Mapping[str, Artifact]) -> None:
    """Raises a UserError unless every attribute artifact was made from exactly these documents."""
    rows = [shard["rows"] for shard in documents.shards]
    for name, artifact in attributes.items():
        parent = artifact.facts.get("documents")
        if parent != documents.id or [shard["rows"] for shard in artifact.shards] != rows:
            raise UserError(
                f"{artifact.prefix}: the {name} attributes were made from documents {parent}, not {documents.id}; "
                "run the pipeline again from annotate"
            )


def aligned_shards(artifacts: Mapping[str, Artifact], shards: int) -> list[dict[str, Any]]:
    """Per shard the record of each artifact, by name: what a task carries to read them all."""
    held: dict[str, Sequence[dict[str, Any]]] = {name: artifact.shards for name, artifact in artifacts.items()}
    return [{name: records[i] for name, records in held.items()} for i in range(shards)]
