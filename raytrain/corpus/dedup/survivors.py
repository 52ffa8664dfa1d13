"""Decisions as rows that a shard can take its part of, and the choice of survivors among documents that pass.

Dedup looks at all documents, select keeps only those that its rules pass: a good text must not go for the sake of
a copy that is itself rejected. The invariant: select's choice uses dedup's verified pairs and no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup.clusters import Decision, Member, Near, decide
from raytrain.corpus.kernels import NEAR
from raytrain.store import Artifact

PAIRS = "pairs.parquet"
RULES = ("", "exact", "near")
DECISION = np.dtype(
    [("doc", "<i8"), ("of", "<i8"), ("rule", "<i8"), ("jaccard", "<f8"), ("high", "<u8"), ("low", "<u8")]
)


def among(
    passing: Mapping[int, Member], pairs: Iterable[tuple[str, str, float]], threshold: float
) -> dict[int, Decision]:
    """Decisions for the documents that pass, by number, given accepted pairs of document ids."""
    copies: dict[str, list[int]] = defaultdict(list)
    for doc in sorted(passing):
        copies[passing[doc].doc_id].append(doc)
    exact = [(docs[0], other) for docs in copies.values() for other in docs[1:]]
    near = [Near(copies[a][0], copies[b][0], NEAR, similar) for a, b, similar in pairs if a in copies and b in copies]
    return decide(exact, near, passing, threshold)


def accepted_pairs(dedup: Artifact) -> list[tuple[str, str, float]]:
    """All pairs of document ids that dedup accepted as near-duplicates, with their similarity."""
    held: list[tuple[str, str, float]] = []
    for record in dedup.shards:
        if PAIRS in record["objects"]:
            table = shard_table(dedup.store, record, PAIRS, ["a_doc_id", "b_doc_id", "jaccard", "accepted"])
            rows = table.filter(table.column("accepted")).to_pydict()
            held += zip(rows["a_doc_id"], rows["b_doc_id"], rows["jaccard"], strict=True)
    return held


def decision_rows(decisions: Mapping[int, Decision]) -> NDArray[np.void]:
    """Decisions sorted by document."""
    rows = np.zeros(len(decisions), DECISION)
    for row, (doc, decision) in zip(rows, sorted(decisions.items()), strict=True):
        row["doc"] = doc
        row["of"] = -1 if decision.duplicate_of is None else decision.duplicate_of
        row["rule"] = RULES.index(decision.rule or "")
        row["jaccard"] = decision.jaccard or 0.0
        row["high"], row["low"] = halves(decision.cluster)
    return rows


def columns(decided: NDArray[np.void], first: int, count: int) -> tuple[list[Any], list[Any], list[Any]]:
    """(`duplicate_of`: the document that stays, null if this one does; `rule`; `jaccard`) for a shard's documents."""
    of: list[int | None] = [None] * count
    rule: list[str | None] = [None] * count
    jaccard: list[float | None] = [None] * count
    for doc, target, kind, similarity, *_ in decided.tolist():
        if kind:
            of[doc - first], rule[doc - first], jaccard[doc - first] = target, RULES[kind], similarity
    return of, rule, jaccard


def halves(doc_id: str) -> Sequence[int]:
    """A document id's 128 bits as two numbers."""
    return int(doc_id[:16], 16), int(doc_id[16:], 16)
