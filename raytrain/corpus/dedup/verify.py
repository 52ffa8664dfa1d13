"""The true similarity of candidate pairs: Jaccard of the sets of shingles, from the texts themselves.

Each shard sends the shingles of its candidate documents to the parts of the pair list that need them; a part then
compares without reading any text. The invariant: no pair is accepted on a signature's word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup.exchange import read_bytes, read_rows
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import Task

PAIRS_PER_PART = 20_000
PAIR = np.dtype([("a", "<i8"), ("b", "<i8")])
NEED = np.dtype([("doc", "<i8"), ("part", "<i8")])  # part -1: only the document's properties are wanted
SHINGLES = "shingles.bin"
MEMBERS = "members.parquet"
SIMILARITY = "similarity.parquet"


def needs(exact: NDArray[np.int64], near: NDArray[np.int64]) -> NDArray[np.void]:
    """Which part of the near pairs needs which document, sorted; each document of an exact pair with part -1."""
    parts = np.arange(len(near)) // PAIRS_PER_PART
    docs = np.concatenate([exact[:, 0], exact[:, 1], near[:, 0], near[:, 1]])
    wanted = np.concatenate([np.full(2 * len(exact), -1), parts, parts])
    both = np.unique(np.stack([docs, wanted], axis=1), axis=0) if len(docs) else np.zeros((0, 2), np.int64)
    out = np.empty(len(both), NEED)
    out["doc"], out["part"] = both[:, 0], both[:, 1]
    return out


def send_shard(task: Task) -> Task:
    """Writes the shingles of a shard's candidate documents by part, and the properties that survivors are chosen by."""
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.minhash import shingles

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    wanted = read_rows(writer.store, task["needs"], NEED, *task["range"])
    rows = np.unique(wanted["doc"]) - task["first"]
    columns = ["text", "doc_id", "record_id", "licence", "bytes"]
    table = shard_table(writer.store, task["documents"], DOCUMENTS, columns).take(pa.array(rows))
    hashes, bounds = shingles(*text_buffers(table.column("text")), task["config"]["ngram"])
    blocks, places = _blocks(wanted, rows + task["first"], hashes, bounds)
    members = table.drop_columns(["text"]).append_column("doc", pa.array(rows + task["first"]))
    objects = {
        SHINGLES: writer.put(task["shard"], SHINGLES, blocks),
        MEMBERS: writer.put(task["shard"], MEMBERS, table_bytes(members)),
    }
    return writer.commit_shard(task["shard"], objects, len(rows), {"places": places})


def places_of(records: Sequence[Mapping[str, Any]], parts: int) -> list[list[list[Any]]]:
    """Per part where its documents' shingles lie: [key, first byte, documents, shingles] per shard, in order."""
    found: list[list[list[Any]]] = [[] for _ in range(parts)]
    for record in records:
        for part, start, documents, hashes in record["facts"]["places"]:
            found[part].append([record["objects"][SHINGLES]["key"], start, documents, hashes])
    return found


def compare_part(task: Task) -> Task:
    """The Jaccard similarity of each pair of a part."""
    import pyarrow as pa

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    pairs = read_rows(writer.store, task["pairs"], PAIR, *task["range"])
    docs, hashes, bounds = _gather(writer.store, task["places"])
    a, b = np.searchsorted(docs, pairs["a"]), np.searchsorted(docs, pairs["b"])
    from raytrain.corpus.kernels.pairs import similarities

    similarity = similarities(a, b, hashes, bounds)
    entry = writer.put(task["shard"], SIMILARITY, table_bytes(pa.table({"jaccard": similarity})))
    return writer.commit_shard(task["shard"], {SIMILARITY: entry}, len(pairs))


def _blocks(
    wanted: NDArray[np.void], docs: NDArray[np.int64], hashes: NDArray[np.uint64], bounds: NDArray[np.int64]
) -> tuple[bytes, list[list[int]]]:
    """Per part one block: documents, their numbers of shingles, the shingles; and where each block lies."""
    held: list[bytes] = []
    places: list[list[int]] = []
    at = 0
    for part in np.unique(wanted["part"]):
        if part < 0:
            continue
        own = np.searchsorted(docs, wanted["doc"][wanted["part"] == part])
        counts = bounds[own + 1] - bounds[own]
        block = [docs[own].astype("<i8").tobytes(), counts.astype("<i8").tobytes()]
        block += [hashes[bounds[i] : bounds[i + 1]].astype("<u8").tobytes() for i in own]
        places.append([int(part), at, len(own), int(counts.sum())])
        held += block
        at += sum(len(piece) for piece in block)
    return b"".join(held), places


def _gather(
    store: Store, places: Sequence[Sequence[Any]]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """(documents in order, their shingles, bounds) of a part's blocks."""
    docs, counts, hashes = [], [], []
    for key, start, documents, many in places:
        data = np.frombuffer(read_bytes(store, key, start, start + 8 * (2 * documents + many)), "<i8")
        docs.append(data[:documents])
        counts.append(data[documents : 2 * documents])
        hashes.append(data[2 * documents :].view(np.uint64))
    bounds = np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)
    return np.concatenate(docs), np.concatenate(hashes), bounds
