"""The select step: documents, their attributes and the recipe's rules become the corpus that is trained on.

Two passes over the shards: the first judges by small columns; then survivors are chosen among what passes and the
split is drawn; the second writes the kept texts and a sample of the rejected ones. The invariant: nothing upstream
is changed, so another threshold is another corpus at the price of this step.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raytrain.corpus import judge as judging
from raytrain.corpus import split as splitting
from raytrain.corpus import verdict as verdicts
from raytrain.corpus.attributes import aligned_shards, check_aligned, shard_table
from raytrain.corpus.dedup import exchange, survivors
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.rules import rules_of
from raytrain.corpus.section import CorpusSection
from raytrain.errors import UserError
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task

NAME = "select"
KIND = "corpora"
VERSION = 1
KEPT = "kept.parquet"
REJECTED = "rejected.parquet"
DECISIONS = "decisions.bin"
SAMPLES_PER_REASON = 3  # rejected documents shown per shard and reason
SAMPLE_CHARACTERS = 1000
PARENTS = ("documents", "text", "language", "dedup")


def config_of(corpus: CorpusSection) -> dict[str, Any]:
    """The rules as they are resolved, so that an edited rule file makes another corpus."""
    return {
        "languages": corpus.languages.model_dump(mode="json"),
        "rules": [rule.as_dict() for rule in rules_of(corpus)],
        "jaccard": corpus.dedup.jaccard,
        "split": corpus.split.model_dump(mode="json"),
    }


def run(ctx: StepContext) -> StepResult:
    """Makes a corpus of `documents` by their `text`, `language` and `dedup` attributes."""
    documents = ctx.parents["documents"]
    parents = {name: ctx.parents[name] for name in PARENTS}
    check_aligned(documents, {name: parents[name] for name in PARENTS[1:]})
    shared = {"store": ctx.store.uri, "config": dict(ctx.config)}
    records = aligned_shards(parents, len(documents.shards))
    firsts = [0, *itertools.accumulate(shard["rows"] for shard in documents.shards)]
    tasks = [
        {**shared, "prefix": f"{ctx.prefix}/judged", "shard": i, "first": first, "parents": held}
        for i, (first, held) in enumerate(zip(firsts, records, strict=False))
    ]
    judged = ctx.map_shards(judging.judge_shard, tasks, "select: judge")
    decided = judging.duplicates(ctx.store, judged, parents["dedup"], ctx.config["jaccard"])
    held = judging.clusters(ctx.store, judged, decided)
    if not held:
        _refuse_empty(verdicts.add(record["facts"] for record in judged))
    drawn = splitting.split(held, ctx.config["split"])
    rows = survivors.decision_rows(decided)
    key = exchange.commit_rows(ctx.store, f"{ctx.prefix}/decisions", {DECISIONS: rows})[DECISIONS]
    for task, first, end in zip(tasks, firsts, firsts[1:], strict=False):
        where = [key, *exchange.slice_of(rows["doc"], first, end)]
        task |= {"prefix": ctx.prefix, "split": drawn.as_dict(), "decisions": where}
    written = ctx.map_shards(write_shard, tasks, "select: write")
    facts = _funnel(documents.facts, verdicts.add(record["facts"]["counts"] for record in written))
    facts["split"] = _split_facts(written)
    kept, held_out = facts["funnel"][-1], facts["split"]["validation"]
    ctx.say(f"kept {kept['documents']} documents, {kept['bytes'] / 1e6:.1f} MB; {held_out['documents']} for validation")
    return StepResult([{**record, "facts": {}} for record in written], facts)


def write_shard(task: Task) -> Task:
    """Writes a shard's kept documents with their split, and a sample of the rejected ones with their reasons."""
    import pyarrow as pa

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    shard = judging.Judged(writer.store, task)
    shard.decide(exchange.read_rows(writer.store, task["decisions"][0], survivors.DECISION, *task["decisions"][1:]))
    table = shard_table(writer.store, task["parents"]["documents"], DOCUMENTS)
    kept = np.flatnonzero(shard.verdict.keep)
    drawn = splitting.Split.from_dict(task["split"])
    clusters = [shard.dedup["cluster"][i] for i in kept]
    splits = ["validation" if drawn.holds_out(cluster) else "train" for cluster in clusters]
    more = {
        "language": pa.array([shard.verdict.language[i] for i in kept], pa.string()),
        "cluster": pa.array(clusters, pa.string()),
        "split": pa.array(splits, pa.string()),
        "shard": pa.array(np.full(len(kept), task["shard"], np.int64)),
        "row": pa.array(kept),
    }
    out = table.drop_columns(["declared_language"]).take(pa.array(kept))
    for name, column in more.items():
        out = out.append_column(name, column)
    objects = {
        KEPT: writer.put(task["shard"], KEPT, table_bytes(out)),
        REJECTED: writer.put(task["shard"], REJECTED, table_bytes(_rejected(table, shard))),
    }
    sizes = [shard.documents["bytes"][i] for i in kept]
    sources = [shard.documents["source"][i] for i in kept]
    split: dict[str, dict[str, list[int]]] = {"train": {}, "validation": {}}
    for which, source, size in zip(splits, sources, sizes, strict=True):
        held = split[which].setdefault(source, [0, 0])
        held[0], held[1] = held[0] + 1, held[1] + size
    facts = {"counts": verdicts.tally(shard.verdict, shard.documents), "split": split}
    return writer.commit_shard(task["shard"], objects, len(kept), facts)


