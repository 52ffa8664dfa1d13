"""Shares by origin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.coded import Coded
from raytrain.corpus.limits import allowances, over, thresholds

ORIGINS = ["human", "machine", "unknown"]


def test_an_origin_within_its_share_keeps_everything() -> None:
    assert allowances({"human": 95, "machine": 5}, {"machine": 0.1}) == {}


def test_the_share_is_of_what_is_left_and_not_of_what_there_was() -> None:
    assert allowances({"human": 90, "machine": 90}, {"machine": 0.1}) == {"machine": 10}


def test_a_cut_that_puts_another_origin_over_its_share_cuts_that_too() -> None:
    """Of 100 human, 100 machine and 20 unknown bytes, unknown holds a tenth only as long as machine holds its 100."""
    held = {"human": 100, "machine": 100, "unknown": 20}
    assert allowances(held, {"unknown": 0.1}) == {}
    assert allowances(held, {"machine": 0.1, "unknown": 0.1}) == {"machine": 12, "unknown": 12}


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(ORIGINS), st.integers(1, 1000)), max_size=80),
    st.dictionaries(st.sampled_from(ORIGINS), st.sampled_from([0.0, 0.1, 0.25, 0.5]), max_size=2),
    st.randoms(),
)
def test_no_origin_holds_more_than_its_share_and_order_does_not_matter(
    documents: list[tuple[str, int]], shares: dict[str, float], draw: object
) -> None:
    rng = np.random.default_rng(len(documents))
    draws = rng.integers(0, 1 << 63, len(documents)).astype(np.uint64)
    origin, size = Coded.of([o for o, _ in documents]), np.array([s for _, s in documents], np.int64)
    found = thresholds(origin, size, draws, shares)
    left = size * ~over(origin, draws, found)
    for name, share in shares.items():
        mine = np.array([o == name for o, _ in documents], np.bool_)
        assert left[mine].sum() <= share * left.sum() + 1e-6
    untouched = np.array([o not in shares for o, _ in documents], np.bool_)
    assert (left[untouched] == size[untouched]).all()
    mixed = rng.permutation(len(documents))
    again = Coded.of([documents[i][0] for i in mixed])
    assert thresholds(again, size[mixed], draws[mixed], shares) == found


def test_an_allowance_is_used_up_but_for_less_than_a_document() -> None:
    origin = Coded.of(["human"] * 90 + ["machine"] * 90)
    size, draws = np.full(180, 10), np.arange(180).astype(np.uint64)
    left = size * ~over(origin, draws, thresholds(origin, size, draws, {"machine": 0.25}))
    assert left[90:].sum() == pytest.approx(0.25 * left.sum(), abs=10)
