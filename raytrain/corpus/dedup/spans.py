"""Repeated spans: runs of words that stand in an earlier document, cut out of texts that are otherwise kept.

What Lee et al. (2022) do with a suffix array, here by sampled runs and the same exchange as everything else: every
repeated stretch of `span_words` + WINDOW - 1 words is found, and cut but for at most WINDOW - 1 words at either end.
Documents that are duplicates as a whole neither lend nor lose spans. Who holds a stretch is settled before the rules
judge: where they reject its first document, the stretch goes with it, and the later ones are cut all the same. The
invariant: of every stretch the first document among those that dedup leaves is uncut, and a cut begins and ends with
a word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.cuts import union
from raytrain.corpus.dedup import exchange
from raytrain.corpus.dedup.bands import partition_of
from raytrain.corpus.dedup.clusters import DECIDED
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.store import ArtifactWriter, Store
from raytrain.store.step import Task

WINDOW = 16
REASON = "repeated span"
SPAN = np.dtype([("key", "<u8"), ("doc", "<i8"), ("start", "<i4"), ("end", "<i4")])


def send_spans(task: Task) -> Task:
    """Writes a SPAN row for every sampled run of a sender's documents that stay, by partition of its hash."""
    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.spans import samples

    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    decided = exchange.read_rows(store, task["decisions"][0], DECIDED, *task["decisions"][1:])
    gone = decided["doc"][decided["rule"] > 0]
    held = []
    for shard in task["shards"]:
        texts = shard_table(store, shard["documents"], DOCUMENTS, ["text"]).column("text")
        keys, text, start, end = samples(*text_buffers(texts), task["config"]["span_words"], WINDOW)
        rows = np.empty(len(keys), SPAN)
        rows["key"], rows["doc"], rows["start"], rows["end"] = keys, text + shard["first"], start, end
        held.append(rows[~np.isin(rows["doc"], gone)])
    sent: NDArray[Any] = np.concatenate(held)
    parts = partition_of(sent["key"], task["partitions"])
    objects = exchange.send(writer, task["shard"], "spans", sent, parts, task["partitions"])
    return writer.commit_shard(task["shard"], objects, len(sent))


def repeats_of_partition(task: Task) -> Task:
    """Writes the SPAN rows of a partition whose run stands in an earlier document, by range of documents."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    found = repeats(exchange.receive(store, task["spans"], task["shard"], SPAN))
    objects = exchange.send(writer, task["shard"], "repeats", found, found["doc"] // task["range"], task["ranges"])
    return writer.commit_shard(task["shard"], objects, len(found))


def repeats(rows: NDArray[Any]) -> NDArray[Any]:
    """Those SPAN rows whose key a smaller document has, too."""
    rows = rows[np.lexsort((rows["start"], rows["doc"], rows["key"]))]
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = rows["key"][1:] != rows["key"][:-1]
    first = rows["doc"][np.flatnonzero(fresh)[np.cumsum(fresh) - 1]] if len(rows) else rows["doc"]
    return np.asarray(rows[rows["doc"] != first])


def cuts_table(found: NDArray[Any], first: int) -> Any:
    """The cuts of a shard's documents, overlapping runs as one span."""
    import pyarrow as pa

    row, start, end = union(found["doc"] - first, found["start"].astype(np.int64), found["end"].astype(np.int64))
    reason = pa.array([REASON]).take(pa.array(np.zeros(len(row), np.int64)))
    return pa.table({"row": row, "start": start, "end": end, "reason": reason})
