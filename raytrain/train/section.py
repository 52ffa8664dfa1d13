"""The recipe's `train` section, and the rules by which the dial fills what it leaves out.

Rules, each overridden by giving the field. With N parameters, D tokens and C = 6 N D FLOPs of training:
- horizon: D = tokens_per_parameter x N (20: Hoffmann et al. 2022, section 3.4), unless max_steps is given.
- batch: 0.2920 C^0.3271 tokens, to the nearest power of two of sequences (DeepSeek LLM, Bi et al. 2024, section 3.1).
- learning rate: 0.3118 C^-0.1250 (the same). Muon's update is scaled to AdamW's size (Liu et al. 2025,
  "Muon is scalable", section 2.2), so that one rule serves both.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section
from raytrain.model.section import ModelSection

OPERATIONAL = ("workers", "checkpoint_every", "keep_checkpoints", "strict")
"""Fields that change how a run is carried out and not what comes out of it."""


class CurriculumStage(Section):
    """A part of the run, and how much of each difficulty bin it trains on."""

    until: float = Field(gt=0, le=1, description="share of the run's sequences at which it ends; the last one's is 1")
    bins: tuple[float, ...] = Field(
        min_length=1, description="a weight by bin, easiest first, beside the bin's own size: [1, 1] is no preference"
    )

    @field_validator("bins")
    @classmethod
    def _weights(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) < 0 or not sum(value):
            raise ValueError("weights must not be negative, and one must be positive")
        return value


class TrainSection(Section):
    """How the model is trained. None means: by the rules above."""

    workers: int | tuple[int, int] = Field(1, description="a number, or [min, max] to be elastic")
    threads: int = Field(1, ge=1, description="CPU threads a worker; part of the numerics")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps")
    tokens_per_parameter: float = Field(20.0, gt=0, description="horizon, when max_steps is not given")
    batch_sequences: int | None = Field(None, ge=1, description="sequences a step, a multiple of microbatches")
    microbatches: int | None = Field(None, ge=1, description="G, leaves of the gradient tree; a power of two")
    optimizer: Literal["muon", "adamw"] = Field(
        "muon", description="Muon for matrices with AdamW for the rest, or AdamW alone"
    )
    learning_rate: float | None = Field(None, gt=0, description="peak")
    weight_decay: float = Field(0.1, ge=0, description="decoupled; matrices only")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW's, of the gradient")
    beta2: float = Field(0.95, ge=0, lt=1, description="AdamW's, of its square")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon's")
    clip: float = Field(1.0, gt=0, description="global gradient norm")
    schedule: Literal["wsd", "cosine"] = Field("wsd", description="warm up, hold and fall, or a cosine")
    warmup_fraction: float = Field(0.02, ge=0, lt=1, description="of the steps")
    decay_fraction: float = Field(0.3, ge=0, le=1, description="of the steps, wsd only")
    final_learning_rate: float = Field(0.0, ge=0, le=1, description="as a share of the peak")
    precision: Literal["auto", "bf16", "fp32"] = Field("auto", description="auto: bf16 where the hardware has it")
    mixture: dict[str, float] | None = Field(None, description="weight by domain; by size when not given")
    curriculum: tuple[CurriculumStage, ...] = Field(
        (), description="stages of difficulty within each domain, by corpus.difficulty's bins; none: as it is"
    )
    validate_every: int | None = Field(None, ge=1, description="steps; a tenth of the run when not given")
    checkpoint_every: int | None = Field(
        None, ge=1, description="steps; a tenth of the run, at most 500, when not given"
    )
    keep_checkpoints: int = Field(3, ge=1, description="the newest so many; older ones are removed")
    strict: bool = Field(False, description="refuse to resume where the bits would change")

    @field_validator("workers")
    @classmethod
    def _workers(cls, value: int | tuple[int, int]) -> int | tuple[int, int]:
        low, high = (value, value) if isinstance(value, int) else value
        if low < 1 or high < low:
            raise ValueError("give a number from 1, or [min, max] with 1 <= min <= max")
        return value

    @field_validator("microbatches")
    @classmethod
    def _power_of_two(cls, value: int | None) -> int | None:
        if value is not None and value & (value - 1):
            below = 1 << (value.bit_length() - 1)
            raise ValueError(f"G must be a power of two (the leaves of a binary tree); take {below} or {2 * below}")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> TrainSection:
        g = self.microbatches
        if g is not None and self.workers_max > g:
            raise ValueError(
                f"train.workers: {self.workers_max} workers share {g} microbatches; set train.microbatches to "
                f"{1 << (self.workers_max - 1).bit_length()} or more"
            )
        if g is not None and self.batch_sequences is not None and self.batch_sequences % g:
            raise ValueError(
                f"train.batch_sequences: {self.batch_sequences} is not a multiple of train.microbatches = {g}"
            )
        if self.mixture is not None and (min(self.mixture.values(), default=0) < 0 or not sum(self.mixture.values())):
            raise ValueError("train.mixture: weights must not be negative, and one must be positive")
        ends = [stage.until for stage in self.curriculum]
        if ends and (ends != sorted(set(ends)) or ends[-1] != 1):
            raise ValueError(f"train.curriculum: stages end at rising shares, the last at 1, and not at {ends}")
        if len({len(stage.bins) for stage in self.curriculum}) > 1:
            raise ValueError("train.curriculum: every stage weighs the same bins; give each as many weights")
        return self

    @property
    def workers_min(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def workers_max(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    def identity(self) -> dict[str, Any]:
        """What of this section decides the trained model."""
        return self.model_dump(mode="json", exclude=set(OPERATIONAL))

    def resolved(self, model: ModelSection, vocab_size: int) -> TrainSection:
        """This section with every field filled in, for a model and a vocabulary."""
        parameters, context = model.parameters(vocab_size), model.context
        horizon = self.tokens_per_parameter * parameters
        if self.max_steps is not None:  # the batch rule needs a horizon and the horizon a batch: a fixed point
            horizon = self.max_steps * (self.batch_sequences or 32) * context
            for _ in range(8):
                horizon = self.max_steps * (self.batch_sequences or _batch_rule(parameters, horizon, context)) * context
        batch = self.batch_sequences or _batch_rule(parameters, horizon, context)
        leaves = self.microbatches or min(_DEFAULT_LEAVES, batch & -batch)
        if batch % leaves:
            batch = -(-batch // leaves) * leaves
        steps = self.max_steps or max(1, round(horizon / (batch * context)))
        compute = 6.0 * parameters * steps * batch * context
        tenth = max(1, steps // 10)
        filled = self.model_copy(
            update={
                "max_steps": steps,
                "batch_sequences": batch,
                "microbatches": leaves,
                "learning_rate": self.learning_rate or 0.3118 * compute**-0.1250,
                "validate_every": self.validate_every or tenth,
                "checkpoint_every": self.checkpoint_every or min(tenth, 500),
            }
        )
        return TrainSection.model_validate(filled.model_dump())


_DEFAULT_LEAVES = 16  # independent of the number of workers, so that the bits are too


def _batch_rule(parameters: int, tokens: float, context: int) -> int:
    compute = 6.0 * parameters * tokens
    sequences = 0.2920 * compute**0.3271 / context
    return 1 << max(3, round(math.log2(max(1.0, sequences))))
