"""What follows from a law follows from its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raytrain.scaling.law import Law

laws = st.builds(
    Law,
    A=st.floats(10, 1e4),
    B=st.floats(10, 1e4),
    E=st.floats(0.5, 3),
    alpha=st.floats(0.1, 0.8),
    beta=st.floats(0.1, 0.8),
)


@settings(deadline=None)
@given(law=laws, budget=st.floats(1e12, 1e25), times=st.floats(1.02, 50))
def test_no_other_split_of_a_budget_loses_less(law: Law, budget: float, times: float) -> None:
    parameters, tokens = law.optimum(budget)
    assume(parameters > 1.001 and tokens > 1.001)
    assert 6 * parameters * tokens == pytest.approx(budget, rel=1e-9)
    best = law.loss(parameters, tokens)
    assert best <= law.loss(parameters * times, tokens / times) + 1e-12
    assert best <= law.loss(parameters / times, tokens * times) + 1e-12


@settings(deadline=None)
@given(law=laws)
def test_the_best_size_grows_with_the_exponent(law: Law) -> None:
    (small, large), tokens = law.optimum(np.array([1e18, 1e20]))
    assume(small > 1.001 and tokens.min() > 1.001)
    assert np.log(large / small) == pytest.approx(float(law.exponent) * np.log(100))


def test_a_law_of_arrays_is_many_laws() -> None:
    both = Law(*(np.array([x, y]) for x, y in ((400, 480), (410, 2100), (1.7, 1.8), (0.34, 0.35), (0.28, 0.37))))
    one = Law(480, 2100, 1.8, 0.35, 0.37)
    assert both.loss(1e9, 2e10)[1] == one.loss(1e9, 2e10)
    assert both.optimum(1e21)[0][1] == pytest.approx(one.optimum(1e21)[0])
