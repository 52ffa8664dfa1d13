"""The select step: documents, their attributes and the recipe's rules become the corpus that is trained on.

Two passes over the shards: the first judges by small columns; then survivors are chosen among what passes and the
split is drawn; the second writes the kept texts, every document's verdict, and samples for people. The invariant:
nothing upstream is changed, so another threshold is another corpus at the price of this step.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from raytrain.corpus import curriculum, cuts, histograms, samples
from raytrain.corpus import judge as judging
from raytrain.corpus import split as splitting
from raytrain.corpus import verdict as verdicts
from raytrain.corpus.attributes import aligned_shards, check_aligned, shard_table
from raytrain.corpus.dedup import exchange, survivors
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.rules import Rule, rules_of, stages_needed
from raytrain.corpus.section import CorpusSection
from raytrain.errors import UserError
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task

NAME = "select"
KIND = "corpora"
VERSION = 3
KEPT = "kept.parquet"
VERDICTS = "verdicts.parquet"  # one row a document: keep, its duplicate, and each criterion, true where it fails
REJECTED = "rejected.parquet"
BORDERLINE = "borderline.parquet"
DECISIONS = "decisions.bin"


def config_of(corpus: CorpusSection, forgotten: Sequence[str] = ()) -> dict[str, Any]:
    """The rules as they are resolved, so that an edited rule file makes another corpus.

    `forgotten`: the ids among these documents that are to be left out.
    """
    return {
        "languages": corpus.languages.model_dump(mode="json"),
        "rules": [rule.as_dict() for rule in rules_of(corpus)],
        "duplicates": corpus.dedup.model_dump(mode="json", include={"jaccard", "containment", "url"}),
        "difficulty": corpus.difficulty.model_dump(mode="json") if corpus.difficulty else None,
        "limits": corpus.limits.model_dump(mode="json"),
        "forgotten": sorted(forgotten),
        "split": corpus.split.model_dump(mode="json"),
    }


def run(ctx: StepContext) -> StepResult:
    """Makes a corpus of `documents` by their `dedup` and whatever attributes the rules ask for."""
    documents, dedup = ctx.parents["documents"], ctx.parents["dedup"]
    tasks = judge_tasks(ctx.parents, ctx.config)
    tasks = [{**task, "prefix": f"{ctx.prefix}/judged"} for task in tasks]
    judged = ctx.map_shards(judging.judge_shard, tasks, "select: judge")
    settled = judging.settle(*_company(ctx.store, judged), dedup, ctx.config)
    if not len(settled.clusters):
        _refuse_empty(verdicts.add(record["facts"]["counts"] for record in judged))
    shared = {
        "split": splitting.split(settled.clusters, ctx.config["split"]).as_dict(),
        "over": settled.over,
        "bins": settled.bins,
        "edges": histograms.all_edges(record["facts"]["ranges"] for record in judged),
    }
    rows = settled.decisions
    key = exchange.commit_rows(ctx.store, f"{ctx.prefix}/decisions", {DECISIONS: rows})[DECISIONS]
    for task, shard in zip(tasks, documents.shards, strict=True):
        where = exchange.slice_of(rows["doc"], task["first"], task["first"] + shard["rows"])
        task |= {**shared, "prefix": ctx.prefix, "decisions": [key, *where]}
    written = ctx.map_shards(write_shard, tasks, "select: write")
    facts = _facts(documents, written, shared["edges"], [Rule.from_dict(held) for held in ctx.config["rules"]])
    kept, held_out = facts["funnel"][-1], facts["split"]["validation"]
    ctx.say(f"kept {kept['documents']} documents, {kept['bytes'] / 1e6:.1f} MB; {held_out['documents']} for validation")
    return StepResult([{**record, "facts": {}} for record in written], facts)


def judge_tasks(parents: Mapping[str, Artifact], config: Mapping[str, Any]) -> list[Task]:
    """What the judging of each shard needs. Raises a UserError when attributes are of other documents."""
    documents = parents["documents"]
    rules = [Rule.from_dict(held) for held in config["rules"]]
    names = {"dedup", "language", *stages_needed(rules), *parents} - {"documents"}
    check_aligned(documents, {name: parents[name] for name in sorted(names)})
    cut = judging.has_cuts(parents.values())
    firsts = itertools.accumulate((shard["rows"] for shard in documents.shards), initial=0)
    records = aligned_shards(parents, len(documents.shards))
    shared = {"store": documents.store.uri, "config": {**config, "cuts": cut}}
    return [
        {**shared, "shard": i, "first": first, "parents": held}
        for i, (first, held) in enumerate(zip(firsts, records, strict=False))
    ]


def write_shard(task: Task) -> Task:
    """Writes a shard's kept documents with their split, every verdict, and samples of the rejected and the spared."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    shard = judging.Judged(writer.store, task)
    decided = exchange.read_rows(writer.store, task["decisions"][0], survivors.DECISION, *task["decisions"][1:])
    shard.decide(decided, task["over"])
    table = shard_table(writer.store, task["parents"]["documents"], DOCUMENTS)
    kept, lost = _kept(table, shard, task)
    tables = {KEPT: kept, VERDICTS: _verdicts(shard), REJECTED: samples.rejected(table, shard)}
    tables[BORDERLINE] = samples.borderline(table, shard)
    objects = {name: writer.put(task["shard"], name, table_bytes(held)) for name, held in tables.items()}
    stages = {verdicts.label(rule): shard.columns.stages[rule.stage][rule.column] for rule in shard.rules.values()}
    facts = {
        "counts": shard.tally(),
        "split": _split_of(kept),
        "cuts": lost,
        "histograms": {name: histograms.counts(stages[name], edges) for name, edges in task["edges"].items()},
    }
    return writer.commit_shard(task["shard"], objects, kept.num_rows, facts)


