"""A modern decoder: RMSNorm before each branch, rotary positions, grouped-query attention, SwiGLU.

It is the architecture that Hugging Face calls Qwen3 (with qk_norm) or Llama (without), so that an export is a
renaming. Parallelism, precision and optimisation are applied from outside. The invariant: the module computes
the same function of (weights, tokens) in training, evaluation and generation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raytrain.model.section import ModelSection, padded

IGNORE = -100  # a target that does not count


class Attention(nn.Module):
    """Causal self-attention with grouped key-value heads. [batch, seq, width] -> the same."""

    def __init__(self, shape: ModelSection) -> None:
        super().__init__()
        assert shape.width and shape.heads and shape.kv_heads
        self.heads, self.kv_heads, self.size = shape.heads, shape.kv_heads, shape.head_size
        self.q = nn.Linear(shape.width, self.heads * self.size, bias=False)
        self.k = nn.Linear(shape.width, self.kv_heads * self.size, bias=False)
        self.v = nn.Linear(shape.width, self.kv_heads * self.size, bias=False)
        self.o = nn.Linear(self.heads * self.size, shape.width, bias=False)
        self.q_norm = nn.RMSNorm(self.size, shape.norm_eps) if shape.qk_norm else None
        self.k_norm = nn.RMSNorm(self.size, shape.norm_eps) if shape.qk_norm else None

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        b, t, _ = x.shape
        q = self.q(x).view(b, t, self.heads, self.size)
        k = self.k(x).view(b, t, self.kv_heads, self.size)
        v = self.v(x).view(b, t, self.kv_heads, self.size).transpose(1, 2)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q.float()), self.k_norm(k.float())  # in the norms' own precision
        q, k = rotate(q.transpose(1, 2), cos, sin).type_as(v), rotate(k.transpose(1, 2), cos, sin).type_as(v)
        if cache is not None:
            k, v = cache.extend(self, k, v)
        if self.heads != self.kv_heads:
            k = k.repeat_interleave(self.heads // self.kv_heads, 1)
            v = v.repeat_interleave(self.heads // self.kv_heads, 1)
        past = k.shape[2] - t
        mask = torch.ones(t, past + t, dtype=torch.bool, device=q.device).tril(past) if past and t > 1 else None
        y = F.scaled_dot_product_attention(q, k, v, mask, is_causal=t > 1 and not past)
        return self.o(y.transpose(1, 2).reshape(b, t, -1))  # type: ignore[no-any-return]


class Cache:
    """Keys and values of past positions, for generation one token at a time after one prompt."""

    def __init__(self) -> None:
        self._kv: dict[int, tuple[Tensor, Tensor]] = {}
        self.length = 0

    def extend(self, layer: nn.Module, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Appends [batch, heads, seq, size] keys and values of a layer and returns all of them."""
        if id(layer) in self._kv:
            past_k, past_v = self._kv[id(layer)]
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        self._kv[id(layer)] = (k, v)
        return k, v


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020)."""

    def __init__(self, shape: ModelSection) -> None:
        super().__init__()
        assert shape.width and shape.ffn_width
        self.gate = nn.Linear(shape.width, shape.ffn_width, bias=False)
        self.up = nn.Linear(shape.width, shape.ffn_width, bias=False)
        self.down = nn.Linear(shape.ffn_width, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One layer: attention, then feed-forward, each on a normed copy and added back."""

    def __init__(self, shape: ModelSection) -> None:
        super().__init__()
        assert shape.width
        self.attention_norm = nn.RMSNorm(shape.width, shape.norm_eps)
        self.attention = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.width, shape.norm_eps)
        self.ffn = FeedForward(shape)
        self.dropout = shape.dropout

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        x = x + self._drop(self.attention(self.attention_norm(x), cos, sin, cache))
        return x + self._drop(self.ffn(self.ffn_norm(x)))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.dropout and self.training else x


class Decoder(nn.Module):
    """The whole model. `vocab_size` is padded to a multiple of 64 inside."""

    def __init__(self, section: ModelSection, vocab_size: int) -> None:
        super().__init__()
        shape = section.resolved()
        assert shape.width
        self.shape, self.vocab_size = shape, vocab_size
        self.embedding = nn.Embedding(padded(vocab_size), shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.RMSNorm(shape.width, shape.norm_eps)
        self.head = None if shape.tied else nn.Linear(shape.width, padded(vocab_size), bias=False)
        cos, sin = rotary_tables(shape.context, shape.head_size, shape.rope_theta)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    @property
    def output_weight(self) -> Tensor:
        return self.embedding.weight if self.head is None else self.head.weight

    def hidden(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Final normed states. tokens int64 [batch, seq] -> [batch, seq, width]. ValueError beyond the context."""
        start = cache.length if cache is not None else 0
        stop = start + tokens.shape[1]
        if stop > self.cos.shape[0]:
            raise ValueError(f"{stop} tokens exceed the context of {self.cos.shape[0]}")
        cos, sin = self.cos[start:stop], self.sin[start:stop]
        x = self.embedding(tokens)
        if self.shape.dropout and self.training:
            x = F.dropout(x, self.shape.dropout)
        for block in self.blocks:
            x = block(x, cos, sin, cache)
        if cache is not None:
            cache.length = stop
        return self.norm(x)  # type: ignore[no-any-return]

    def forward(self, tokens: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
        """Cross-entropy in nats, fp32. tokens and targets int64 [batch, seq]; IGNORE targets do not count.

        `reduction` is "sum" (a scalar) or "none" ([batch, seq]).
        """
        states = self.hidden(tokens).flatten(0, 1)
        logits = F.linear(states, self.output_weight).float()
        loss = F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE, reduction=reduction)
        return loss if reduction == "sum" else loss.view_as(targets)

    def logits(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """tokens [batch, seq] -> fp32 [batch, seq, vocab_size], padding rows cut off."""
        return F.linear(self.hidden(tokens, cache), self.output_weight).float()[..., : self.vocab_size]


def rotary_tables(context: int, head_size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [context, head_size] of the rotary angles (Su et al. 2021, section 3.2.2), halves repeated."""
    inverse = 1.0 / (theta ** (torch.arange(0, head_size, 2, dtype=torch.float32) / head_size))
    angles = torch.outer(torch.arange(context, dtype=torch.float32), inverse)
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turns pairs (i, i + size/2) of the last dimension. x [batch, heads, seq, size], tables [seq, size]."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin
