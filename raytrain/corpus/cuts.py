"""Cuts: spans of bytes that are left out of texts that are otherwise kept, whoever found them.

A step that finds spans writes `cuts.parquet` beside a documents shard: row, start and end (bytes into the document's
text, on character boundaries) and a reason. They are applied when a corpus is written and nowhere else. The
invariant: what is cut is the union of all spans; a document keeps its id, which is that of the uncut text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.coded import Coded
from raytrain.evalsets.index import merge
from raytrain.store import Store

OBJECT = "cuts.parquet"
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Cuts:
    """Spans of one shard's documents, in no order, overlapping as they may."""

    row: Ints
    start: Ints
    end: Ints
    reason: Coded

    def among(self, rows: Ints) -> Cuts:
        """The cuts of some rows (sorted), numbered by their place among these."""
        place = np.searchsorted(rows, self.row)
        mine = (place < len(rows)) & (rows[np.minimum(place, len(rows) - 1)] == self.row) if len(rows) else place < 0
        reason = Coded(self.reason.values, self.reason.codes[mine])
        return Cuts(place[mine], self.start[mine], self.end[mine], reason)

    def bytes_of(self, documents: int) -> Ints:
        """Bytes cut from each of a shard's documents."""
        row, start, end = union(self.row, self.start, self.end)
        return np.bincount(row, end - start, documents).astype(np.int64)

    def tally(self) -> dict[str, dict[str, int]]:
        """Per reason the documents that it cuts and its bytes; two reasons may cut the same bytes."""
        found: dict[str, dict[str, int]] = {}
        for code, reason in enumerate(self.reason.values):
            mine = self.reason.codes == code
            row, start, end = union(self.row[mine], self.start[mine], self.end[mine])
            found[reason or "unknown"] = {"documents": len(np.unique(row)), "bytes": int((end - start).sum())}
        return found


def read_cuts(store: Store, records: Iterable[Mapping[str, Any]]) -> Cuts | None:
    """All cuts of a shard, given its records in whatever may have some; None where nothing cuts.

    Raises a ValueError for a span that ends before it begins, or begins before the text.
    """
    import pyarrow as pa

    held = [shard_table(store, record, OBJECT) for record in records if OBJECT in record["objects"]]
    if not held:
        return None
    table = pa.concat_tables([one.select(["row", "start", "end", "reason"]) for one in held])
    row, start, end = (table.column(name).to_numpy().astype(np.int64) for name in ("row", "start", "end"))
    if ((start < 0) | (start > end)).any():
        wrong = int(np.argmax((start < 0) | (start > end)))
        raise ValueError(f"{OBJECT}: row {row[wrong]}: bytes {start[wrong]} to {end[wrong]} are no span")
    return Cuts(row, start, end, Coded.of(table.column("reason").cast(pa.string())))


def union(row: Ints, start: Ints, end: Ints) -> tuple[Ints, Ints, Ints]:
    """The same spans sorted, those that overlap or touch as one."""
    return merge(row, start, end)[:3]


def apply(texts: Any, cuts: Cuts) -> Any:
    """The texts (a large_string column) without what is cut; buffers are copied piece by piece, never a string.

    Raises a ValueError for a span that reaches beyond its text: it would cut into the next one.
    """
    import pyarrow as pa

    held = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    offsets = np.frombuffer(held.buffers()[1], np.int64)[held.offset : held.offset + len(held) + 1]
    row, start, end = union(cuts.row, cuts.start, cuts.end)
    if not len(row):
        return held
    size = offsets[row + 1] - offsets[row]
    if (end > size).any():
        wrong = int(np.argmax(end > size))
        raise ValueError(f"{OBJECT}: text {row[wrong]} has {size[wrong]} bytes, a cut ends at {end[wrong]}")
    data = np.frombuffer(held.buffers()[2], np.uint8)
    start, end = start + offsets[row], end + offsets[row]
    pieces = zip([offsets[0], *end], [*start, offsets[-1]], strict=True)
    left = np.concatenate([data[a:b] for a, b in pieces])
    gone = np.concatenate([[0], np.cumsum(end - start)])
    moved = offsets - offsets[0] - gone[np.searchsorted(end, offsets, side="right")]
    return pa.LargeStringArray.from_buffers(len(held), pa.py_buffer(moved), pa.py_buffer(left))
