"""What step s does: a pure function of the step, the sections and the skipped ranges. No worker count enters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytrain.train.section import TrainSection

Range = tuple[int, int]
"""Planned sequences [first, last) that are left out of training."""


@dataclass(frozen=True)
class BatchPlan:
    """One optimizer step: planned sequence numbers int64 [microbatches, sequences a microbatch], learning rate."""

    step: int
    sequences: np.ndarray
    learning_rate: float

    def leaves_of(self, rank: int, world: int) -> range:
        """The microbatches of one of `world` workers: contiguous runs whose lengths differ by at most one."""
        return leaves_of(rank, world, len(self.sequences))


def leaves_of(rank: int, world: int, leaves: int) -> range:
    return range(leaves * rank // world, leaves * (rank + 1) // world)


def batch_plan(step: int, section: TrainSection, skips: Sequence[Range] = ()) -> BatchPlan:
    """The plan of step `step` (from 0) of a resolved section."""
    assert section.batch_sequences and section.microbatches
    first = step * section.batch_sequences
    numbers = skip_over(np.arange(first, first + section.batch_sequences, dtype=np.int64), skips)
    return BatchPlan(step, numbers.reshape(section.microbatches, -1), learning_rate(step, section))


def skip_over(numbers: np.ndarray, skips: Sequence[Range]) -> np.ndarray:
    """Maps the n-th sequence that is trained on to its planned number; `skips` are sorted and disjoint."""
    result = numbers.copy()
    for first, last in skips:
        result[result >= first] += last - first
    return result


def learning_rate(step: int, section: TrainSection) -> float:
    """The rate of a step. Warm-up is linear; `wsd` holds and then falls linearly (Hu et al. 2024, MiniCPM, section 4;
    linear rather than exponential: Hägele et al. 2024), `cosine` follows Loshchilov and Hutter 2017."""
    assert section.max_steps and section.learning_rate
    total, peak, floor = section.max_steps, section.learning_rate, section.final_learning_rate
    warmup = math.ceil(section.warmup_fraction * total)
    if step < warmup:
        return peak * (step + 1) / warmup
    if section.schedule == "cosine":
        share = (step - warmup) / max(1, total - warmup)
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * share)))
    decay = max(1, math.ceil(section.decay_fraction * total))
    left = min(1.0, (total - step) / decay) if section.decay_fraction else 1.0
    return peak * (floor + (1 - floor) * left)
