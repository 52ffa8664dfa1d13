"""What a grid cannot tell is said, by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.scaling.fit import Points, fit
from raytrain.scaling.identify import Verdict, identify
from raytrain.scaling.law import NAMES
from raytrain.scaling.study import study

from .test_fit import TRUTH, gemstones, simulated


def judged(points: Points) -> Verdict:
    return identify(points, fit(points, starts=300, draws=100))


def at(n: np.ndarray, d: np.ndarray) -> Points:
    off = np.exp(0.003 * np.random.default_rng(0).standard_normal(len(n)))
    return Points(n, d, TRUTH.loss(n, d) * off)


def codes(verdict: Verdict) -> set[str]:
    return {finding.code for finding in verdict.findings}


def test_one_size_tells_nothing_of_size() -> None:
    verdict = judged(at(np.full(12, 1e8), np.geomspace(1e9, 1e12, 12)))
    assert "one_size" in codes(verdict)
    assert {"A", "E", "alpha"} <= set(verdict.open)


def test_one_token_count_tells_nothing_of_tokens() -> None:
    verdict = judged(at(np.geomspace(1e7, 1e10, 12), np.full(12, 1e10)))
    assert "one_token_count" in codes(verdict)
    assert {"B", "E", "beta"} <= set(verdict.open)


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_a_constant_ratio_of_tokens_to_size_tells_neither(power: float) -> None:
    n = np.geomspace(1e7, 1e10, 12)
    verdict = judged(at(n, 20 * 1e8 * (n / 1e8) ** power))
    assert "constant_ratio" in codes(verdict)
    assert {"A", "B", "alpha", "beta"} <= set(verdict.open)
    assert "does not identify A, B" in verdict.sentence or "no parameter" in verdict.sentence


def test_a_wide_clean_grid_identifies_the_exponents() -> None:
    verdict = judged(simulated(0.001, 1, 8, 8))
    assert {"alpha", "beta", "E"} <= set(verdict.identified)
    assert not codes(verdict) & {"one_size", "one_token_count", "constant_ratio", "few_points", "few_starts_agree"}


def test_real_runs_are_judged_by_the_same_rules() -> None:
    verdict = judged(gemstones())
    assert set(verdict.identified) | {p for f in verdict.findings for p in f.parameters} == {
        "A",
        "B",
        "E",
        "alpha",
        "beta",
    }


def test_every_open_parameter_has_a_reason() -> None:
    for points in (simulated(0.05, 2, 3, 2), simulated(0.02, 3, 2, 2), simulated(0.01, 4, 4, 3)):
        verdict = judged(points)
        assert set(verdict.open) == {p for f in verdict.findings for p in f.parameters}
        assert all(name in verdict.sentence for name in verdict.open)


def test_a_narrow_grid_and_a_best_size_outside_it_are_said() -> None:
    n, d = (a.ravel() for a in np.meshgrid(np.array([1e7, 2e7, 3e7]), np.array([1e11, 2e11, 4e11])))
    found = codes(judged(at(n, d)))
    assert {"narrow_sizes", "narrow_tokens", "optimum_outside_parameters", "optimum_outside_tokens"} <= found
    verdict = identify(at(n, d), fit(at(n, d), starts=300, draws=100), [0.1, 0.5])
    assert "mostly_embedding" in codes(verdict)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.lists(st.tuples(st.floats(1e3, 1e12), st.floats(1e3, 1e14), st.floats(0.1, 15)), min_size=3, max_size=7),
    same=st.sampled_from(["none", "size", "tokens", "loss"]),
)
def test_any_measurements_give_a_study_that_is_json(rows: list[tuple[float, float, float]], same: str) -> None:
    first = rows[0]
    keep = {"none": (0, 0, 0), "size": (1, 0, 0), "tokens": (0, 1, 0), "loss": (0, 0, 1)}[same]
    table = [tuple(a if fixed else b for a, b, fixed in zip(first, row, keep, strict=True)) for row in rows]
    points = [
        {"run": str(k), "parameters": n, "non_embedding_parameters": n / 2, "tokens": d, "loss": loss}
        for k, (n, d, loss) in enumerate(table)
    ]
    body, _ = study(points, seed=0, draws=20)
    json.dumps(body, allow_nan=False)
    assert set(body["identified"]) | set(body["not_identified"]) == set(NAMES)


def test_a_floor_on_the_edge_leaves_every_exponent_open() -> None:
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(1e6, 1e8, 4), np.geomspace(1e7, 1e9, 4)))
    verdict = judged(Points(n, d, 20 / n**0.1 + 30 / d**0.12))  # no irreducible loss at all
    assert "at_bound_E" in codes(verdict)
    assert verdict.identified == () and "no parameter" in verdict.sentence
