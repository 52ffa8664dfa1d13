"""Candidate pairs: documents whose signatures agree in all rows of some band, and those of equal text.

Locality-sensitive hashing by bands (Leskovec et al., Mining of Massive Datasets, section 3.4). Copies of one text
count once in a band. In a group of up to ALL_PAIRS texts every pair is a candidate; in a larger one, a template
or boilerplate, each text is paired with the first and with the one before it, so that work stays linear. The
invariant: the pairs depend on the signatures alone, not on partitions or workers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup.exchange import Rows, read_ranges, write_partitions
from raytrain.corpus.ingest import INDEX
from raytrain.corpus.stages.minhash import OBJECT as MINHASH
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import Task

ALL_PAIRS = 64
ROW = np.dtype([("key", "<u8"), ("text", "<u8"), ("doc", "<i8")])
CANDIDATES = "candidates.parquet"


def exchange_shard(task: Task) -> Task:
    """Writes a shard's band rows, by partition."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    ids = shard_table(writer.store, task["documents"], INDEX, ["doc_id"]).column("doc_id")
    attribute = shard_table(writer.store, task["minhash"], MINHASH)
    signatures = attribute.column("signature")
    values = np.frombuffer(b"".join(signatures.to_pylist()), "<u4").reshape(len(ids), signatures.type.byte_width // 4)
    texts = text_hashes(ids.to_pylist())
    rows = band_rows(values, attribute.column("shingles").to_numpy(), texts, task["first"], task["config"]["bands"])
    parts = ((rows["key"] >> np.uint64(33)) % np.uint64(task["partitions"])).astype(np.int64)
    return write_partitions(writer, task["shard"], rows, parts, task["partitions"])


def candidates_of_partition(task: Task) -> Task:
    """Finds the candidate pairs of one partition."""
    import pyarrow as pa

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    pairs = candidate_pairs(read_ranges(writer.store, task["places"], ROW))
    table = pa.table({"a": pairs[:, 0], "b": pairs[:, 1], "kind": pairs[:, 2].astype(np.int8)})
    entry = writer.put(task["shard"], CANDIDATES, table_bytes(table))
    return writer.commit_shard(task["shard"], {CANDIDATES: entry}, len(pairs))


def text_hashes(doc_ids: list[str]) -> NDArray[np.uint64]:
    """The first 64 bits of each document id: equal for equal texts, and practically only then."""
    return np.array([int(doc_id[:16], 16) for doc_id in doc_ids], np.uint64)


def band_rows(
    values: NDArray[np.uint32], shingles: NDArray[np.int32], texts: NDArray[np.uint64], first: int, bands: int
) -> Rows:
    """One row a document and band, and one for its text; the key's lowest bit tells the two apart.

    `values` is [documents, bands x rows]; a document without shingles (punctuation only) has no bands.
    """
    documents = np.arange(first, first + len(texts), dtype=np.int64)
    exact = np.empty(len(texts), ROW)
    exact["key"] = _scatter(texts) | np.uint64(1)
    exact["text"], exact["doc"] = texts, documents
    held = shingles > 0
    grouped = values[held].reshape(int(held.sum()), bands, values.shape[1] // bands).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64) << np.uint64(40), grouped.shape[:2])
    for r in range(grouped.shape[2]):
        keys = _scatter(keys ^ grouped[:, :, r])
    near = np.empty(keys.size, ROW)
    near["key"] = keys.reshape(-1) & ~np.uint64(1)
    near["text"], near["doc"] = np.repeat(texts[held], bands), np.repeat(documents[held], bands)
    return np.concatenate([exact, near])


def candidate_pairs(rows: Rows) -> NDArray[np.int64]:
    """Distinct pairs [pairs, (a, b, kind)] with a < b, sorted: of each pair the strongest kind."""
    order = np.lexsort((rows["doc"], rows["text"], rows["key"]))
    keys, texts, docs = (np.ascontiguousarray(rows[name][order]) for name in ("key", "text", "doc"))
    from raytrain.corpus.kernels.pairs import pairs

    return distinct(pairs(keys, texts, docs, ALL_PAIRS))


def distinct(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each (a, b) once, with its smallest kind, sorted."""
    pairs = pairs[np.lexsort((pairs[:, 2], pairs[:, 1], pairs[:, 0]))]
    fresh = np.ones(len(pairs), np.bool_)
    fresh[1:] = (pairs[1:, :2] != pairs[:-1, :2]).any(axis=1)
    return pairs[fresh]


def _scatter(x: NDArray[Any]) -> NDArray[np.uint64]:
    """splitmix64's finaliser (Steele et al. 2014), element by element."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)), np.uint64)
