"""Rows from every sender to every partition through one object a sender: fixed-size rows, sorted by partition.

The store is the shuffle: a reader takes its byte range of each object, a worker that dies is run again alone, and
memory is bounded by a sender's rows on one side and a partition's on the other. Where partitions lie is one matrix
that the driver writes once, so that neither tasks nor records grow with senders x partitions. The invariant: what
a partition receives does not depend on who wrote it or when.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.store import ArtifactWriter, Store

Rows = NDArray[Any]
RANGES_AT_ONCE = 256
"""Byte ranges in flight: each object gives a partition few kilobytes, so that latency would rule one by one."""


def send(
    writer: ArtifactWriter, sender: int, name: str, rows: Rows, parts: NDArray[np.int64], count: int
) -> dict[str, dict[str, Any]]:
    """Puts a sender's rows sorted by partition, and where each partition begins: the objects to commit."""
    from raytrain.corpus.kernels.pairs import partition_order

    order, cuts = partition_order(parts, count)
    return put_sorted(writer, sender, name, rows[order], cuts)


def put_sorted(
    writer: ArtifactWriter, sender: int, name: str, rows: Rows, cuts: NDArray[np.int64]
) -> dict[str, dict[str, Any]]:
    """The same for rows that are sorted already: partition p's are rows[cuts[p]:cuts[p + 1]]."""
    held = {f"{name}.bin": rows.tobytes(), f"{name}-cuts.bin": cuts.astype("<i8").tobytes()}
    return {key: writer.put(sender, key, data) for key, data in held.items()}


def plan(store: Store, prefix: str, name: str, sent: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Writes down where every partition's rows lie; what is returned is all that a reader's task must carry."""
    at = f"{prefix}/{name}-plan"
    writer = ArtifactWriter(store, at)
    if writer.record(0) is None:
        cuts = np.stack([np.frombuffer(store.get(r["objects"][f"{name}-cuts.bin"]["key"]), "<i8") for r in sent], 1)
        keys = json.dumps([record["objects"][f"{name}.bin"]["key"] for record in sent]).encode()
        objects = {"cuts.bin": writer.put(0, "cuts.bin", cuts.tobytes()), "keys.json": writer.put(0, "keys.json", keys)}
        writer.commit_shard(0, objects, int((cuts[-1] - cuts[0]).sum()), {"senders": len(sent)})
    record = writer.record(0)
    assert record is not None
    objects = {key: entry["key"] for key, entry in record["objects"].items()}
    return {**objects, **record["facts"], "rows": record["rows"]}


def receive(store: Store, where: Mapping[str, Any], part: int, dtype: np.dtype[Any]) -> Rows:
    """A partition's rows, sender by sender."""
    places = _places(store, where, part)
    out = np.empty(sum(end - first for _, first, end in places), dtype)
    filled = 0
    for i in range(0, len(places), RANGES_AT_ONCE):
        for data in read_ranges(store, places[i : i + RANGES_AT_ONCE], dtype.itemsize):
            rows = np.frombuffer(data, dtype)
            out[filled : filled + len(rows)] = rows
            filled += len(rows)
    return out


def receive_all(store: Store, sent: Iterable[Mapping[str, Any]], name: str, dtype: np.dtype[Any]) -> Rows:
    """The object `name` of every sender: for lists that a driver holds as a whole."""
    held = [np.frombuffer(store.get(record["objects"][name]["key"]), dtype) for record in sent]
    return np.concatenate(held) if held else np.zeros(0, dtype)


def read_ranges(store: Store, places: Sequence[tuple[str, int, int]], width: int) -> list[bytes]:
    """Rows first to end of each object of rows `width` bytes wide, all asked for together."""
    paths = [store.path(key) for key, _, _ in places]
    starts, ends = [first * width for _, first, _ in places], [end * width for _, _, end in places]
    held: list[bytes] = store.fs.cat_ranges(paths, starts, ends, on_error="raise")
    for path, data, start, end in zip(paths, held, starts, ends, strict=True):
        if len(data) != end - start:
            raise OSError(f"{path}: {len(data)} bytes where {end - start} were written")
    return held


def read_rows(store: Store, key: str, dtype: np.dtype[Any], first: int, end: int) -> Rows:
    """Rows first to end of an object of fixed-size rows, and no other byte."""
    if first == end:
        return np.zeros(0, dtype)
    return np.frombuffer(read_ranges(store, [(key, first, end)], dtype.itemsize)[0], dtype)


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


def _places(store: Store, where: Mapping[str, Any], part: int) -> list[tuple[str, int, int]]:
    senders = where["senders"]
    cuts = read_rows(store, where["cuts.bin"], np.dtype("<i8"), part * senders, (part + 2) * senders)
    firsts, ends = cuts[:senders].tolist(), cuts[senders:].tolist()
    keys = json.loads(store.get(where["keys.json"]))
    return [place for place in zip(keys, firsts, ends, strict=True) if place[1] < place[2]]
