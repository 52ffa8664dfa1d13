"""The dedup step: walks the stages of the search and writes, beside every documents shard, who duplicates whom.

Intermediate objects lie below the artifact's own prefix, each committed by a record, so that an interrupted
search goes on where it was; the bulky ones are deleted once nothing can need them. Survivors are chosen here among all
documents; select chooses again among those that its rules pass. The invariant: every document marked as a
duplicate has one that stays and a similarity, computed from both texts, at or above the threshold.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import check_aligned, shard_table, shard_tasks
from raytrain.corpus.dedup import bands, clusters, exchange, survivors, verify
from raytrain.corpus.dedup.survivors import PAIRS
from raytrain.corpus.ingest import INDEX
from raytrain.corpus.kernels import EXACT
from raytrain.corpus.section import CorpusSection
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task

NAME = "dedup"
KIND = "dedup"
VERSION = 1
DEDUP = "dedup.parquet"
ROWS_PER_PARTITION = 4_000_000  # 24 bytes each, and a sort of them: about 300 MB a task
_IDS = [(name, "<u8") for name in ("a_high", "a_low", "b_high", "b_low")]
COMPARED = np.dtype([("a", "<i8"), ("b", "<i8"), ("kind", "<i8"), ("jaccard", "<f8"), *_IDS])


def config_of(corpus: CorpusSection) -> dict[str, Any]:
    return corpus.dedup.model_dump(mode="json")


def run(ctx: StepContext) -> StepResult:
    """Finds duplicates among `documents` by their `minhash` attributes."""
    documents = ctx.parents["documents"]
    check_aligned(documents, {"minhash": ctx.parents["minhash"]})
    firsts = [0, *itertools.accumulate(shard["rows"] for shard in documents.shards)]
    pairs = _candidates(ctx, firsts)
    decisions, compared = _verify(ctx, firsts, pairs)
    objects = exchange.commit_rows(
        ctx.store, f"{ctx.prefix}/decisions", {"decisions.bin": decisions, "pairs.bin": compared}
    )
    tasks = shard_tasks(ctx, documents)
    for task, first, end in zip(tasks, firsts, firsts[1:], strict=False):
        task["first"] = first
        task["decisions"] = [objects["decisions.bin"], *exchange.slice_of(decisions["doc"], first, end)]
        task["pairs"] = [objects["pairs.bin"], *exchange.slice_of(compared["a"], first, end)]
    records = ctx.map_shards(write_shard, tasks, "dedup: tables")
    kinds: Counter[str] = Counter({"exact": 0, "near": 0, "pairs": 0, "accepted_pairs": 0})
    for record in records:
        kinds.update(record["facts"])
    ctx.say(f"dedup: {kinds['exact']} exact and {kinds['near']} near duplicates among {firsts[-1]} documents")
    return StepResult(records, {"documents": documents.id, **dict(sorted(kinds.items()))})


def write_shard(task: Task) -> Task:
    """A shard's two tables: one row a document, one row a compared pair whose first document lies here."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    ids = shard_table(writer.store, task["documents"], INDEX, ["doc_id"]).column("doc_id").to_pylist()
    decided = exchange.read_rows(writer.store, task["decisions"][0], survivors.DECISION, *task["decisions"][1:])
    pairs = exchange.read_rows(writer.store, task["pairs"][0], COMPARED, *task["pairs"][1:])
    threshold = task["config"]["jaccard"]
    objects = {DEDUP: writer.put(task["shard"], DEDUP, table_bytes(_dedup_table(ids, decided, task["first"])))}
    if len(pairs):
        objects[PAIRS] = writer.put(task["shard"], PAIRS, table_bytes(_pairs_table(pairs, task["first"], threshold)))
    facts = {rule: int((decided["rule"] == i).sum()) for i, rule in enumerate(survivors.RULES) if rule}
    facts |= {"pairs": len(pairs), "accepted_pairs": int((pairs["jaccard"] >= threshold).sum())}
    return writer.commit_shard(task["shard"], objects, len(ids), facts)


