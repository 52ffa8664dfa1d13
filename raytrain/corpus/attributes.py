"""Attribute tables: numbers about documents, beside them and in the same order, never inside them.

What every stage shares: its tasks, its commit, and the check that a table belongs to the documents at hand. The
invariant: row i of shard s of an attribute artifact speaks of row i of shard s of its documents, and of no others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from raytrain.corpus.ingest import DOCUMENTS
from raytrain.errors import UserError
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import read_table, table_bytes
from raytrain.store.step import StepContext, StepResult, Task

Columns = Callable[[Any, Mapping[str, Any]], Any]


def annotate(ctx: StepContext, work: Callable[[Task], Task], label: str) -> StepResult:
    """Runs a stage's `work` on every shard of the documents."""
    documents = ctx.parents["documents"]
    records = ctx.map_shards(work, shard_tasks(ctx, documents), label)
    for shard, record in zip(documents.shards, records, strict=True):
        if shard["rows"] != record["rows"]:
            raise RuntimeError(f"{label}: {record['rows']} rows for the {shard['rows']} documents of {shard['shard']}")
    return StepResult(records, {"documents": documents.id})


def shard_tasks(ctx: StepContext, documents: Artifact, **more: Any) -> list[Task]:
    """One task a shard, self-contained: the worker needs no manifest."""
    shared = {"store": ctx.store.uri, "prefix": ctx.prefix, "config": dict(ctx.config), **more}
    return [{**shared, "shard": i, "documents": shard} for i, shard in enumerate(documents.shards)]


def annotate_shard(task: Task, name: str, columns: Columns) -> Task:
    """Commits the table that `columns(texts, config)` makes of a shard's texts, unless it is there already."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    texts = shard_table(writer.store, task["documents"], DOCUMENTS, ["text"]).column("text")
    table = columns(texts, task["config"])
    entry = writer.put(task["shard"], name, table_bytes(table))
    return writer.commit_shard(task["shard"], {name: entry}, table.num_rows)


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
