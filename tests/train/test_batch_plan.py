from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.model.section import ModelSection
from raytrain.train.batch_plan import batch_plan, learning_rate, leaves_of, skip_over
from raytrain.train.section import TrainSection


def section(**fields: object) -> TrainSection:
    given: dict[str, object] = {"max_steps": 100, "batch_sequences": 8, "microbatches": 4, "learning_rate": 1.0}
    return TrainSection.model_validate(given | fields)


def test_every_sequence_is_planned_once_and_in_order() -> None:
    numbers = np.concatenate([batch_plan(s, section()).sequences.ravel() for s in range(100)])
    assert numbers.tolist() == list(range(800))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 40)), max_size=4))
def test_skipped_ranges_are_never_trained_on_and_nothing_else_is_lost(raw: list[tuple[int, int]]) -> None:
    skips, end = [], 0
    for start, length in sorted(raw):
        start = max(start, end)
        end = start + length
        skips.append((start, end))
    numbers = np.concatenate([batch_plan(s, section(), skips).sequences.ravel() for s in range(60)]).tolist()
    forbidden = {n for a, b in skips for n in range(a, b)}
    expected = [n for n in range(2000) if n not in forbidden][: len(numbers)]
    assert numbers == expected
    assert skip_over(np.array([5]), ()).tolist() == [5]


@given(st.integers(1, 16), st.sampled_from([16, 32, 64]))
def test_leaves_are_shared_out_evenly(world: int, leaves: int) -> None:
    parts = [leaves_of(r, world, leaves) for r in range(world)]
    assert [x for p in parts for x in p] == list(range(leaves))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_wsd_warms_up_holds_and_falls_to_the_floor() -> None:
    s = section(warmup_fraction=0.1, decay_fraction=0.2, final_learning_rate=0.1)
    rates = [learning_rate(step, s) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:80] == pytest.approx([1.0] * 71)
    assert all(a > b for a, b in itertools.pairwise(rates[80:]))
    assert rates[99] == pytest.approx(0.1 + 0.9 * 0.05)


def test_cosine_is_half_way_in_the_middle() -> None:
    s = section(schedule="cosine", warmup_fraction=0.0)
    assert learning_rate(0, s) == pytest.approx(1.0)
    assert learning_rate(50, s) == pytest.approx(0.5)


def test_the_dial_follows_its_rules() -> None:
    model = ModelSection(depth=4)
    filled = TrainSection().resolved(model, 4096)
    assert filled.max_steps and filled.batch_sequences and filled.microbatches
    tokens = filled.max_steps * filled.batch_sequences * model.context
    assert tokens == pytest.approx(20 * model.parameters(4096), rel=0.01)
    compute = 6 * model.parameters(4096) * tokens
    assert filled.learning_rate == pytest.approx(0.3118 * compute**-0.125, rel=1e-3)
    assert 0.7 < filled.batch_sequences * model.context / (0.2920 * compute**0.3271) < 1.42
    assert TrainSection(workers=3).resolved(model, 4096).microbatches == filled.microbatches


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"microbatches": 6}, "power of two"),
        ({"microbatches": 4, "workers": 5}, "microbatches"),
        ({"microbatches": 8, "batch_sequences": 12}, "multiple"),
        ({"workers": [3, 2]}, "min"),
        ({"workers": 0}, "number from 1"),
        ({"mixture": {"a": 0.0}}, "positive"),
    ],
)
def test_impossible_combinations_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainSection.model_validate(fields)
