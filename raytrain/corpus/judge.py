"""The first pass of select over a shard: the verdict by rules and languages, and what the driver needs of it.

Reads small columns only. The invariant: a shard's verdict is a function of its own tables and the configuration;
what depends on other shards (who survives among duplicates) is decided outside and brought in by `decide`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus import verdict as verdicts
from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup import survivors
from raytrain.corpus.dedup.clusters import Decision, Member
from raytrain.corpus.dedup.step import DEDUP
from raytrain.corpus.ingest import INDEX
from raytrain.corpus.rules import Rule
from raytrain.corpus.split import Cluster, clusters_of
from raytrain.corpus.stages import language, text
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import Task

PASSED = "passed.parquet"
GROUPED = "grouped.parquet"
COLUMNS = ["doc_id", "record_id", "source", "domain", "licence", "origin", "declared_language", "bytes"]


class Judged:
    """A shard's small columns and the verdict on them; until `decide`, duplicates are those that dedup marked."""

    def __init__(self, store: Store, task: Task) -> None:
        parents, self.config, self.first = task["parents"], task["config"], task["first"]
        self.rules = {rule.key: rule for rule in (Rule.from_dict(held) for held in self.config["rules"])}
        self.documents = shard_table(store, parents["documents"], INDEX, COLUMNS).to_pydict()
        columns = sorted({rule.column for rule in self.rules.values()}) or ["word_count"]
        table = shard_table(store, parents["text"], text.STAGE.object, columns)
        self.text = {name: table.column(name).to_numpy() for name in columns}
        self.language = shard_table(store, parents["language"], language.STAGE.object).to_pydict()
        self.dedup = shard_table(store, parents["dedup"], DEDUP).to_pydict()
        rules, languages = list(self.rules.values()), self.config["languages"]
        judged = verdicts.judge(self.documents, self.text, self.language, rules, languages)
        self.verdict = judged.with_duplicates(self.dedup["rule"])

    def decide(self, decided: NDArray[np.void]) -> None:
        """Replaces the duplicates among the documents that pass by what was decided among these."""
        found = survivors.columns(decided, self.first, len(self.documents["bytes"]))
        passes = self.verdict.passes
        for name, chosen in zip(("duplicate_of", "rule", "jaccard"), found, strict=True):
            self.dedup[name] = [
                new if ok else old for ok, new, old in zip(passes, chosen, self.dedup[name], strict=True)
            ]
        self.verdict = self.verdict.with_duplicates(self.dedup["rule"])

    def numbers(self, document: int) -> list[dict[str, Any]]:
        """Why a document went, see verdict.numbers."""
        return verdicts.numbers(self.verdict, document, self.rules, self.text, self.language, self.dedup, self.config)


def judge_shard(task: Task) -> Task:
    """Lists the documents that pass, and of those that have company what survivors are chosen by."""
    import pyarrow as pa

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    shard = Judged(writer.store, task)
    passes = shard.verdict.passes
    text = pa.string()
    table = pa.table(
        {
            "doc": pa.array(np.arange(shard.first, shard.first + len(passes))),
            "cluster": pa.array(shard.dedup["cluster"], text),
            **{name: pa.array(shard.documents[name], text) for name in ("source", "doc_id", "record_id", "licence")},
            "bytes": pa.array(shard.documents["bytes"], pa.int64()),
        }
    )
    passed = table.select(["doc", "cluster", "source", "bytes"]).filter(pa.array(passes))
    grouped = table.select(["doc", "doc_id", "record_id", "licence", "bytes"])
    grouped = grouped.filter(pa.array(passes & np.array(shard.dedup["grouped"], np.bool_)))
    objects = {
        PASSED: writer.put(task["shard"], PASSED, table_bytes(passed)),
        GROUPED: writer.put(task["shard"], GROUPED, table_bytes(grouped)),
    }
    facts = verdicts.tally(shard.verdict, shard.documents)
    return writer.commit_shard(task["shard"], objects, passed.num_rows, facts)


def duplicates(
    store: Store, judged: Sequence[Mapping[str, Any]], dedup: Artifact, threshold: float
) -> dict[int, Decision]:
    """Who stays among the documents that pass, by number, of those that have company."""
    passing: dict[int, Member] = {}
    for record in judged:
        for row in shard_table(store, record, GROUPED).to_pylist():
            doc = row.pop("doc")
            passing[doc] = Member(**row)
    return survivors.among(passing, survivors.accepted_pairs(dedup), threshold)


def clusters(store: Store, judged: Sequence[Mapping[str, Any]], decided: Mapping[int, Decision]) -> list[Cluster]:
    """Dedup's clusters with what they hold of the documents that stay: a split must not cut even a rejected tie."""
    held: list[tuple[str, str, int]] = []
    for record in judged:
        rows = shard_table(store, record, PASSED).to_pydict()
        for doc, *one in zip(rows["doc"], rows["cluster"], rows["source"], rows["bytes"], strict=True):
            if doc not in decided or decided[doc].duplicate_of is None:
                held.append((one[0], one[1], one[2]))
    return clusters_of(held)
