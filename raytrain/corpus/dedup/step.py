"""The dedup step: walks the stages of the search and writes, beside every documents shard, who duplicates whom.

Intermediate objects lie below the artifact's own prefix, each committed by a record, so that an interrupted search
goes on where it was; the bulky ones are deleted once nothing can need them. Survivors are chosen here among all
documents; select chooses again among those that its rules pass. The invariant: every document marked as a duplicate
has one that stays, and the two are of one text, of one URL, or alike as the rule says, computed from both texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_tasks
from raytrain.corpus.dedup import bands, clusters, exchange, groups, spans, tables, verify
from raytrain.corpus.dedup.pool import NODE, Pool, pool_of, resolve
from raytrain.corpus.dedup.tables import DEDUP
from raytrain.corpus.section import CorpusSection
from raytrain.errors import UserError
from raytrain.store import Artifact, Store
from raytrain.store.step import StepContext, StepResult, Task

NAME = "dedup"
KIND = "dedup"
VERSION = 3
ROWS_PER_PARTITION = 16_000_000  # 16 bytes each, their order and a sorted copy: about 700 MB a task
BYTES_PER_PARTITION = 500_000_000  # of text: a run of words is sampled every 50 bytes or so, 24 bytes each
GUARDED_DOCUMENTS = 100  # a smaller source may well be a copy

__all__ = ["DEDUP", "KIND", "NAME", "VERSION", "check_losses", "config_of", "run"]


def config_of(corpus: CorpusSection, store: Store) -> dict[str, Any]:
    """The section, with the artifacts in place of the names that `against` gives them.

    Not max_source_loss, see check_losses: what is allowed changes nothing of what is found.
    """
    against = [resolve(store, name) for name in corpus.dedup.against]
    return corpus.dedup.model_dump(mode="json", exclude={"max_source_loss"}) | {"against": against}


def run(ctx: StepContext) -> StepResult:
    """Finds duplicates among `documents` by their `minhash` attributes; `quality` holds the column that is named."""
    pool = pool_of(ctx)
    texts, members = _groups(ctx, pool, "text", NODE, groups.SAME_TEXT)
    urls = np.zeros(0, groups.SAME_URL)
    if ctx.config["url"]:
        _, urls = _groups(ctx, pool, "url", groups.ADDRESS, groups.SAME_URL)
    compared = _compare(ctx, pool, *_candidates(ctx, pool, texts))
    held = _members(pool, members, urls, exchange.receive_all(ctx.store, compared, "linked.bin", NODE))
    links = _links(exchange.receive_all(ctx.store, compared, "links.bin", verify.COMPARED), held, ctx.config)
    decided = _decided(held, clusters.decide(held, links))
    records = _write(ctx, pool, decided, compared)
    facts = _facts(records)
    removed = ", ".join(f"{facts[rule]} {rule}" for rule in clusters.RULES if rule)
    ctx.say(f"dedup: {removed} duplicates among {pool.own} documents; {facts['pairs']} pairs compared")
    return StepResult(records, {"documents": ctx.parents["documents"].id, **facts, "earlier": _earlier(pool)})


def _groups(
    ctx: StepContext, pool: Pool, by: str, key: np.dtype[Any], member: np.dtype[Any]
) -> tuple[dict[str, Any], NDArray[Any]]:
    """Where the members of groups of one text (or URL) lie by range, and all of them."""
    partitions = max(1, -(-pool.documents * key.itemsize // (16 * ROWS_PER_PARTITION)))
    sent = ctx.map_shards(
        groups.send_keys, pool.tasks(ctx, f"{by}-keys", by=by, partitions=partitions), f"dedup: {by}s"
    )
    keys = exchange.plan(ctx.store, f"{ctx.prefix}/{by}-keys", "keys", sent)
    tasks = _partition_tasks(ctx, pool, f"{by}-groups", partitions, by=by, keys=keys)
    found = ctx.map_shards(groups.groups_of_partition, tasks, f"dedup: same {by}")
    where = exchange.plan(ctx.store, f"{ctx.prefix}/{by}-groups", "members", found)
    exchange.remove(ctx.store, sent, "keys.bin")
    return where, exchange.receive_all(ctx.store, found, "members.bin", member)


def _candidates(ctx: StepContext, pool: Pool, texts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the candidate pairs lie by range of their first document, and which documents they need."""
    partitions = max(1, -(-pool.documents * ctx.config["bands"] // ROWS_PER_PARTITION))
    tasks = pool.tasks(ctx, "bands", partitions=partitions, members=texts)
    sent = ctx.map_shards(bands.send_bands, tasks, "dedup: bands")
    rows = exchange.plan(ctx.store, f"{ctx.prefix}/bands", "bands", sent)
    tasks = _partition_tasks(ctx, pool, "candidates", partitions, bands=rows)
    found = ctx.map_shards(bands.candidates_of_partition, tasks, "dedup: candidates")
    at = f"{ctx.prefix}/candidates"
    plans = [exchange.plan(ctx.store, at, name, found) for name in ("pairs", "needs")]
    exchange.remove(ctx.store, sent, "bands.bin")
    return plans[0], plans[1]


def _compare(ctx: StepContext, pool: Pool, pairs: Mapping[str, Any], needs: Mapping[str, Any]) -> list[Task]:
    """The records of the ranges, in order, each with its pairs compared; none where there is no pair."""
    if not pairs["rows"]:
        return []
    tasks = pool.tasks(ctx, "shingles", needs=needs)
    sent = ctx.map_shards(verify.send_shingles, tasks, "dedup: shingles")
    shingles = exchange.plan(ctx.store, f"{ctx.prefix}/shingles", "shingles", sent)
    ranges = -(-pool.own // pool.range_documents)
    tasks = _partition_tasks(ctx, pool, "compared", ranges, pairs=pairs, shingles=shingles)
    compared = ctx.map_shards(verify.compare_range, tasks, "dedup: comparison")
    exchange.remove(ctx.store, sent, "shingles.bin")
    return compared


def _partition_tasks(ctx: StepContext, pool: Pool, room: str, count: int, **more: Any) -> list[Task]:
    shared = {"store": ctx.store.uri, "prefix": f"{ctx.prefix}/{room}", "config": dict(ctx.config), "own": pool.own}
    shared |= {"range": pool.range_documents, "ranges": pool.ranges, **more}
    return [{**shared, "shard": part} for part in range(count)]


def _members(pool: Pool, texts: NDArray[Any], urls: NDArray[Any], linked: NDArray[Any]) -> NDArray[Any]:
    """Every document that has company, once, sorted by document."""
    rows = np.zeros(len(texts) + len(urls) + len(linked), clusters.MEMBER)
    for name in NODE.names or ():
        rows[name] = np.concatenate([held[name] for held in (urls, texts, linked)])
    rows["url_high"][: len(urls)], rows["url_low"][: len(urls)] = urls["url_high"], urls["url_low"]
    rows["earlier"] = rows["doc"] >= pool.own
    return np.asarray(rows[np.unique(rows["doc"], return_index=True)[1]])  # the first is the one that knows its URL


def _links(pairs: NDArray[Any], members: NDArray[Any], config: Mapping[str, Any]) -> NDArray[Any]:
    """Accepted pairs, and those that share a template, as links between texts."""
    rows = np.zeros(len(pairs), clusters.LINK)
    for end in "ab":
        at = members[np.searchsorted(members["doc"], pairs[end])] if len(pairs) else members[:0]
        rows[f"{end}_high"], rows[f"{end}_low"] = at["high"], at["low"]
    rows["jaccard"], rows["containment"] = verify.similarities(pairs)
    names = np.array([0, clusters.RULES.index("near"), clusters.RULES.index("contained")])
    rows["rule"] = names[verify.rule_of(pairs, config)]
    rows["longer"] = pairs["b_size"] > pairs["a_size"]
    return rows


def _decided(members: NDArray[Any], decisions: NDArray[Any]) -> NDArray[Any]:
    """Decisions and what the tables tell of each document beside, sorted by document as both are."""
    rows = np.empty(len(decisions), clusters.DECIDED)
    for name in decisions.dtype.names or ():
        rows[name] = decisions[name]
    for name in ("rank", "url_high", "url_low"):
        rows[name] = members[name]
    rows["id_high"], rows["id_low"] = members["high"], members["low"]
    return rows


def _write(ctx: StepContext, pool: Pool, decided: NDArray[Any], compared: Sequence[Task]) -> list[Task]:
    key = exchange.commit_rows(ctx.store, f"{ctx.prefix}/decisions", {"decisions.bin": decided})["decisions.bin"]
    repeats = _repeats(ctx, pool, key, decided["doc"]) if ctx.config["span_words"] else None
    objects = [[r["objects"][name]["key"] for name in ("compared.bin", "nodes.bin")] for r in compared]
    gallery = _gallery(ctx, pool, compared)
    tasks = shard_tasks(ctx, ctx.parents["documents"])
    for task, shard in zip(tasks, pool.shards, strict=False):
        first, end = shard["first"], shard["first"] + shard["rows"]
        task["first"] = first
        task["decisions"] = [key, *exchange.slice_of(decided["doc"], first, end)]
        size = pool.range_documents
        task |= {"repeats": repeats, "shards": [shard], "range": pool.range_documents}
        task["compared"] = objects[first // size : (max(first, end - 1)) // size + 1]
        task["gallery"] = gallery if task["shard"] == 0 else []
        task["earlier"] = [
            key,
            *(exchange.slice_of(decided["doc"], pool.own, pool.documents) if first == 0 else [0, 0]),
        ]
    return ctx.map_shards(tables.write_shard, tasks, "dedup: tables")


def _repeats(ctx: StepContext, pool: Pool, key: str, docs: NDArray[np.int64]) -> dict[str, Any]:
    """Where the repeated spans lie by range of documents, given where the decisions lie and on which documents."""
    own = replace(pool, shards=[shard for shard in pool.shards if shard["first"] < pool.own], documents=pool.own)
    size = sum(shard["documents"]["facts"]["bytes"] for shard in own.shards)
    partitions = max(1, -(-size // BYTES_PER_PARTITION))
    tasks = own.tasks(ctx, "spans", partitions=partitions)
    for task in tasks:
        first, last = task["shards"][0], task["shards"][-1]
        task["decisions"] = [key, *exchange.slice_of(docs, first["first"], last["first"] + last["rows"])]
    sent = ctx.map_shards(spans.send_spans, tasks, "dedup: spans")
    where = exchange.plan(ctx.store, f"{ctx.prefix}/spans", "spans", sent)
    found = ctx.map_shards(
        spans.repeats_of_partition, _partition_tasks(ctx, pool, "repeats", partitions, spans=where), "dedup: repeats"
    )
    repeats = exchange.plan(ctx.store, f"{ctx.prefix}/repeats", "repeats", found)
    exchange.remove(ctx.store, sent, "spans.bin")
    return repeats


def _gallery(ctx: StepContext, pool: Pool, compared: Sequence[Task]) -> list[list[Any]]:
    """Pairs that the thresholds nearly judged otherwise: [COMPARED row, [record id, text] of a, the same of b]."""
    rows = [tuple(row) for record in compared for row in record["facts"]["nearest"]]
    if not rows:
        return []
    shown = verify.nearest(np.array(rows, verify.COMPARED), ctx.config)
    docs = np.unique(np.concatenate([shown["a"], shown["b"]]))
    tasks: list[Task] = []
    for shard in pool.shards:
        first, end = exchange.slice_of(docs, shard["first"], shard["first"] + shard["rows"])
        if first < end:
            where = {"first": shard["first"], "documents": shard["documents"], "docs": docs[first:end].tolist()}
            tasks.append({"store": ctx.store.uri, "prefix": f"{ctx.prefix}/gallery", "shard": len(tasks), **where})
    found = ctx.map_shards(tables.excerpts, tasks, "dedup: gallery")
    texts = {doc: text for record in found for doc, text in record["facts"]["excerpts"]}
    return [[row, texts[row[0]], texts[row[1]]] for row in shown.tolist()]


def _facts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    sources: dict[str, list[int]] = {}
    for record in records:
        counts.update({name: held for name, held in record["facts"].items() if name != "sources"})
        for name, (many, lost) in record["facts"]["sources"].items():
            held = sources.setdefault(name, [0, 0])
            held[0], held[1] = held[0] + many, held[1] + lost
    named = {name: {"documents": many, "near": lost} for name, (many, lost) in sorted(sources.items())}
    return {**dict(sorted(counts.items())), "sources": named}


def check_losses(found: Artifact, most: float) -> None:
    """Raises a UserError when near-duplicates would swallow a source: rather a template that all of it shares."""
    for name, held in found.facts["sources"].items():
        share = held["near"] / max(held["documents"], 1)
        if held["documents"] >= GUARDED_DOCUMENTS and share > most:
            raise UserError(
                f"corpus.dedup.max_source_loss: source {name} would lose {held['near']} of its {held['documents']} "
                f"documents ({share:.0%}) to near-duplicates, more than {most:g}; raise corpus.dedup.jaccard or ngram "
                "if a template makes them alike, or max_source_loss if they are copies"
            )


def _earlier(pool: Pool) -> list[dict[str, Any]]:
    """Which earlier corpora the numbers from `first` on belong to."""
    held: dict[str, dict[str, Any]] = {}
    for shard in pool.shards:
        if "earlier" in shard:
            found = held.setdefault(
                shard["earlier"], {"artifact": shard["earlier"], "first": shard["first"], "rows": 0}
            )
            found["rows"] += shard["rows"]
    return list(held.values())
