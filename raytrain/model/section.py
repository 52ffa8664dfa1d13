"""The recipe's `model` section: one dial, `depth`, and the shape that follows from it.

Rules, each overridden by giving the field:
- width = 64 x depth, heads of 64 dimensions: the aspect ratio of GPT-3's smaller models (Brown et al. 2020,
  table 2.1: 12 layers of 768, 12 heads).
- key-value heads = heads / 2 where even (grouped-query attention, Ainslie et al. 2023), else heads.
- feed-forward width = 8/3 x width, rounded up to 64: SwiGLU with the parameters of a 4x MLP (Shazeer 2020, section 2).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raytrain.config import Section


class ModelSection(Section):
    """The decoder's shape. None means: by the rules above."""

    depth: int = Field(4, ge=1, le=256, description="layers; sets all that is not given")
    width: int | None = Field(None, ge=8, description="residual width")
    heads: int | None = Field(None, ge=1, description="query heads")
    kv_heads: int | None = Field(None, ge=1, description="key and value heads, a divisor of heads")
    ffn_width: int | None = Field(None, ge=8, description="hidden width of SwiGLU")
    context: int = Field(256, ge=8, le=1 << 20, description="T, tokens a sequence")
    rope_theta: float = Field(10_000.0, gt=0, description="base of the rotary angles (Su et al. 2021)")
    norm_eps: float = Field(1e-6, gt=0, description="added under the root of RMSNorm")
    qk_norm: bool = Field(True, description="RMSNorm on queries and keys per head (Dehghani et al. 2023; Qwen3)")
    tied: bool = Field(True, description="one matrix for embedding and head (Press and Wolf 2017)")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the embedding and both residual branches")
    init: Literal["small", "gpt2"] = Field("small", description="see raytrain.model.init")

    @model_validator(mode="after")
    def _consistent(self) -> ModelSection:
        shape = self.resolved()
        assert shape.width and shape.heads and shape.kv_heads
        if shape.width % shape.heads:
            raise ValueError(
                f"model.heads: {shape.heads} heads do not divide a width of {shape.width}; "
                f"take one of {_divisors(shape.width, 2)}"
            )
        if (shape.width // shape.heads) % 2:
            raise ValueError(f"model.heads: rotary positions need an even head size, not {shape.width // shape.heads}")
        if shape.heads % shape.kv_heads:
            raise ValueError(
                f"model.kv_heads: {shape.kv_heads} do not divide {shape.heads} heads; "
                f"take one of {_divisors(shape.heads, 1)}"
            )
        return self

    def resolved(self) -> ModelSection:
        """This section with every shape field filled in."""
        width = self.width or 64 * self.depth
        heads = self.heads or max(1, width // 64)
        kv_heads = self.kv_heads or (heads // 2 if heads % 2 == 0 else heads)
        ffn = self.ffn_width or -(-8 * width // 3 // 64) * 64
        return self.model_copy(update={"width": width, "heads": heads, "kv_heads": kv_heads, "ffn_width": ffn})

    @property
    def head_size(self) -> int:
        shape = self.resolved()
        assert shape.width and shape.heads
        return shape.width // shape.heads

    def parameters(self, vocab_size: int) -> int:
        """Exact number of parameters with this (padded) vocabulary."""
        return sum(self.parameter_counts(vocab_size).values())

    def parameter_counts(self, vocab_size: int) -> dict[str, int]:
        """Parameters by part: `embedding` (input, and head where untied), `matrices`, `norms`."""
        s = self.resolved()
        assert s.width and s.heads and s.kv_heads and s.ffn_width
        head = self.head_size
        layer = s.width * head * (2 * s.heads + 2 * s.kv_heads) + 3 * s.width * s.ffn_width
        norms = s.depth * (2 * s.width + (2 * head if s.qk_norm else 0)) + s.width
        return {
            "embedding": padded(vocab_size) * s.width * (1 if s.tied else 2),
            "matrices": s.depth * layer,
            "norms": norms,
        }

    def flops_per_token(self, vocab_size: int) -> float:
        """Training FLOPs a token, forward and backward, recomputation not counted.

        6 x the parameters that multiply + 12 x layers x width x context for attention (Kaplan et al. 2020, table 1;
        Chowdhery et al. 2022, appendix B: the causal half is not taken off, as is the custom for MFU).
        """
        s = self.resolved()
        assert s.width
        multiplied = self.parameter_counts(vocab_size)["matrices"] + padded(vocab_size) * s.width
        return 6.0 * multiplied + 12.0 * s.depth * s.width * s.context


def padded(vocab_size: int) -> int:
    """Vocabulary rows are padded to a multiple of 64, which matrix units like; the extra rows are never a target."""
    return -(-vocab_size // 64) * 64


def _divisors(n: int, step: int) -> str:
    return ", ".join(str(d) for d in range(1, n + 1) if n % d == 0 and (n // d) % step == 0)