def _kept(table: Any, shard: judging.Judged, task: Task) -> tuple[Any, dict[str, Any]]:
    """(the kept documents without what is cut from them, what was cut by reason)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = np.flatnonzero(shard.verdict.keep)
    out = table.drop_columns(["declared_language"]).take(pa.array(rows))
    size, lost = shard.columns.left[rows], {}
    own = shard.cuts.among(rows) if shard.cuts else None
    if own is not None and len(own.row):
        texts = cuts.apply(out.column("text"), own)
        blank = np.asarray(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(texts)), 0), np.bool_)
        if blank.any():  # only now is it seen: what is left of these is white space
            failed = shard.verdict.failed[shard.verdict.keys.index(verdicts.CUT_AWAY)].copy()
            failed[rows[blank]] = True
            shard.verdict = shard.verdict.mark(verdicts.CUT_AWAY, failed)
            return _kept(table, shard, task)
        out = _replaced(out, "text", texts)
        lost = own.tally()
    drawn = splitting.Split.from_dict(task["split"])
    clusters = shard.dedup.column("cluster").take(pa.array(rows))
    held_out = [drawn.holds_out(cluster) for cluster in clusters.to_pylist()]
    more = {
        "language": shard.columns.language.take(rows),
        "cluster": clusters,
        "split": pc.if_else(pa.array(held_out, pa.bool_()), "validation", "train"),
        "shard": pa.array(np.full(len(rows), task["shard"], np.int64)),
        "row": pa.array(rows),
        "bin": pa.array(curriculum.bins(shard.columns.documents["domain"], shard.level, task["bins"])[rows]),
        "cut_bytes": pa.array(shard.columns.bytes[rows] - size),
    }
    out = _replaced(out, "bytes", pa.array(size))
    for name, column in more.items():
        out = out.append_column(name, column)
    return out, lost


def _replaced(table: Any, name: str, values: Any) -> Any:
    place = table.column_names.index(name)
    return table.set_column(place, table.schema.field(place), values)


def _verdicts(shard: judging.Judged) -> Any:
    import pyarrow as pa

    columns = {"keep": shard.verdict.keep, "duplicate_of": pa.array(shard.of, mask=shard.of < 0)}
    columns |= {name: pa.array(held, mask=np.isnan(held)) for name, held in shard.similar.items()}
    return pa.table(columns | dict(zip(shard.verdict.keys, shard.verdict.failed, strict=True)))


def _split_of(kept: Any) -> dict[str, dict[str, list[int]]]:
    """By split and source the documents and bytes that are kept."""
    split: dict[str, dict[str, list[int]]] = {"train": {}, "validation": {}}
    held = kept.select(["split", "source", "bytes"]).group_by(["split", "source"], use_threads=False)
    for row in held.aggregate([("bytes", "count"), ("bytes", "sum")]).to_pylist():
        split[row["split"]][row["source"]] = [row["bytes_count"], row["bytes_sum"]]
    return split


def _company(store: Store, judged: Sequence[Mapping[str, Any]]) -> tuple[Iterable[Any], Iterable[Any]]:
    passed = (shard_table(store, record, judging.PASSED) for record in judged)
    return passed, (shard_table(store, record, judging.GROUPED) for record in judged)


def _facts(
    documents: Artifact, written: Sequence[Mapping[str, Any]], edges: Mapping[str, list[float]], rules: Sequence[Rule]
) -> dict[str, Any]:
    """The counts of all shards with the steps before annotation put in front, and `kept` at the end."""
    ingest, held = documents.facts, [record["facts"] for record in written]
    counts = verdicts.add(facts["counts"] for facts in held)
    aside = sum(ingest["quarantined"].values())
    start = [
        {"step": "read", "documents": ingest["documents"] + aside, "bytes": ingest["read_bytes"]},
        {"step": "normalised", "documents": ingest["documents"], "bytes": ingest["bytes"]},
    ]
    split = _split_facts(held)
    end = {name: split["train"][name] + split["validation"][name] for name in ("documents", "bytes")}
    lost: dict[str, Counter[str]] = {}
    for facts in held:
        for reason, numbers in facts["cuts"].items():
            lost.setdefault(reason, Counter()).update(numbers)
    return {
        **counts,
        "funnel": [*start, *counts["funnel"], {"step": "kept", **end}],
        "split": split,
        "cuts": {reason: dict(lost[reason]) for reason in sorted(lost)},
        "histograms": histograms.drawn(rules, edges, [facts["histograms"] for facts in held]),
        "quarantined": ingest["quarantined"],
        "repaired": ingest["repaired"],
    }


def _split_facts(held: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for which in ("train", "validation"):
        documents: Counter[str] = Counter()
        size: Counter[str] = Counter()
        for facts in held:
            for source, (many, large) in facts["split"][which].items():
                documents[source] += many
                size[source] += large
        sources = {name: {"documents": documents[name], "bytes": size[name]} for name in sorted(documents)}
        found[which] = {"documents": documents.total(), "bytes": size.total(), "sources": sources}
    return found


def _refuse_empty(counts: Mapping[str, Any]) -> None:
    reasons = sorted(counts["reasons"].items(), key=lambda item: -item[1]["documents"])[:3]
    read = sum(group["documents_before"] for group in counts["groups"]["source"].values())
    why = "; ".join(f"{key} rejects {counts['documents']}" for key, counts in reasons if counts["documents"])
    raise UserError(
        f"corpus: the rules keep none of {read} documents: {why}; move a threshold in corpus.overrides "
        "(null drops a rule), or change corpus.rules or corpus.languages.allowed"
    )
