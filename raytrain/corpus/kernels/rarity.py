"""How rare the words of a text are, by the counts of a sample: a count-min sketch and the mean surprise of a word.

Cormode and Muthukrishnan 2005, "An Improved Data Stream Summary": two rows of counters, the smaller answers, so that a
count is never too small and seldom too big. The invariant: memory is the sketch and nothing a document.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets
from raytrain.corpus.kernels.characters import CACHED, classes
from raytrain.corpus.kernels.ngrams import power_of, room_for, run_hash, split_places

BITS = 20  # of a row of the sketch: a vocabulary of a million words seldom collides in both rows
Sketch = NDArray[np.uint32]


def empty() -> Sketch:
    """A sketch [2, 2^BITS] of nothing, 8 MB."""
    return np.zeros((2, 1 << BITS), np.uint32)


def count_words(data: Bytes, offsets: Offsets, sketch: Sketch) -> None:
    """Adds every word of the texts to a sketch."""
    _count(data, offsets, classes(), sketch)


def rarity(data: Bytes, offsets: Offsets, sketch: Sketch) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Words of each text, and their mean surprise in bits: -log2 of (count + 1) / (all + 1); 0 for no words."""
    words = np.empty(len(offsets) - 1, np.int64)
    bits = np.empty(len(offsets) - 1, np.float64)
    _rarity(data, offsets, classes(), sketch, math.log2(int(sketch[0].sum(dtype=np.uint64)) + 1), words, bits)
    return words, bits


@njit(**CACHED)
def _cells(state, k):  # type: ignore[no-untyped-def]
    """Where word k is counted in each row."""
    key = run_hash(state, k, 1, power_of(1))
    return key >> np.uint64(64 - BITS), key & np.uint64((1 << BITS) - 1)


@njit(**CACHED)
def _count(data, offsets, kinds, sketch):  # type: ignore[no-untyped-def]
    room = room_for(offsets)
    state, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    for d in range(offsets.shape[0] - 1):
        n = split_places(data, offsets[d], offsets[d + 1], kinds, state, begins, ends)
        for k in range(n):
            a, b = _cells(state, k)
            sketch[0, a] += np.uint32(1)
            sketch[1, b] += np.uint32(1)


@njit(**CACHED)
def _rarity(data, offsets, kinds, sketch, whole, words, bits):  # type: ignore[no-untyped-def]
    room = room_for(offsets)
    state, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    for d in range(offsets.shape[0] - 1):
        n = split_places(data, offsets[d], offsets[d + 1], kinds, state, begins, ends)
        total = 0.0
        for k in range(n):
            a, b = _cells(state, k)
            total += whole - math.log2(min(sketch[0, a], sketch[1, b]) + 1.0)
        words[d] = n
        bits[d] = total / max(n, 1)
