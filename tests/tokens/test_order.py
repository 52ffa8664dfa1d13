from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.tokens.order import BLOCK, Order, Stage, block_shares, permute


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12).filter(lambda w: sum(w) > 0))
def test_shares_are_whole_sum_to_a_block_and_follow_the_weights(weights: list[float]) -> None:
    shares = block_shares(weights)
    assert sum(shares) == BLOCK
    for share, weight in zip(shares, weights, strict=True):
        assert abs(share - weight / sum(weights) * BLOCK) < 1


@given(st.integers(1, 5000), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size: int, key: int) -> None:
    values = np.arange(size, dtype=np.uint64)
    found = permute(values, size, np.full(size, key, np.uint64))
    assert sorted(found.tolist()) == list(range(size))


def orders() -> st.SearchStrategy[Order]:
    @st.composite
    def build(draw: st.DrawFn) -> Order:
        windows = draw(st.lists(st.integers(1, 700), min_size=1, max_size=4))
        starts = [0, *sorted(draw(st.sets(st.integers(1, 4), max_size=2)))]
        stages = []
        for start in starts:
            weights = draw(st.lists(st.integers(0, 9), min_size=len(windows), max_size=len(windows)).filter(any))
            stages.append(Stage(start, block_shares(weights)))
        return Order(draw(st.integers(0, 2**62)), tuple(windows), tuple(stages))

    return build()


@given(orders())
def test_within_a_pass_every_window_appears_at_most_once_and_passes_follow_each_other(order: Order) -> None:
    at = order.locate(np.arange(6 * BLOCK))
    for group, size in enumerate(order.windows):
        mine = at.group == group
        seen = Counter(zip(at.passes[mine].tolist(), at.window[mine].tolist(), strict=True))
        assert not seen or max(seen.values()) == 1
        full, rest = divmod(int(mine.sum()), size)
        per_pass = Counter(at.passes[mine].tolist())
        assert all(per_pass[p] == size for p in range(full))
        assert per_pass.get(full, 0) == rest


@given(orders(), st.integers(0, 6 * BLOCK))
def test_counts_are_those_of_the_sequences_one_by_one(order: Order, sequences: int) -> None:
    groups = order.locate(np.arange(sequences)).group
    assert order.counts(sequences).tolist() == np.bincount(groups, minlength=len(order.windows)).tolist()


@given(orders(), st.lists(st.integers(0, 8 * BLOCK), min_size=1, max_size=50))
def test_the_answer_does_not_depend_on_what_is_asked_with_it(order: Order, numbers: list[int]) -> None:
    together = order.locate(np.array(numbers))
    for i, number in enumerate(numbers):
        alone = order.locate(np.array([number]))
        for field in ("group", "window", "passes"):
            assert getattr(together, field)[i] == getattr(alone, field)[0]


def test_every_block_holds_the_mixture_exactly() -> None:
    order = Order(1, (100, 50), (Stage(0, block_shares([3, 1])), Stage(2, block_shares([1, 3]))))
    groups = order.locate(np.arange(4 * BLOCK)).group.reshape(4, BLOCK)
    assert (groups == 0).sum(1).tolist() == [768, 768, 256, 256]


def test_a_later_stage_leaves_the_past_as_it_was() -> None:
    one = Order(1, (100, 50), (Stage(0, block_shares([3, 1])),))
    two = Order(1, (100, 50), (Stage(0, block_shares([3, 1])), Stage(2, block_shares([1, 3]))))
    a, b = one.locate(np.arange(2 * BLOCK)), two.locate(np.arange(2 * BLOCK))
    assert np.array_equal(a.window, b.window)
    assert np.array_equal(a.group, b.group)


def test_another_seed_is_another_order() -> None:
    a, b = (Order(s, (1000,), (Stage(0, (BLOCK,)),)).locate(np.arange(1000)).window for s in (1, 2))
    assert not np.array_equal(a, b)
    assert np.corrcoef(a, np.arange(1000))[0, 1] < 0.15


@pytest.mark.parametrize(
    ("windows", "stages"),
    [((0,), (Stage(0, (BLOCK,)),)), ((5,), (Stage(1, (BLOCK,)),)), ((5,), (Stage(0, (7,)),)), ((5,), ())],
)
def test_an_impossible_order_is_refused(windows: tuple[int, ...], stages: tuple[Stage, ...]) -> None:
    with pytest.raises(ValueError):
        Order(0, windows, stages)
