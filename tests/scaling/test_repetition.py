"""The worth of repeated text against the paper's own statements."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.scaling.repetition import LAW, TOKENS_FADE, Repeated, called_for, effective


def test_the_law_is_the_papers() -> None:
    # Equation 17: L = 521 / N^0.35 + 1488 / D^0.35 + 1.87, with 0.051 parameters a token.
    assert (round(float(LAW.A)), round(float(LAW.B)), round(float(LAW.E), 2)) == (521, 1488, 1.87)
    assert called_for(LAW, 1e9) / 1e9 == pytest.approx(0.051, abs=0.0005)
    tokens, flops = 1e10, 6 * called_for(LAW, 1e10) * 1e10
    assert [float(x) for x in LAW.optimum(flops)] == pytest.approx([called_for(LAW, tokens), tokens])


def test_what_repetitions_are_worth() -> None:
    assert effective(1.0, 1.0, TOKENS_FADE) == 1
    # Section 6: up to four passes are almost as good as new text; section 3.1: after R* repetitions 1 - 1/e is left
    # of each on average, and no number of them is worth more than 1 + R* times the text.
    assert effective(1.0, 4.0, TOKENS_FADE) == pytest.approx(3.73, abs=0.01)
    assert effective(1.0, 1 + TOKENS_FADE, TOKENS_FADE) == pytest.approx(1 + TOKENS_FADE * (1 - 1 / math.e))
    assert effective(1.0, 1e9, TOKENS_FADE) == pytest.approx(1 + TOKENS_FADE)


@given(st.lists(st.tuples(st.floats(1e6, 1e12), st.floats(0, 1e13)), min_size=1, max_size=4), st.floats(1e6, 1e11))
def test_repetition_never_helps_and_reading_once_costs_nothing(domains: list[tuple[float, float]], n: float) -> None:
    there, seen = ([row[i] for row in domains] for i in (0, 1))
    if sum(seen) < 1:
        return
    held = Repeated.of(there, seen)
    expected, fresh = held.loss(n)
    assert expected >= fresh * (1 - 1e-12)
    if all(s <= t for t, s in domains):
        assert expected == fresh
    assert all(u - 1e-6 <= e <= s * (1 + 1e-12) for u, e, s in zip(held.unique, held.effective, held.seen, strict=True))


def test_one_domain_read_often_costs_more_than_all_read_evenly() -> None:
    uneven = Repeated.of([1e9, 1e9], [15e9, 1e9]).loss(1e8)[0]
    even = Repeated.of([1e9, 1e9], [8e9, 8e9]).loss(1e8)[0]
    assert uneven > even
