"""The true similarity of candidate pairs, from the texts themselves: Jaccard and containment of sets of shingles.

Each shard sends the shingles of its candidate documents to the ranges that compare them; a range then compares
without reading any text. Of shards that hold no candidate no text is read. The invariant: no pair is accepted on a
signature's word, and `rule_of` alone says which are accepted and why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup import exchange
from raytrain.corpus.dedup.bands import NEED, PAIR, distinct, of_documents
from raytrain.corpus.dedup.pool import NODE, nodes_of
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.kernels import TEMPLATE
from raytrain.store import ArtifactWriter, Store
from raytrain.store.step import Task

COMPARED = np.dtype([*PAIR.descr, ("shared", "<i8"), ("a_size", "<i8"), ("b_size", "<i8")])
REJECTED, JACCARD, CONTAINED = 0, 1, 2
SHOWN = 20  # pairs in the gallery, accepted and rejected each


def similarities(pairs: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(Jaccard, containment) of COMPARED rows: shared shingles over all, and over those of the smaller text."""
    every = pairs["a_size"] + pairs["b_size"] - pairs["shared"]
    least = np.minimum(pairs["a_size"], pairs["b_size"])
    return pairs["shared"] / np.maximum(every, 1), pairs["shared"] / np.maximum(least, 1)


def rule_of(pairs: NDArray[Any], config: Mapping[str, Any]) -> NDArray[np.int64]:
    """REJECTED, JACCARD or CONTAINED for each COMPARED row, under the recipe's thresholds."""
    jaccard, containment = similarities(pairs)
    least = config["containment"]
    contained = containment >= least if least is not None else np.zeros(len(pairs), np.bool_)
    return np.where(jaccard >= config["jaccard"], JACCARD, np.where(contained, CONTAINED, REJECTED))


def send_shingles(task: Task) -> Task:
    """Writes the shingles of a sender's candidate documents, and their NODE rows, by the range that needs them."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    needs = of_documents(store, task, task["needs"], NEED)
    needs = np.unique(needs) if len(needs) else needs
    blocks: list[list[bytes]] = [[] for _ in range(task["ranges"])]
    for shard in task["shards"]:
        first, end = exchange.slice_of(needs["doc"], shard["first"], shard["first"] + shard["rows"])
        if first < end:
            for part, block in _blocks(store, shard, needs[first:end], task["config"]):
                blocks[part].append(block)
    sizes = np.array([sum(map(len, held)) for held in blocks], np.int64)
    cuts = np.concatenate([[0], np.cumsum(sizes // 8)])
    rows = np.frombuffer(b"".join(block for held in blocks for block in held), "<u8")
    return writer.commit_shard(
        task["shard"], exchange.put_sorted(writer, task["shard"], "shingles", rows, cuts), len(needs)
    )


def compare_range(task: Task) -> Task:
    """Compares the pairs of a range: COMPARED rows sorted by (a, b), and the NODE rows of all that they name."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    from raytrain.corpus.kernels.pairs import in_common

    pairs = distinct(exchange.receive(store, task["pairs"], task["shard"], PAIR))
    nodes, hashes, bounds = _gather(exchange.receive(store, task["shingles"], task["shard"], np.dtype("<u8")))
    a, b = np.searchsorted(nodes["doc"], pairs["a"]), np.searchsorted(nodes["doc"], pairs["b"])
    sizes = bounds[1:] - bounds[:-1]
    out = np.empty(len(pairs), COMPARED)
    for name in PAIR.names or ():
        out[name] = pairs[name]
    out["shared"], out["a_size"], out["b_size"] = in_common(a, b, hashes, bounds), sizes[a], sizes[b]
    links = out[(rule_of(out, task["config"]) != REJECTED) | (out["kind"] == TEMPLATE)]
    linked = nodes[np.isin(nodes["doc"], np.concatenate([links["a"], links["b"]]))]
    held = {"compared.bin": out, "nodes.bin": nodes, "links.bin": links, "linked.bin": linked}
    objects = {name: writer.put(task["shard"], name, rows.tobytes()) for name, rows in held.items()}
    return writer.commit_shard(task["shard"], objects, len(out), {"nearest": nearest(out, task["config"]).tolist()})


def nearest(pairs: NDArray[Any], config: Mapping[str, Any]) -> NDArray[Any]:
    """Of the accepted and of the rejected COMPARED rows the SHOWN that come closest to being judged otherwise."""
    margin, accepted = margins(pairs, config), rule_of(pairs, config) != REJECTED
    order = np.lexsort((pairs["b"], pairs["a"], np.abs(margin)))
    which = np.concatenate([order[accepted[order] == taken][:SHOWN] for taken in (True, False)])
    return np.asarray(pairs[which])


def margins(pairs: NDArray[Any], config: Mapping[str, Any]) -> NDArray[np.float64]:
    """How far each pair is above the threshold that it passes, or below the one that it misses least."""
    jaccard, containment = similarities(pairs)
    above = jaccard - config["jaccard"]
    if config["containment"] is None:
        return np.asarray(above)
    return np.asarray(np.where(above >= 0, above, np.maximum(above, containment - config["containment"])))


def _blocks(
    store: Store, shard: Mapping[str, Any], needs: NDArray[Any], config: Mapping[str, Any]
) -> Iterator[tuple[int, bytes]]:
    """(range, block) of a shard's needed documents: counts, then NODE rows, sizes and shingles, all 64-bit words."""
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.minhash import shingles

    docs = np.unique(needs["doc"])
    nodes = nodes_of(store, shard, config)
    nodes = nodes[np.searchsorted(nodes["doc"], docs)]
    texts = (
        shard_table(store, shard["documents"], DOCUMENTS, ["text"]).column("text").take(pa.array(docs - shard["first"]))
    )
    hashes, bounds = shingles(*text_buffers(texts), config["ngram"], config["unit"] == "character")
    for part in np.unique(needs["part"]).tolist():
        own = np.searchsorted(docs, needs["doc"][needs["part"] == part])
        sizes = bounds[own + 1] - bounds[own]
        held = [np.array([len(own), sizes.sum()], "<u8").tobytes(), nodes[own].tobytes(), sizes.astype("<i8").tobytes()]
        held += [hashes[bounds[i] : bounds[i + 1]].astype("<u8").tobytes() for i in own.tolist()]
        yield part, b"".join(held)


def _gather(words: NDArray[np.uint64]) -> tuple[NDArray[Any], NDArray[np.uint64], NDArray[np.int64]]:
    """(NODE rows in order of documents, their shingles, bounds) of a range's blocks, which come in that order."""
    nodes, sizes, hashes = [np.zeros(0, NODE)], [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    at = 0
    while at < len(words):
        documents, many = words[at : at + 2].tolist()
        width = NODE.itemsize // 8 * documents
        nodes.append(words[at + 2 : at + 2 + width].view(NODE))
        sizes.append(words[at + 2 + width : at + 2 + width + documents].view(np.int64))
        at += 2 + width + documents
        hashes.append(words[at : at + many])
        at += many
    bounds = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
    return np.concatenate(nodes), np.concatenate(hashes), bounds
