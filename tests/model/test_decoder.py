from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from raytrain.model.decoder import IGNORE, Cache, Decoder
from raytrain.model.generate import generate, next_tokens, pick
from raytrain.model.init import init_weights
from raytrain.model.section import ModelSection, padded


def model(vocab: int = 300, **fields: Any) -> Decoder:
    section = ModelSection.model_validate({"depth": 2, "width": 64, "heads": 4, "kv_heads": 2, "context": 32} | fields)
    made = Decoder(section, vocab)
    init_weights(made, 5)
    return made


def test_the_future_does_not_change_the_past() -> None:
    m = model().eval()
    a = torch.randint(0, 300, (1, 20))
    b = a.clone()
    b[0, 12:] = torch.randint(0, 300, (8,))
    assert torch.allclose(m.logits(a)[0, :12], m.logits(b)[0, :12], atol=1e-6)


def test_a_cache_gives_the_logits_of_the_whole() -> None:
    m = model().eval()
    tokens = torch.randint(0, 300, (1, 20))
    cache = Cache()
    cuts = [0, 9, 10, 11, 15, 20]
    parts = [m.logits(tokens[:, a:b], cache) for a, b in itertools.pairwise(cuts)]
    assert torch.allclose(torch.cat(parts, 1), m.logits(tokens), atol=1e-5)
    with pytest.raises(ValueError, match="context"):
        m.logits(torch.zeros(1, 40, dtype=torch.long))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("qk_norm", [True, False])
def test_the_count_of_parameters_is_exact(tied: bool, qk_norm: bool) -> None:
    m = model(tied=tied, qk_norm=qk_norm)
    assert sum(p.numel() for p in m.parameters()) == m.shape.parameters(300)


def test_the_flop_count_is_six_a_weight_and_attention() -> None:
    m = model()
    linear = sum(x.weight.numel() for x in m.modules() if isinstance(x, torch.nn.Linear)) + m.embedding.weight.numel()
    assert m.shape.flops_per_token(300) == 6 * linear + 12 * 2 * 64 * 32


def test_targets_to_ignore_do_not_count() -> None:
    m = model()
    x, y = torch.randint(0, 300, (2, 8)), torch.randint(0, 300, (2, 8))
    half = y.clone()
    half[1] = IGNORE
    assert m(x, half).item() == pytest.approx(m(x[:1], y[:1]).item(), rel=1e-5)
    assert m(x, half, reduction="none")[1].abs().sum() == 0


def test_initial_loss_is_near_uniform_and_init_is_reproducible() -> None:
    import math

    for scheme in ("small", "gpt2"):
        m = model(init=scheme)
        loss = m(torch.randint(0, 300, (4, 32)), torch.randint(0, 300, (4, 32))).item() / 128
        assert loss == pytest.approx(math.log(padded(300)), rel=0.1)
        again = model(init=scheme)
        assert all(torch.equal(a, b) for a, b in zip(m.parameters(), again.parameters(), strict=True))


def test_the_dial_sets_the_shape_and_each_field_can_be_given() -> None:
    shape = ModelSection(depth=6).resolved()
    assert (shape.width, shape.heads, shape.kv_heads, shape.ffn_width) == (384, 6, 3, 1024)
    assert ModelSection(depth=6, width=96, heads=2).resolved().kv_heads == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 100, "heads": 3}, "model.heads: 3 heads do not divide a width of 100"),
        ({"width": 64, "heads": 4, "kv_heads": 3}, "kv_heads: 3 do not divide 4"),
        ({"width": 30, "heads": 10}, "even head size"),
        ({"depth": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_shapes_are_refused(fields: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelSection.model_validate(fields)


def test_generation_is_repeatable_and_runs_past_the_context() -> None:
    m = model().eval()
    one, two = (generate(m, [1, 2, 3], max_tokens=80, seed=4) for _ in range(2))
    assert one == two
    assert len(one) == 80
    assert generate(m, [1, 2, 3], max_tokens=80, seed=5) != one
    greedy = generate(m, [1, 2, 3], max_tokens=1, temperature=0)
    assert greedy[0] == next_tokens(m, [1, 2, 3])[0][0]


def test_sampling_keeps_to_its_nucleus() -> None:
    logits = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))
    draw = torch.Generator().manual_seed(0)
    assert {pick(logits, 1.0, 0, 0.7, draw) for _ in range(200)} == {0, 1}
    assert {pick(logits, 1.0, 3, 1.0, draw) for _ in range(300)} == {0, 1, 2}