def _rejected(table: Any, shard: judging.Judged) -> Any:
    """Per reason the documents whose record_id hashes lowest: a sample that is fair, and the same every time."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from xxhash import xxh3_64_intdigest

    order = np.argsort([xxh3_64_intdigest(name.encode()) for name in shard.documents["record_id"]], kind="stable")
    shown = sorted({int(i) for row in shard.verdict.failed for i in order[row[order]][:SAMPLES_PER_REASON]})
    rows = pa.array(shown, pa.int64())
    numbers = [shard.numbers(i) for i in shown]
    sample = table.select(["record_id", "doc_id", "source", "domain", "licence", "url", "bytes"]).take(rows)
    text = pc.utf8_slice_codeunits(table.column("text").take(rows), 0, SAMPLE_CHARACTERS)
    words = [(name, pa.string()) for name in ("rule", "column", "op")]
    number = pa.struct([*words, ("value", pa.float64()), ("threshold", pa.float64())])
    for name, column in (
        ("language", pa.array([shard.verdict.language[i] for i in shown], pa.string())),
        ("reasons", pa.array([[one["rule"] for one in held] for held in numbers], pa.list_(pa.string()))),
        ("numbers", pa.array(numbers, pa.list_(number))),
        ("text", text),
    ):
        sample = sample.append_column(name, column)
    return sample


def _funnel(ingest: Mapping[str, Any], counts: dict[str, Any]) -> dict[str, Any]:
    """The counts with the steps before annotation put in front, and `kept` at the end."""
    aside = sum(ingest["quarantined"].values())
    start = [
        {"step": "read", "documents": ingest["documents"] + aside, "bytes": ingest["read_bytes"]},
        {"step": "normalised", "documents": ingest["documents"], "bytes": ingest["bytes"]},
    ]
    end = {**counts["funnel"][-1], "step": "kept"}
    return {
        **counts,
        "funnel": [*start, *counts["funnel"], end],
        "quarantined": ingest["quarantined"],
        "repaired": ingest["repaired"],
    }


def _split_facts(written: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for which in ("train", "validation"):
        documents: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for record in written:
            for source, (many, large) in record["facts"]["split"][which].items():
                documents[source] += many
                size[source] += large
        sources = {name: {"documents": documents[name], "bytes": size[name]} for name in sorted(documents)}
        facts[which] = {"documents": documents.total(), "bytes": size.total(), "sources": sources}
    return facts


def _refuse_empty(counts: Mapping[str, Any]) -> None:
    reasons = sorted(counts["reasons"].items(), key=lambda item: -item[1]["documents"])[:3]
    read = sum(group["documents_before"] for group in counts["groups"]["source"].values())
    why = "; ".join(f"{key} rejects {counts['documents']}" for key, counts in reasons if counts["documents"])
    raise UserError(
        f"corpus: the rules keep none of {read} documents: {why}; move a threshold in corpus.overrides "
        "(null drops a rule), or change corpus.rules or corpus.languages.allowed"
    )
