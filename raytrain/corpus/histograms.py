"""Histograms of the numbers that rules decide by, with equal edges in every shard so that counts can be added.

Pure. The edges follow from the smallest and largest value of the whole corpus: linear where the range is small,
by equal ratios where it spans orders of magnitude. The invariant: every finite value falls into exactly one bin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.rules import Rule
from raytrain.corpus.verdict import label

BINS = 40
LINEAR = 100.0  # beyond this range of values bins grow


def edges(low: float, high: float) -> list[float]:
    """Ascending edges of at most BINS bins from `low` to `high`; numbers below 1 share the first of growing bins."""
    if high - low <= LINEAR or low < 0:
        return [float(edge) for edge in np.linspace(low, high if high > low else low + 1, BINS + 1)]
    grown = np.geomspace(max(low, 1.0), high, BINS + 1 - (low < 1))
    return [low] * (low < 1) + [low if low >= 1 else 1.0, *(float(edge) for edge in grown[1:-1]), high]


def all_edges(ranges: Iterable[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """Edges by column, given the ranges that each shard found."""
    whole: dict[str, tuple[float, float]] = {}
    for one in ranges:
        for name, (low, high) in one.items():
            known = whole.get(name, (low, high))
            whole[name] = (min(known[0], low), max(known[1], high))
    return {name: edges(*span) for name, span in sorted(whole.items())}


def counts(values: NDArray[Any], bounds: Sequence[float]) -> list[int]:
    """How many finite values fall between each two edges, the last one counted in."""
    finite = values[np.isfinite(values)]
    return [int(n) for n in np.histogram(finite, bounds)[0]]


def drawn(rules: Iterable[Rule], bounds: Mapping[str, list[float]], found: Iterable[Mapping[str, Any]]) -> Any:
    """Per column its edges, the documents in each bin over all shards, and the thresholds that rules set there."""
    held = list(found)
    thresholds: dict[str, list[dict[str, Any]]] = {name: [] for name in bounds}
    for rule in rules:
        if label(rule) in thresholds:
            thresholds[label(rule)].append({"rule": rule.key, "op": rule.op, "threshold": rule.threshold})
    return {
        name: {
            "edges": own,
            "documents": np.sum([one[name] for one in held], axis=0, dtype=np.int64).tolist(),
            "thresholds": thresholds[name],
        }
        for name, own in bounds.items()
    }
