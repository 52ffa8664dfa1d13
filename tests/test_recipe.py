"""What sections of a recipe ask of one another, said before any work."""

from __future__ import annotations

from typing import Any

import pytest

from raytrain.config import validate
from raytrain.errors import UserError
from raytrain.recipe import Recipe

TWO = [{"until": 0.5, "bins": [3, 1]}, {"until": 1, "bins": [1, 1]}]


def recipe(**sections: Any) -> Recipe:
    document = {"name": "x", "sources": [{"name": "a", "uri": "a"}], **sections}
    return validate(Recipe, document, "r.yaml")


@pytest.mark.parametrize("corpus", [{}, {"difficulty": {"bins": 3}}])
def test_a_curriculum_weighs_the_bins_that_the_corpus_makes(corpus: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"weighs 2 bins.*set corpus\.difficulty\.bins=2") as error:
        recipe(train={"curriculum": TWO}, corpus=corpus)
    assert "train.curriculum" in str(error.value) and "\n" not in str(error.value)
    assert recipe(train={"curriculum": TWO}, corpus={"difficulty": {"bins": 2}}).train.curriculum


@pytest.mark.parametrize(
    "threshold", [float("nan"), float("inf"), {"threshold": float("nan"), "reason": "none at all"}]
)
def test_a_number_is_finite(threshold: Any) -> None:
    with pytest.raises(UserError, match=r"corpus\.overrides\.gopher\.min_words.*finite"):
        recipe(corpus={"overrides": {"gopher.min_words": threshold}})
    with pytest.raises(UserError, match=r"train\.learning_rate.*finite"):
        recipe(train={"learning_rate": float("inf")})


def test_the_bins_of_token_files_are_their_own() -> None:
    tokens = [{"name": "a", "uri": "a", "format": "megatron"}]
    assert recipe(sources=tokens, tokenizer={"file": "t.json"}, train={"curriculum": TWO}).sources_are_tokens
