"""Rows from every shard to every partition through one object a shard: fixed-size rows, sorted by partition.

The store is the shuffle: a reader takes its byte range of each object, a worker that dies is run again alone, and
memory is bounded by a shard on one side and a partition on the other. The invariant: what a partition receives
does not depend on who wrote it or when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.store import ArtifactWriter, Store

OBJECT = "rows.bin"
Rows = NDArray[np.void]


def write_partitions(
    writer: ArtifactWriter, shard: int, rows: Rows, parts: NDArray[np.int64], count: int
) -> dict[str, Any]:
    """Commits a shard's rows sorted by their partition; the record's `cuts` say where each partition's begin."""
    order = np.argsort(parts, kind="stable")
    cuts = np.searchsorted(parts[order], np.arange(count + 1)).tolist()
    entry = writer.put(shard, OBJECT, rows[order].tobytes())
    return writer.commit_shard(shard, {OBJECT: entry}, len(rows), {"cuts": cuts})


def ranges(records: Iterable[Mapping[str, Any]], part: int) -> list[list[Any]]:
    """Where a partition's rows lie: [key, first row, end row] per shard that has any."""
    held = ((r["objects"][OBJECT]["key"], r["facts"]["cuts"]) for r in records)
    return [[key, cuts[part], cuts[part + 1]] for key, cuts in held if cuts[part] < cuts[part + 1]]


def read_ranges(store: Store, places: Sequence[Sequence[Any]], dtype: np.dtype[Any]) -> Rows:
    """The rows at `places`, in that order."""
    held = [read_rows(store, key, dtype, first, end) for key, first, end in places]
    return np.concatenate(held) if held else np.zeros(0, dtype)


def read_rows(store: Store, key: str, dtype: np.dtype[Any], first: int, end: int) -> Rows:
    """Rows first to end of an object of fixed-size rows, and no other byte."""
    if first == end:
        return np.zeros(0, dtype)
    data = read_bytes(store, key, first * dtype.itemsize, end * dtype.itemsize)
    return np.frombuffer(data, dtype)


def read_bytes(store: Store, key: str, first: int, end: int) -> bytes:
    data: bytes = store.fs.cat_file(store.path(key), start=first, end=end)
    if len(data) != end - first:
        raise OSError(f"{store.path(key)}: {len(data)} bytes where {end - first} were written")
    return data


def commit_rows(store: Store, prefix: str, rows: Mapping[str, Rows]) -> dict[str, str]:
    """Keys of a driver's own lists, written once: what a later attempt computes is equal, and left unwritten."""
    writer = ArtifactWriter(store, prefix)
    record = writer.record(0)
    if record is None:
        objects = {name: writer.put(0, name, held.tobytes()) for name, held in rows.items()}
        record = writer.commit_shard(0, objects, sum(len(held) for held in rows.values()))
    return {name: str(entry["key"]) for name, entry in record["objects"].items()}


def slice_of(sorted_docs: NDArray[np.int64], first: int, end: int) -> list[int]:
    """Where the rows of documents first to end lie among rows sorted by document: [from, to]."""
    return [int(i) for i in np.searchsorted(sorted_docs, [first, end])]


def remove(store: Store, records: Iterable[Mapping[str, Any]], name: str) -> None:
    """Deletes the object `name` of each record: only when everything that reads it is committed."""
    for record in records:
        store.delete(record["objects"][name]["key"])
