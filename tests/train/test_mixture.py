"""Which groups a run trains on, and when."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.errors import UserError
from raytrain.tokens.order import BLOCK, Order, block_shares
from raytrain.train.mixture import stages
from raytrain.train.section import TrainSection

GROUPS = [("law", 0), ("law", 1), ("sea", 0), ("sea", 1)]


def section(blocks: int = 10, **options: Any) -> TrainSection:
    return TrainSection(max_steps=blocks * BLOCK // 16, batch_sequences=16, microbatches=16, **options)


def curriculum(*parts: tuple[float, list[float]]) -> list[dict[str, Any]]:
    return [{"until": until, "bins": bins} for until, bins in parts]


def test_groups_count_by_their_size_when_nothing_is_asked() -> None:
    (stage,) = stages(GROUPS, [100, 300, 200, 400], section())
    assert stage.shares == block_shares([100, 300, 200, 400])


def test_a_mixture_weighs_domains_and_leaves_bins_to_their_size() -> None:
    (stage,) = stages(GROUPS, [100, 300, 200, 200], section(mixture={"law": 3, "sea": 1}))
    assert stage.shares == block_shares([3 / 4, 9 / 4, 1 / 2, 1 / 2])


@given(
    st.lists(st.integers(0, 500), min_size=4, max_size=4).filter(lambda w: w[0] + w[1] and w[2] + w[3]),
    st.lists(st.floats(0, 10), min_size=2, max_size=2).filter(lambda w: sum(w) > 0.1),
)
def test_a_curriculum_never_changes_a_domains_share(windows: list[int], weights: list[float]) -> None:
    plain = stages(GROUPS, windows, section())[0].shares
    for stage in stages(GROUPS, windows, section(curriculum=curriculum((0.5, weights), (1, [1, 1])))):
        for domain in (slice(0, 2), slice(2, 4)):
            assert abs(sum(stage.shares[domain]) - sum(plain[domain])) <= 2  # whole sequences of 1,024


def test_stages_begin_where_the_run_has_come_so_far_and_weigh_bins_by_size() -> None:
    asked = curriculum((0.3, [1, 0]), (0.8, [1, 1]), (1, [0, 1]))
    first, second, third = stages(GROUPS, [100, 300, 200, 200], section(curriculum=asked))
    assert [first.start_block, second.start_block, third.start_block] == [0, 3, 8]
    assert first.shares == (BLOCK // 2, 0, BLOCK // 2, 0)
    assert second.shares == block_shares([100, 300, 200, 200])
    assert third.shares == (0, BLOCK // 2, 0, BLOCK // 2)


def test_easy_first_is_what_the_order_gives() -> None:
    windows = [100, 300, 200, 200]
    order = Order(
        1, tuple(windows), stages(GROUPS, windows, section(curriculum=curriculum((0.5, [1, 0]), (1, [0, 1]))))
    )
    group = order.locate(np.arange(10 * BLOCK)).group
    bins = np.array([held for _, held in GROUPS])[group]
    assert not bins[: 5 * BLOCK].any() and bins[5 * BLOCK :].all()


def test_a_domain_without_the_bins_that_are_asked_for_is_read_as_it_is() -> None:
    (stage,) = stages(GROUPS, [0, 100, 50, 50], section(curriculum=curriculum((1, [1, 0]))))
    assert stage.shares == (0, BLOCK // 2, BLOCK // 2, 0)


@pytest.mark.parametrize(
    ("groups", "options", "says"),
    [
        (GROUPS, {"mixture": {"moon": 1}}, "no domain 'moon'"),
        (GROUPS, {"curriculum": curriculum((1, [1, 1, 1]))}, "weights for 3 bins; the corpus has 2"),
        ([("law", 0)], {"curriculum": curriculum((1, [1, 1]))}, "set corpus.difficulty"),
        (GROUPS, {"curriculum": curriculum((0.01, [1, 0]), (1, [1, 1]))}, "stage 1 lasts less than 1024 sequences"),
        (GROUPS, {"curriculum": curriculum((0.99, [1, 0]), (1, [1, 1]))}, "stage 2 lasts less than 1024 sequences"),
    ],
)
def test_what_the_corpus_cannot_serve_is_refused(groups: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        stages(groups, [10] * len(groups), section(**options))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (curriculum((0.5, [1, 1])), "the last at 1"),
        (curriculum((0.5, [1, 1]), (0.5, [1, 1]), (1, [1, 1])), "rising"),
        (curriculum((0.5, [1, 1]), (1, [1])), "same bins"),
        (curriculum((1, [0, 0])), "one must be positive"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(asked: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        section(curriculum=asked)
