"""Documents for people to look at: of what a rule rejects, and of what it only just keeps, a few with their numbers.

The invariant: the same corpus shows the same documents, and what was asked to be forgotten is never shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus import offence
from raytrain.corpus import verdict as verdicts
from raytrain.corpus.coded import id_numbers
from raytrain.corpus.judge import Judged
from raytrain.corpus.rules import Rule

PER_REASON = 3  # documents shown per shard and reason
CHARACTERS = 1000  # of text shown
LOOKED_AT = 50_000  # characters of text in which the offending spans are looked for
LEAD = 100  # characters shown before the first span, where it lies beyond what would be shown
BORDER = 0.1  # kept by less than this share of the threshold is borderline


def rejected(table: Any, shard: Judged) -> Any:
    """Per reason the documents whose text hashes lowest: a sample that is fair, and the same every time."""
    order = np.argsort(id_numbers(shard.table.column("doc_id")), kind="stable")
    verdict = shard.verdict
    if verdicts.FORGOTTEN in verdict.keys:
        order = order[~verdict.failed[verdict.keys.index(verdicts.FORGOTTEN)][order]]
    shown = sorted({int(i) for row in verdict.failed for i in order[row[order]][:PER_REASON]})
    return _sample(table, shard, shown, [shard.numbers(i) for i in shown])


def borderline(table: Any, shard: Judged) -> Any:
    """Per rule the kept documents by the smallest margin: |value - threshold| / |threshold|, at most BORDER."""
    import pyarrow as pa

    near: dict[int, list[tuple[float, Rule]]] = {}
    kept = np.flatnonzero(shard.verdict.keep)
    for rule in shard.rules.values():
        if rule.op in ("==", "!=") or not rule.threshold:
            continue
        margins = _margins(rule, shard, kept)
        for i in np.argsort(margins, kind="stable")[:PER_REASON]:
            if margins[i] <= BORDER:
                near.setdefault(int(kept[i]), []).append((float(margins[i]), rule))
    shown = sorted(near)
    names = ("column", "value", "op", "threshold")
    numbers = [
        [
            {"rule": rule.key, **dict(zip(names, verdicts.number(rule, shard.columns, document), strict=True))}
            for _, rule in sorted(near[document], key=lambda held: held[0])
        ]
        for document in shown
    ]
    least = [min(margin for margin, _ in near[document]) for document in shown]
    return _sample(table, shard, shown, numbers).append_column("margin", pa.array(least, pa.float64()))


def _margins(rule: Rule, shard: Judged, kept: NDArray[np.int64]) -> NDArray[np.float64]:
    values = shard.columns.stages[rule.stage][rule.column][kept].astype(np.float64)
    margins = np.abs(values - rule.threshold) / abs(rule.threshold)
    if rule.languages:
        margins[~shard.columns.language.where(lambda code: code in rule.languages)[kept]] = np.inf
    return np.asarray(margins, np.float64)


def _sample(table: Any, shard: Judged, shown: list[int], numbers: list[list[dict[str, Any]]]) -> Any:
    """The rows of the documents that are shown, each with the numbers that decided and where its text offends."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.array(shown, pa.int64())
    sample = table.select(["record_id", "doc_id", "source", "domain", "licence", "origin", "url", "bytes"]).take(rows)
    texts = pc.utf8_slice_codeunits(table.column("text").take(rows), 0, LOOKED_AT).to_pylist()
    cut = [_excerpt(text, _spans(text, held, shard)) for text, held in zip(texts, numbers, strict=True)]
    words = [(name, pa.string()) for name in ("rule", "column", "op")]
    number = pa.struct([*words, ("value", pa.float64()), ("threshold", pa.float64())])
    for name, column in (
        ("language", shard.columns.language.take(np.array(shown, np.int64))),
        ("reasons", pa.array([[one["rule"] for one in held] for held in numbers], pa.list_(pa.string()))),
        ("numbers", pa.array(numbers, pa.list_(number))),
        ("text", pa.array([text for text, _ in cut], pa.string())),
        ("spans", pa.array([spans for _, spans in cut], pa.list_(pa.list_(pa.int64())))),
    ):
        sample = sample.append_column(name, column)
    return sample


def _spans(text: str, numbers: list[dict[str, Any]], shard: Judged) -> list[tuple[int, int]]:
    """Where a text offends against the rules that `numbers` name, in characters: in order and without overlap."""
    rules = [shard.rules[one["rule"]] for one in numbers if one["rule"] in shard.rules]
    return offence.merged(sorted(span for rule in rules for span in offence.spans(rule, text)))


def _excerpt(text: str, spans: list[tuple[int, int]]) -> tuple[str, list[list[int]]]:
    """What is shown of a text, and its spans there: its beginning, or what surrounds the first span."""
    first = spans[0][0] if spans else 0
    start = max(0, first - LEAD) if first >= CHARACTERS else 0
    end = start + CHARACTERS
    inside = [[max(a, start) - start, min(b, end) - start] for a, b in spans if a < end and b > start]
    return text[start:end], inside
