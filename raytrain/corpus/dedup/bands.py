"""Candidate pairs: texts whose signatures agree in all rows of some band.

Locality-sensitive hashing by bands (Leskovec et al., Mining of Massive Datasets, section 3.4). Of copies of one
text only the best takes part. In a group of up to ALL_PAIRS texts every pair is a candidate; in a larger one, a
template or boilerplate, each text is paired with the first, with the one before it, and with the first of the
earlier corpora, so that work stays linear. The invariant: the pairs depend on the signatures alone, not on
partitions or workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup import exchange
from raytrain.corpus.dedup.groups import SAME_TEXT
from raytrain.corpus.dedup.pool import counted
from raytrain.corpus.stages.minhash import OBJECT as MINHASH
from raytrain.store import ArtifactWriter, Store
from raytrain.store.step import Task

ALL_PAIRS = 64
ROW = np.dtype([("key", "<u8"), ("doc", "<i8")])
PAIR = np.dtype([("a", "<i8"), ("b", "<i8"), ("kind", "<i8")])
NEED = np.dtype([("doc", "<i8"), ("part", "<i8")])  # the range `part` compares document `doc`


def send_bands(task: Task) -> Task:
    """Writes the band rows of a sender's texts, by partition of their key."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    copies = copies_in(store, task)
    held = []
    for shard in task["shards"]:
        attribute = shard_table(store, shard["minhash"], MINHASH)
        rows = counted(store, shard)
        shingles = attribute.column("shingles").to_numpy()
        rows = rows[(shingles[rows] > 0) & ~np.isin(rows + shard["first"], copies)]
        values = signature_values(attribute.column("signature"))[rows]
        held.append(band_rows(values, rows + shard["first"], task["config"]["bands"]))
    sent: NDArray[Any] = np.concatenate(held)
    parts = partition_of(sent["key"], task["partitions"])
    objects = exchange.send(writer, task["shard"], "bands", sent, parts, task["partitions"])
    return writer.commit_shard(task["shard"], objects, len(sent))


def candidates_of_partition(task: Task) -> Task:
    """Finds the candidate pairs of one partition, by range of their first document; and which range needs whom."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    found = candidate_pairs(exchange.receive(store, task["bands"], task["shard"], ROW), task["own"])
    ranges = found["a"] // task["range"]
    needs = needed(found, ranges)
    objects = exchange.send(writer, task["shard"], "pairs", found, ranges, task["ranges"])
    objects |= exchange.send(writer, task["shard"], "needs", needs, needs["doc"] // task["range"], task["ranges"])
    return writer.commit_shard(task["shard"], objects, len(found))


def signature_values(column: Any) -> NDArray[np.uint32]:
    """Signatures [documents, values] as the minhash stage stored them."""
    array = column.combine_chunks()
    width = array.type.byte_width // 4
    held = np.frombuffer(array.buffers()[1] or b"", "<u4", count=width * (array.offset + len(array)))
    return held.reshape(-1, width)[array.offset :]


def band_rows(values: NDArray[np.uint32], docs: NDArray[np.int64], bands: int) -> NDArray[Any]:
    """One row a document and band; `values` is [documents, bands x rows]."""
    from raytrain.corpus.kernels.pairs import band_keys

    rows = np.empty((len(docs), bands), ROW)
    keys = np.empty((len(docs), bands), np.uint64)
    band_keys(np.ascontiguousarray(values), bands, keys)
    rows["key"], rows["doc"] = keys, docs[:, None]
    return rows.reshape(-1)


def partition_of(keys: NDArray[np.uint64], partitions: int) -> NDArray[np.int64]:
    """By the upper half of the key, scaled: the lower half is left to tell keys of a partition apart."""
    return ((keys >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)).astype(np.int64)


def candidate_pairs(rows: NDArray[Any], own: int) -> NDArray[Any]:
    """Distinct PAIR rows with a < b and a < own, sorted."""
    from raytrain.corpus.kernels.pairs import pairs

    keys = np.ascontiguousarray(rows["key"])
    order = np.argsort(keys)
    found = pairs(keys[order], np.ascontiguousarray(rows["doc"])[order], own, ALL_PAIRS)
    out = np.empty(len(found), PAIR)
    out["a"], out["b"], out["kind"] = found.T
    return distinct(out)


def distinct(pairs: NDArray[Any]) -> NDArray[Any]:
    """Each (a, b) once, with its smallest kind, sorted."""
    pairs = pairs[np.lexsort((pairs["kind"], pairs["b"], pairs["a"]))]
    fresh = np.ones(len(pairs), np.bool_)
    fresh[1:] = (pairs["a"][1:] != pairs["a"][:-1]) | (pairs["b"][1:] != pairs["b"][:-1])
    return np.asarray(pairs[fresh])


def needed(pairs: NDArray[Any], ranges: NDArray[np.int64]) -> NDArray[Any]:
    """Distinct NEED rows of pairs that are compared in `ranges`."""
    out = np.empty(2 * len(pairs), NEED)
    out["doc"] = np.concatenate([pairs["a"], pairs["b"]])
    out["part"] = np.tile(ranges, 2)
    out = out[np.lexsort((out["part"], out["doc"]))]
    fresh = np.ones(len(out), np.bool_)
    fresh[1:] = (out["doc"][1:] != out["doc"][:-1]) | (out["part"][1:] != out["part"][:-1])
    return np.asarray(out[fresh])


def copies_in(store: Store, task: Mapping[str, Any]) -> NDArray[np.int64]:
    """The documents of a sender whose text a better one has."""
    members = of_documents(store, task, task["members"], SAME_TEXT)
    return np.asarray(members["doc"][members["doc"] != members["head"]])


def of_documents(store: Store, task: Mapping[str, Any], where: Mapping[str, Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The rows of a sender's documents, from an exchange by range of documents."""
    shards: Sequence[Mapping[str, Any]] = task["shards"]
    first, end = shards[0]["first"], shards[-1]["first"] + shards[-1]["rows"]
    if first == end:  # behind the last document there may be no range
        return np.zeros(0, dtype)
    parts = range(first // task["range"], (end - 1) // task["range"] + 1)
    rows = np.concatenate([exchange.receive(store, where, part, dtype) for part in parts])
    return np.asarray(rows[(rows["doc"] >= first) & (rows["doc"] < end)])
