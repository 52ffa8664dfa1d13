"""The first pass of select over a shard: the verdict on its documents, and what the driver needs of it.

Reads small columns only. The invariant: a shard's verdict is a function of its own tables and the configuration;
what depends on other shards (who survives among duplicates, what is over its share) is decided by `settle` and
brought in by `decide`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus import curriculum, limits, split
from raytrain.corpus import verdict as verdicts
from raytrain.corpus.attributes import shard_table
from raytrain.corpus.coded import Coded, id_numbers
from raytrain.corpus.cuts import OBJECT as CUTS
from raytrain.corpus.cuts import read_cuts
from raytrain.corpus.dedup import survivors
from raytrain.corpus.dedup.step import DEDUP
from raytrain.corpus.ingest import INDEX
from raytrain.corpus.rules import Rule
from raytrain.corpus.verdict import DUPLICATES, Columns
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import Task

PASSED = "passed.parquet"
GROUPED = "grouped.parquet"
RECORD = ["source", "domain", "licence", "origin", "verification"]
COLUMNS = ["doc_id", "record_id", *RECORD, "date", "declared_language", "bytes"]
LANGUAGE = {"language", "language_score"}
SIMILARITIES = ("jaccard", "containment")


class Judged:
    """A shard's small columns and the verdict on them; until `decide`, duplicates are those that dedup marked."""

    def __init__(self, store: Store, task: Task) -> None:
        parents, self.config, self.first = task["parents"], task["config"], task["first"]
        self.rules = {rule.key: rule for rule in (Rule.from_dict(held) for held in self.config["rules"])}
        self.table = shard_table(store, parents["documents"], INDEX, COLUMNS)
        stages: dict[str, set[str]] = {"language": set(LANGUAGE)}
        for rule in self.rules.values():
            stages.setdefault(rule.stage, set()).add(rule.column)
        if self.config["difficulty"]:
            stages.setdefault("difficulty", set()).add(self.config["difficulty"]["by"])
        held = {name: _attributes(store, parents[name], name, columns) for name, columns in stages.items()}
        self.cuts = read_cuts(store, parents.values())
        self.columns = _columns(self.table, held, self.cuts, self.config["languages"]["min_score"])
        forgotten = np.zeros(len(self.columns.bytes), np.bool_)
        for name in ("doc_id", "record_id"):
            forgotten |= _is_in(self.table.column(name), self.config["forgotten"])
        self.score = held["language"].column("language_score").to_numpy()
        self.dedup = shard_table(store, parents["dedup"], DEDUP)
        self.kind = _rules_of(self.dedup)
        self.of = _filled(self.dedup, "duplicate_of", -1)
        self.similar = {name: _filled(self.dedup, name, np.nan) for name in SIMILARITIES}
        judged = verdicts.judge(self.columns, self.config, list(self.rules.values()), forgotten)
        self.verdict = judged.with_duplicates(self.kind)

    def decide(self, decided: NDArray[np.void], over: Mapping[str, int]) -> None:
        """Replaces the duplicates among the documents that pass by what was decided among these, and cuts shares."""
        passes, own = self.verdict.passes, decided["doc"] - self.first
        columns: list[tuple[NDArray[Any], str, float]] = [(self.kind, "rule", 0), (self.of, "of", -1)]
        columns += [(held, name, np.nan) for name, held in self.similar.items()]
        for held, name, nothing in columns:
            held[passes] = nothing
            held[own] = np.where(passes[own], decided[name], held[own])
        self.verdict = self.verdict.with_duplicates(self.kind)
        if over:
            failed = limits.over(self.columns.documents["origin"], id_numbers(self.table.column("doc_id")), over)
            self.verdict = self.verdict.mark(verdicts.SHARE, failed & self.verdict.keep)

    def numbers(self, document: int) -> list[dict[str, Any]]:
        """Why a document went, see verdict.numbers."""
        held, asked = self.columns, self.config["limits"]
        origin = held.documents["origin"][document]
        jaccard, contained = (float(held[document]) for held in self.similar.values())
        least = self.config["duplicates"]
        alike = (f"jaccard with document {self.of[document]}", jaccard, "<", least["jaccard"])
        other: dict[str, tuple[str, float, str, float]] = {
            verdicts.FORGOTTEN: ("listed to be forgotten", 1.0, "==", 0.0),
            verdicts.CUT_AWAY: ("bytes left", 0.0, ">=", 1.0),
            verdicts.SHARE: (f"share of origin {origin}", 1.0, "<=", asked["max_share"].get(origin, 1.0)),
            DUPLICATES["exact"]: alike,
            DUPLICATES["near"]: alike,
            DUPLICATES["url"]: (f"url of document {self.of[document]}", 1.0, "==", 0.0),
            DUPLICATES["contained"]: (
                f"share within document {self.of[document]}",
                contained,
                "<",
                least["containment"],
            ),
        }
        other[verdicts.LANGUAGE] = (f"refused: {held.language[document]}", 1.0, "==", 0.0)
        if not held.sure[document]:
            score, minimum = float(self.score[document]), self.config["languages"]["min_score"]
            other[verdicts.LANGUAGE] = (f"score of {held.language[document]}", score, ">=", minimum)
        for name in (*asked["refuse"], "licences"):
            value = held.documents["licence" if name == "licences" else name][document]
            other[f"limits.{name}"] = (f"refused: {value or 'unknown'}", 1.0, "==", 0.0)
        return verdicts.numbers(self.verdict, document, self.rules, held, other)

    @property
    def level(self) -> NDArray[np.int64]:
        """How difficult each document is, on curriculum's scale; 0 where the recipe asks for no bins."""
        asked = self.config["difficulty"]
        if not asked:
            return np.zeros(len(self.columns.bytes), np.int64)
        return curriculum.levels(asked["by"], self.columns.stages["difficulty"][asked["by"]])

    def tally(self) -> dict[str, Any]:
        return verdicts.tally(self.verdict, self.columns)


