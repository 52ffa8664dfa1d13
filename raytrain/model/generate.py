"""Continuing a prompt: sampling with temperature, top-k and top-p over a key-value cache."""

from __future__ import annotations

import torch
from torch import Tensor

from raytrain.model.decoder import Cache, Decoder


@torch.inference_mode()
def generate(
    model: Decoder,
    prompt: list[int],
    *,
    max_tokens: int,
    end_id: int | None = None,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[int]:
    """Up to `max_tokens` ids that continue `prompt` (not empty); stops at `end_id`, which is not returned.

    Temperature 0 takes the likeliest token. When the context is full, the older half is dropped and the cache made
    anew. The same seed gives the same text on the same device.
    """
    if not prompt:
        raise ValueError("the prompt holds no token")
    context = model.cos.shape[0]
    generator = torch.Generator().manual_seed(seed)
    device = model.embedding.weight.device
    tokens = list(prompt[-(context - 1) :])
    cache, pending = Cache(), list(tokens)
    produced: list[int] = []
    while len(produced) < max_tokens:
        if cache.length + len(pending) > context:
            pending = tokens[-(context // 2) :]
            cache = Cache()
        logits = model.logits(torch.tensor([pending], device=device), cache)[0, -1].cpu()
        token = pick(logits, temperature, top_k, top_p, generator)
        if token == end_id:
            break
        produced.append(token)
        tokens.append(token)
        pending = [token]
    return produced


def pick(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator) -> int:
    """One id from fp32 logits [vocab]: top-k, then nucleus (Holtzman et al. 2020), then a draw."""
    if temperature <= 0:
        return int(logits.argmax())
    scores = logits / temperature
    if top_k:
        floor = scores.topk(min(top_k, scores.numel())).values[-1]
        scores = scores.masked_fill(scores < floor, float("-inf"))
    if top_p < 1:
        ranked, index = scores.sort(descending=True)
        before = ranked.softmax(-1).cumsum(-1) - ranked.softmax(-1)
        scores = scores.scatter(0, index, ranked.masked_fill(before >= top_p, float("-inf")))
    return int(torch.multinomial(scores.softmax(-1), 1, generator=generator))


@torch.inference_mode()
def next_tokens(model: Decoder, prompt: list[int], count: int = 5) -> list[tuple[int, float]]:
    """The `count` likeliest next ids with their probabilities, likeliest first."""
    device = model.embedding.weight.device
    logits = model.logits(torch.tensor([prompt[-model.cos.shape[0] :]], device=device))[0, -1].cpu()
    top = logits.softmax(-1).topk(count)
    return [(int(i), float(p)) for i, p in zip(top.indices, top.values, strict=True)]
