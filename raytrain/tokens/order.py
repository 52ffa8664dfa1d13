"""The order in which training meets sequences: a pure function of the sequence's number.

A sequence is a window of T tokens inside a group (a domain and a difficulty bin). The mixture is laid out in
blocks of 1,024 sequences: each group gets its share of every block by the largest remainder, a keyed permutation
spreads the shares over the block, and a second one, keyed by group and pass, walks the group's windows. Nothing
is stored and nothing is drawn: any worker, on any day, computes the same answer in O(1). The invariant: within a
pass of a group each of its windows appears exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 1024
_ROUNDS = 4  # Luby and Rackoff 1988: four rounds make a Feistel network a strong pseudo-random permutation


@dataclass(frozen=True)
class Stage:
    """From block `start_block` on, group k gets `shares[k]` of every block's 1,024 sequences."""

    start_block: int
    shares: tuple[int, ...]


@dataclass(frozen=True)
class Located:
    """Where sequences stand: arrays [n] of group, window in the group, and pass over the group."""

    group: np.ndarray
    window: np.ndarray
    passes: np.ndarray


def block_shares(weights: Sequence[float], block: int = BLOCK) -> tuple[int, ...]:
    """Whole shares of a block in proportion to weights, by the largest remainder; ties go to the earlier group."""
    total = float(sum(weights))
    if total <= 0 or min(weights) < 0:
        raise ValueError("weights must not be negative, and one must be positive")
    exact = [w / total * block for w in weights]
    shares = [int(e) for e in exact]
    order = sorted(range(len(exact)), key=lambda k: (shares[k] - exact[k], k))
    for k in order[: block - sum(shares)]:
        shares[k] += 1
    return tuple(shares)


@dataclass(frozen=True)
class Order:
    """The order of a corpus: `windows[k]` is the number of windows of group k, stages by rising start block."""

    seed: int
    windows: tuple[int, ...]
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages or self.stages[0].start_block != 0:
            raise ValueError("the first stage starts at block 0")
        starts = [s.start_block for s in self.stages]
        if starts != sorted(set(starts)):
            raise ValueError("stages must start at rising blocks")
        for stage in self.stages:
            if len(stage.shares) != len(self.windows) or sum(stage.shares) != BLOCK:
                raise ValueError(f"a stage's shares must sum to {BLOCK} over {len(self.windows)} groups")
            if any(share and not n for share, n in zip(stage.shares, self.windows, strict=True)):
                raise ValueError("a group without a window cannot have a share")

    def counts(self, sequences: int) -> np.ndarray:
        """How many of the first so many sequences each group gives: int64 [groups]."""
        blocks, counts = sequences // BLOCK, np.zeros(len(self.windows), np.int64)
        for stage, after in zip(self.stages, [*self.stages[1:], None], strict=True):
            end = blocks if after is None else min(blocks, after.start_block)
            counts += max(0, end - stage.start_block) * np.array(stage.shares, np.int64)
        rest = self.locate(np.arange(blocks * BLOCK, sequences))
        return counts + np.bincount(rest.group, minlength=len(self.windows))

    def locate(self, sequences: np.ndarray) -> Located:
        """Group, window and pass of the sequences of these numbers (int64 [n], from 0)."""
        sequences = np.asarray(sequences, np.int64)
        block, position = sequences // BLOCK, sequences % BLOCK
        slot = permute(position.astype(np.uint64), BLOCK, _key(self.seed, 1, block)).astype(np.int64)
        stage_of = np.searchsorted([s.start_block for s in self.stages], block, side="right") - 1
        group = np.empty_like(sequences)
        count = np.empty_like(sequences)  # sequences of this group before this one
        before = np.zeros(len(self.windows), np.int64)
        for index, stage in enumerate(self.stages):
            shares = np.array(stage.shares, np.int64)
            mine = stage_of == index
            edges = np.cumsum(shares)
            group[mine] = np.searchsorted(edges, slot[mine], side="right")
            g = group[mine]
            count[mine] = before[g] + (block[mine] - stage.start_block) * shares[g] + slot[mine] - (edges - shares)[g]
            if index + 1 < len(self.stages):
                before = before + (self.stages[index + 1].start_block - stage.start_block) * shares
        size = np.array(self.windows, np.int64)[group]
        passes, rank = count // np.maximum(size, 1), count % np.maximum(size, 1)
        window = np.empty_like(sequences)
        for g in np.unique(group):
            mine = group == g
            keys = _key(self.seed, 2 + int(g), passes[mine])
            window[mine] = permute(rank[mine].astype(np.uint64), self.windows[g], keys).astype(np.int64)
        return Located(group, window, passes)


def permute(values: np.ndarray, size: int, keys: np.ndarray) -> np.ndarray:
    """A keyed permutation of range(size), elementwise: values and keys are uint64 [n].

    A Feistel network over the next even power of two; values that land outside walk on along their cycle until
    they are back inside (Black and Rogaway 2002, cycle walking).
    """
    if size <= 1:
        return np.zeros_like(values)
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    result = values.copy()
    outside = np.ones(len(values), bool)
    while outside.any():
        left, right, key = result[outside] >> np.uint64(half), result[outside] & mask, keys[outside]
        for turn in range(_ROUNDS):
            left, right = right, left ^ (_mix(right ^ _mix(key + np.uint64(turn))) & mask)
        result[outside] = (left << np.uint64(half)) | right
        outside[outside] = result[outside] >= size
    return result


def _key(seed: int, stream: int, index: np.ndarray) -> np.ndarray:
    base = _mix(np.array([(seed & 0xFFFFFFFFFFFFFFFF)], np.uint64) ^ _mix(np.array([stream], np.uint64)))
    return _mix(base + index.astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed: np.ndarray = x ^ (x >> np.uint64(31))
        return mixed
