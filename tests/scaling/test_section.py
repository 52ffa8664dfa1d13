"""The grid is what the section says, and every trial is a whole training of its own."""

from __future__ import annotations

import pytest

from raytrain.config import validate
from raytrain.errors import UserError
from raytrain.model.section import ModelSection
from raytrain.scaling.section import LEAST_STEPS, SweepSection, grid
from raytrain.train.section import TrainSection

VOCABULARY = 4096
MODEL, TRAIN = ModelSection(depth=4), TrainSection(max_steps=240, batch_sequences=16, learning_rate=0.5, workers=2)


def test_four_sizes_and_three_token_counts_span_a_decade_of_each() -> None:
    cells = grid(SweepSection(), MODEL, TRAIN, VOCABULARY)
    sizes = [cell.model.parameters(VOCABULARY) for cell in cells]
    assert len(cells) == 12 and len(set(sizes)) == 4
    assert max(sizes) / min(sizes) > 10
    tokens = [cell.tokens for cell in cells]
    assert max(tokens) / min(tokens) > 9
    ratios = [d / n for d, n in zip(tokens, sizes, strict=True)]
    assert max(ratios) / min(ratios) > 100
    assert max(tokens) < 240 * 16 * MODEL.context


def test_a_trial_has_a_rate_and_a_batch_of_its_own_and_is_only_scored_at_its_end() -> None:
    cells = grid(SweepSection(), MODEL, TRAIN, VOCABULARY)
    rates = [cell.train.learning_rate for cell in cells]
    assert 0.5 not in rates and len(set(rates)) == len(rates)
    for cell in cells:
        assert cell.train.max_steps and cell.train.validate_every == cell.train.max_steps
        assert cell.train.max_steps >= LEAST_STEPS * 0.99 or cell.train.batch_sequences == 1
        assert cell.train.workers == 1
        wanted = cell.train.tokens_per_parameter * cell.model.parameters(VOCABULARY)
        assert cell.tokens == pytest.approx(wanted, rel=0.02)


def test_the_recipe_s_own_size_keeps_its_shape_and_others_its_proportions() -> None:
    model = ModelSection(depth=4, width=96, heads=3, context=64, tied=False)
    cells = grid(SweepSection(depths=(2, 4), tokens=(10_000,)), model, TRAIN, VOCABULARY)
    half, own = (cell.model for cell in cells)
    assert own == model
    assert (half.depth, half.width, half.context, half.tied) == (2, 64, 64, False)


def test_counts_that_round_to_the_same_steps_are_one_trial() -> None:
    cells = grid(SweepSection(depths=(1,), tokens=(65_536, 65_537)), MODEL, TRAIN, VOCABULARY)
    assert [cell.name for cell in cells] == ["d1-t65536"]


@pytest.mark.parametrize("bad", [{"depths": [2, 2]}, {"tokens": []}, {"tokens": [0]}, {"depth": [1]}])
def test_a_grid_that_is_none_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"distinct whole numbers|did you mean 'depths'"):
        validate(SweepSection, bad, "r.yaml")