@dataclass(frozen=True)
class Settled:
    """What only all shards together decide: who survives, which origins are over their share, what is kept, and at
    which difficulty each domain's bins begin."""

    decisions: NDArray[np.void]
    over: Mapping[str, int]
    clusters: split.Clusters
    bins: Mapping[str, Sequence[int]]


def judge_shard(task: Task) -> Task:
    """Lists the documents that pass, and of those that have company what survivors are chosen by."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    shard = Judged(writer.store, task)
    passed, grouped = company(shard)
    objects = {
        PASSED: writer.put(task["shard"], PASSED, table_bytes(passed)),
        GROUPED: writer.put(task["shard"], GROUPED, table_bytes(grouped)),
    }
    facts = {"counts": shard.tally(), "ranges": _ranges(shard)}
    return writer.commit_shard(task["shard"], objects, passed.num_rows, facts)


def company(shard: Judged) -> tuple[Any, Any]:
    """(the documents that pass, those of them that have duplicates), with what `settle` asks of each."""
    import pyarrow as pa

    passes = shard.verdict.passes
    held = shard.table.append_column("doc", pa.array(np.arange(shard.first, shard.first + len(passes))))
    held = held.append_column("cluster", shard.dedup.column("cluster"))
    held = held.append_column("left", pa.array(shard.columns.left))
    held = held.append_column("draw", pa.array(id_numbers(shard.table.column("doc_id"))))
    passed = held.select(["doc", "cluster", "source", "origin", "draw", "left"]).rename_columns({"left": "bytes"})
    if shard.config["difficulty"]:
        passed = passed.append_column("domain", held.column("domain"))
        passed = passed.append_column("level", pa.array(shard.level.astype(np.int16)))
    for name in ("rank", "url"):
        held = held.append_column(name, shard.dedup.column(name))
    grouped = held.select(list(survivors.COMPANY))
    many = shard.dedup.column("grouped").to_numpy()
    return passed.filter(pa.array(passes)), grouped.filter(pa.array(passes & many))


def settle(passed: Iterable[Any], grouped: Iterable[Any], dedup: Artifact, config: Mapping[str, Any]) -> Settled:
    """Decides among the documents of all shards, given the two tables that `company` made of each."""
    import pyarrow as pa

    rows = survivors.among(pa.concat_tables(grouped), dedup)
    held = pa.concat_tables(passed)
    gone = rows["doc"][rows["rule"] > 0]
    held = held.filter(pa.array(~np.isin(held.column("doc").to_numpy(), gone)))
    over: dict[str, int] = {}
    if shares := config["limits"]["max_share"]:
        origin, draws = Coded.of(held.column("origin")), held.column("draw").to_numpy()
        over = limits.thresholds(origin, held.column("bytes").to_numpy(), draws, shares)
        held = held.filter(pa.array(~limits.over(origin, draws, over)))
    clusters = split.clusters_of(held.select(["cluster", "source", "bytes"]))
    return Settled(rows, over, clusters, _bins(held, config["difficulty"]))


def has_cuts(parents: Iterable[Artifact]) -> bool:
    """Whether any of these artifacts cuts any document."""
    return any(CUTS in record["objects"] for artifact in parents for record in artifact.shards)


def _attributes(store: Store, record: Mapping[str, Any], stage: str, columns: Iterable[str]) -> Any:
    return shard_table(store, record, f"{stage}.parquet", sorted(columns))


def _columns(table: Any, stages: Mapping[str, Any], cuts: Any, min_score: float) -> Columns:
    import pyarrow.compute as pc

    language = stages["language"]
    declared = Coded.of(table.column("declared_language"))
    score = language.column("language_score").to_numpy()
    known, sure = verdicts.believed(Coded.of(language.column("language")), score, declared, min_score)
    documents = {name: Coded.of(table.column(name)) for name in RECORD}
    documents["year"] = Coded.of(pc.utf8_slice_codeunits(table.column("date"), 0, 4))
    numbers = {
        name: {column: held.column(column).to_numpy() for column in held.column_names if column != "language"}
        for name, held in stages.items()
    }
    size = table.column("bytes").to_numpy()
    left = size - cuts.bytes_of(len(size)) if cuts else size
    return Columns(documents, size, left, numbers, known, sure)


def _is_in(column: Any, values: Sequence[str]) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.is_in(column, value_set=pa.array(values, pa.string())).to_numpy(), np.bool_)


def _rules_of(dedup: Any) -> NDArray[np.int64]:
    """The place in survivors.RULES of the rule by which each document is a duplicate."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = pc.index_in(dedup.column("rule"), value_set=pa.array(survivors.RULES))
    return np.asarray(pc.fill_null(kind, 0).to_numpy(), np.int64)


def _filled(dedup: Any, name: str, nothing: float) -> NDArray[Any]:
    """A column that may be changed, `nothing` where it is null."""
    import pyarrow.compute as pc

    return np.array(pc.fill_null(dedup.column(name), nothing).to_numpy())


def _bins(kept: Any, difficulty: Mapping[str, Any] | None) -> dict[str, list[int]]:
    """Where each domain's difficulty bins begin among the documents that are kept; empty where none are asked for."""
    if not difficulty:
        return {}
    batches = kept.select(["domain", "level", "bytes"]).to_batches()
    tallies = (curriculum.tally(Coded.of(domain), level.to_numpy(), size.to_numpy()) for domain, level, size in batches)
    return curriculum.edges(tallies, difficulty["bins"])


def _ranges(shard: Judged) -> dict[str, list[float]]:
    """The smallest and the largest value of every column that a rule decides by."""
    found: dict[str, list[float]] = {}
    for rule in shard.rules.values():
        values = shard.columns.stages[rule.stage][rule.column].astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values):
            found[verdicts.label(rule)] = [float(values.min()), float(values.max())]
    return found
