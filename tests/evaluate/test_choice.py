"""The continuation task: which questions are asked, and what a model must know to answer them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from raytrain.evaluate.choice import CONTEXT, CONTINUATION, OPTIONS, answer, ask, choice, option_scores, wilson
from raytrain.model.decoder import Decoder
from raytrain.model.init import init_weights
from raytrain.model.section import ModelSection
from raytrain.tokens.loader import ValidationDocument

VOCAB, END = 320, 0
GROUPS = ("sea", "law", "code")


def documents(count: int, length: int = 200, seed: int = 0, groups: int = 3) -> list[ValidationDocument]:
    draw = np.random.default_rng(seed)
    made = []
    for k in range(count):
        tokens = np.append(draw.integers(1, VOCAB, length - 1), END).astype(np.uint32)
        made.append(ValidationDocument(tokens, 4 * length, k % groups))
    return made


@pytest.fixture(scope="module")
def model() -> Decoder:
    decoder = Decoder(ModelSection(depth=2, width=64, heads=2, context=128), VOCAB)
    init_weights(decoder, 3)
    return decoder


class Echo(Decoder):
    """Knows that a document repeats one token: it predicts the token that it has just read."""

    def hidden(self, tokens: Tensor, cache: object = None) -> Tensor:
        return torch.nn.functional.one_hot(tokens, self.embedding.weight.shape[1]).float()


def echo(sign: float) -> Echo:
    decoder = Echo(ModelSection(depth=1, width=VOCAB, heads=1, context=128), VOCAB)
    with torch.no_grad():
        decoder.embedding.weight.copy_(20 * sign * torch.eye(VOCAB))
    return decoder


def monotone(count: int) -> list[ValidationDocument]:
    return [ValidationDocument(np.append(np.full(150, 1 + k), END).astype(np.uint32), 600, k % 2) for k in range(count)]


def test_a_model_that_knows_the_text_answers_everything() -> None:
    result = choice(echo(1), monotone(24), END, GROUPS[:2], 20, 0)
    assert (result["asked"], result["correct"], result["accuracy"]) == (20, 20, 1.0)


def test_a_model_that_believes_the_contrary_answers_nothing() -> None:
    assert choice(echo(-1), monotone(24), END, GROUPS[:2], 20, 0)["correct"] == 0


def test_a_tie_counts_as_wrong() -> None:
    assert choice(echo(0), monotone(24), END, GROUPS[:2], 20, 0)["correct"] == 0


def test_an_untrained_model_is_near_chance(model: Decoder) -> None:
    result = choice(model, documents(200), END, GROUPS, 200, 0)
    low, high = result["interval"]
    assert result["chance"] == 0.25
    assert low < 0.25 < high
    assert low < result["accuracy"] < high


def test_the_same_seed_asks_the_same_and_another_seed_another(model: Decoder) -> None:
    held_out = documents(60)
    first, again, other = (ask(held_out, 128, 30, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(a.options, b.options) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.options, b.options) for a, b in zip(first, other, strict=True))
    assert choice(model, held_out, END, GROUPS, 30, 5) == choice(model, held_out, END, GROUPS, 30, 5)


def test_fewer_questions_are_the_first_of_more() -> None:
    few, many = ask(documents(60), 128, 10, 1), ask(documents(60), 128, 40, 1)
    assert all(np.array_equal(a.options, b.options) for a, b in zip(few, many, strict=False))


def test_options_stand_at_the_same_place_of_other_documents_of_the_domain() -> None:
    held_out = documents(40)
    for question in ask(held_out, 256, 40, 0):
        assert question.context.shape == (CONTEXT,)
        assert question.options.shape == (OPTIONS, CONTINUATION)
        same = [d for d in held_out if d.domain == question.domain]
        tails = [d.tokens[CONTEXT : CONTEXT + CONTINUATION].tolist() for d in same]
        assert all(option in tails for option in question.options.tolist())
        own = next(d for d in same if d.tokens[:CONTEXT].tolist() == question.context.tolist())
        assert own.tokens[CONTEXT : CONTEXT + CONTINUATION].tolist() == question.options[0].tolist()
        assert len({tuple(o) for o in question.options.tolist()}) == OPTIONS


def test_a_document_that_continues_alike_is_no_wrong_option() -> None:
    alike = [ValidationDocument(d.tokens.copy(), d.bytes, 0) for d in documents(8)]
    for document in alike[:5]:
        document.tokens[CONTEXT : CONTEXT + CONTINUATION] = 7
    for question in ask(alike, 128, 8, 0):
        assert not any(np.array_equal(question.options[0], o) for o in question.options[1:])


def test_short_documents_and_small_domains_ask_nothing(model: Decoder) -> None:
    assert ask(documents(30, length=CONTEXT + CONTINUATION), 128, 10, 0) == []
    assert ask(documents(3, groups=1), 128, 10, 0) == []
    result = choice(model, documents(3, groups=1), END, GROUPS, 10, 0)
    assert result["asked"] == result["correct"] == 0
    assert result["accuracy"] is None
    assert result["interval"] == [0.0, 1.0]
    assert result["by_domain"] == {}


def test_end_of_text_is_never_an_option() -> None:
    for question in ask(documents(30, length=CONTEXT + CONTINUATION + 1), 128, 30, 0):
        assert END not in question.options


def test_a_short_context_is_asked_shorter_questions() -> None:
    small = Decoder(ModelSection(depth=1, width=32, heads=1, context=16), VOCAB)
    init_weights(small, 0)
    question = ask(documents(12), 16, 1, 0)[0]
    assert (len(question.context), question.options.shape[1]) == (12, 4)
    assert choice(small, documents(12), END, GROUPS, 12, 0)["asked"] == 12


def test_an_answer_does_not_depend_on_the_questions_beside_it(model: Decoder) -> None:
    asked = ask(documents(50), 128, 30, 0)
    assert answer(model, asked, END) == [answer(model, [q], END)[0] for q in asked]


def test_scores_are_the_decoders_own_loss(model: Decoder) -> None:
    question = ask(documents(20), 128, 1, 0)[0]
    scores = option_scores(model, [question], END)[0]
    for option, score in zip(question.options, scores.tolist(), strict=True):
        ids = torch.from_numpy(np.concatenate(([END], question.context, option)))[None]
        loss = model(ids[:, :-1], ids[:, 1:], reduction="none")[0, -CONTINUATION:].sum()
        assert score == pytest.approx(-loss.detach().item(), rel=1e-5)


def test_domains_add_up_and_the_mode_is_left_as_it_was(model: Decoder) -> None:
    model.train()
    result = choice(model, documents(60), END, GROUPS, 40, 0)
    assert model.training
    for key in ("asked", "correct"):
        assert sum(d[key] for d in result["by_domain"].values()) == result[key]


def test_wilson_agrees_with_the_published_example() -> None:
    # Newcombe (1998), table I, method 3, without continuity correction: 81 of 263.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilson_holds_the_proportion_and_stays_within_0_and_1(asked: int, share: float) -> None:
    correct = math.floor(share * asked)
    low, high = wilson(correct, asked)
    assert 0 <= low <= correct / asked + 1e-12
    assert correct / asked - 1e-12 <= high <= 1
