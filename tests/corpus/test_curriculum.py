"""Difficulty bins: equal shares within each domain, whatever the shards."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.coded import Coded
from raytrain.corpus.curriculum import LEVELS, bins, edges, levels, tally


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, LEVELS - 1), st.integers(1, 1000)), min_size=1),
    st.integers(2, 6),
    st.integers(1, 5),
)
def test_bins_do_not_depend_on_how_documents_are_cut_into_shards(
    documents: list[tuple[str, int, int]], many: int, shards: int
) -> None:
    def one(part: list[tuple[str, int, int]]) -> dict[str, dict[str, int]]:
        level, size = (np.array([row[i] for row in part], np.int64) for i in (1, 2))
        found: dict[str, dict[str, int]] = json.loads(
            json.dumps(tally(Coded.of([row[0] for row in part]), level, size))
        )
        return found

    whole = edges([one(documents)], many)
    assert whole == edges([one(documents[i::shards]) for i in range(shards) if documents[i::shards]], many)
    assert all(cut == sorted(cut) and len(cut) == many - 1 for cut in whole.values())
    found = bins(Coded.of([row[0] for row in documents]), np.array([row[1] for row in documents]), whole)
    assert found.min() >= 0 and found.max() < many
    for domain, level, _ in documents:  # harder never stands in an easier bin
        easier = [b for (d, k, _), b in zip(documents, found, strict=True) if d == domain and k <= level]
        assert max(easier) == found[next(i for i, r in enumerate(documents) if r[0] == domain and r[1] == level)]


def test_bins_hold_equal_bytes_within_each_domain() -> None:
    draw = np.random.default_rng(0)
    level = draw.integers(0, LEVELS, 4000)
    level[2000:] //= 4  # the second domain is easier as a whole, and is cut by its own quantiles
    size = draw.integers(100, 10_000, 4000)
    domains = Coded.of(["hard"] * 2000 + ["easy"] * 2000)
    found = bins(domains, level, edges([tally(domains, level, size)], 4))
    for part in (slice(0, 2000), slice(2000, 4000)):
        shares = np.bincount(found[part], size[part]) / size[part].sum()
        assert shares == pytest.approx([0.25] * 4, abs=0.02)


def test_scales_reach_from_nothing_to_what_a_corpus_may_hold() -> None:
    assert levels("words", np.array([0, 1, 2**23])).tolist() == [0, 42, 981]
    assert levels("rarity", np.array([0.0, 10.0, 40.0])).tolist() == [0, 320, LEVELS - 1]
    assert levels("compression", np.array([0.0, 0.64, 9.0])).tolist() == [0, 512, LEVELS - 1]
