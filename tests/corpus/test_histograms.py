"""Histograms: every value in one bin, whatever the range."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from raytrain.corpus.histograms import BINS, all_edges, counts, drawn, edges
from raytrain.corpus.rules import Rule

NUMBERS = st.floats(0, 1e9, allow_nan=False)


@given(st.lists(NUMBERS, min_size=1, max_size=60))
def test_every_value_falls_into_one_bin(values: list[float]) -> None:
    bounds = edges(min(values), max(values))
    assert bounds == sorted(bounds)
    assert len(set(bounds)) == len(bounds) <= BINS + 1
    assert sum(counts(np.array([*values, np.nan]), bounds)) == len(values)


def test_small_ranges_are_linear_and_large_ones_grow() -> None:
    assert np.allclose(np.diff(edges(0, 1)), 1 / BINS)
    wide = np.array(edges(0, 1e6))
    assert wide[:2].tolist() == [0, 1]
    assert np.allclose(wide[3:] / wide[2:-1], wide[2] / wide[1])


def test_shards_share_their_edges_and_their_counts_add_up() -> None:
    bounds = all_edges([{"a": [0, 1]}, {"a": [0.5, 4], "stage.b": [1, 1]}])
    assert (bounds["a"][0], bounds["a"][-1]) == (0, 4)
    found = [{"a": counts(np.array(held), bounds["a"]), "stage.b": [0] * BINS} for held in ([0.0, 1.0], [0.5, 4.0])]
    rules = [Rule("s", "low", "a", ">=", 0.1), Rule("s", "high", "a", "<", 3), Rule("s", "none", "c", "<", 3)]
    whole = drawn(rules, bounds, found)
    assert sum(whole["a"]["documents"]) == 4
    assert [t["rule"] for t in whole["a"]["thresholds"]] == ["s.low", "s.high"]