def _candidates(ctx: StepContext, firsts: Sequence[int]) -> NDArray[np.int64]:
    """All candidate pairs (a, b, kind), sorted."""
    documents, minhash = ctx.parents["documents"], ctx.parents["minhash"]
    partitions = max(1, -(-firsts[-1] * (ctx.config["bands"] + 1) // ROWS_PER_PARTITION))
    tasks = shard_tasks(ctx, documents, partitions=partitions)
    for task, first, signatures in zip(tasks, firsts, minhash.shards, strict=False):
        task |= {"prefix": f"{ctx.prefix}/bands", "first": first, "minhash": signatures}
    sent = ctx.map_shards(bands.exchange_shard, tasks, "dedup: bands")
    shared = {"store": ctx.store.uri, "prefix": f"{ctx.prefix}/candidates"}
    parts = [{**shared, "shard": p, "places": exchange.ranges(sent, p)} for p in range(partitions)]
    found = ctx.map_shards(bands.candidates_of_partition, parts, "dedup: candidates")
    exchange.remove(ctx.store, sent, exchange.OBJECT)
    tables = [shard_table(ctx.store, record, bands.CANDIDATES) for record in found]
    columns = [np.concatenate([t.column(name).to_numpy() for t in tables]) for name in ("a", "b", "kind")]
    return bands.distinct(np.stack(columns, axis=1).astype(np.int64))


def _verify(
    ctx: StepContext, firsts: Sequence[int], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """What became of every document that has a candidate, sorted by document, and every near pair compared."""
    exact, near = pairs[pairs[:, 2] == EXACT, :2], pairs[pairs[:, 2] != EXACT]
    if not len(pairs):
        return np.zeros(0, survivors.DECISION), np.zeros(0, COMPARED)
    needs = verify.needs(exact, near[:, :2])
    plain = np.empty(len(near), verify.PAIR)
    plain["a"], plain["b"] = near[:, 0], near[:, 1]
    plan = exchange.commit_rows(ctx.store, f"{ctx.prefix}/plan", {"needs.bin": needs, "pairs.bin": plain})
    sent = _send(ctx, firsts, plan["needs.bin"], needs["doc"])
    compared = np.empty(len(near), COMPARED)
    compared["a"], compared["b"], compared["kind"] = near[:, 0], near[:, 1], near[:, 2]
    compared["jaccard"] = _similarities(ctx, sent, plan["pairs.bin"], len(near))
    exchange.remove(ctx.store, sent, verify.SHINGLES)
    members = _members(ctx, sent)
    for row, (a, b, *_) in zip(compared, near.tolist(), strict=True):
        row["a_high"], row["a_low"] = survivors.halves(members[a].doc_id)
        row["b_high"], row["b_low"] = survivors.halves(members[b].doc_id)
    found = [clusters.Near(*row[:4]) for row in compared.tolist()]
    decisions = clusters.decide([(int(a), int(b)) for a, b in exact], found, members, ctx.config["jaccard"])
    return survivors.decision_rows(decisions), compared


def _send(ctx: StepContext, firsts: Sequence[int], key: str, docs: NDArray[np.int64]) -> list[Task]:
    """The shingles of every document that a comparison needs, from the shards that hold any."""
    tasks = []
    for task, first, end in zip(shard_tasks(ctx, ctx.parents["documents"]), firsts, firsts[1:], strict=False):
        low, high = exchange.slice_of(docs, first, end)
        if low < high:
            task |= {"prefix": f"{ctx.prefix}/shingles", "first": first, "needs": key, "range": [low, high]}
            tasks.append(task)
    return ctx.map_shards(verify.send_shard, tasks, "dedup: shingles")


def _similarities(ctx: StepContext, sent: Sequence[Task], key: str, pairs: int) -> NDArray[np.float64]:
    size = verify.PAIRS_PER_PART
    parts = -(-pairs // size)
    shared = {"store": ctx.store.uri, "prefix": f"{ctx.prefix}/similarity", "pairs": key}
    tasks = [
        {**shared, "shard": part, "range": [part * size, min(pairs, (part + 1) * size)], "places": places}
        for part, places in enumerate(verify.places_of(sent, parts))
    ]
    records = ctx.map_shards(verify.compare_part, tasks, "dedup: comparison") if tasks else []
    held = [shard_table(ctx.store, record, verify.SIMILARITY).column("jaccard").to_numpy() for record in records]
    return np.concatenate(held) if held else np.zeros(0)


def _members(ctx: StepContext, sent: Sequence[Task]) -> dict[int, clusters.Member]:
    members: dict[int, clusters.Member] = {}
    for record in sent:
        for row in shard_table(ctx.store, record, verify.MEMBERS).to_pylist():
            members[row["doc"]] = clusters.Member(row["doc_id"], row["record_id"], row["licence"], row["bytes"])
    return members


def _dedup_table(ids: Sequence[str], decided: NDArray[np.void], first: int) -> Any:
    """One row a document: see survivors.columns; `grouped` says whether it has company at all."""
    import pyarrow as pa

    of, rule, jaccard = survivors.columns(decided, first, len(ids))
    cluster = list(ids)
    grouped = np.zeros(len(ids), np.bool_)
    for row in decided.tolist():
        cluster[row[0] - first] = f"{row[4]:016x}{row[5]:016x}"
    grouped[decided["doc"] - first] = True
    return pa.table(
        {
            "duplicate_of": pa.array(of, pa.int64()),
            "rule": pa.array(rule, pa.string()),
            "jaccard": pa.array(jaccard, pa.float64()),
            "cluster": pa.array(cluster, pa.string()),
            "grouped": grouped,
        }
    )


def _pairs_table(pairs: NDArray[np.void], first: int, threshold: float) -> Any:
    """`a`, `b` (numbers of documents), their ids, `row` of a in this shard, `jaccard`, `rule`, `accepted`."""
    import pyarrow as pa

    names = np.array(["exact", "near", "template"])
    ids = [[f"{high:016x}{low:016x}" for high, low in pairs[[f"{end}_high", f"{end}_low"]].tolist()] for end in "ab"]
    return pa.table(
        {
            "a": np.ascontiguousarray(pairs["a"]),
            "b": np.ascontiguousarray(pairs["b"]),
            "a_doc_id": pa.array(ids[0], pa.string()),
            "b_doc_id": pa.array(ids[1], pa.string()),
            "row": pairs["a"] - first,
            "jaccard": np.ascontiguousarray(pairs["jaccard"]),
            "rule": pa.array(names[pairs["kind"]].tolist(), pa.string()),
            "accepted": pairs["jaccard"] >= threshold,
        }
    )
