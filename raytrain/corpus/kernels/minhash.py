"""Word n-gram shingles of texts, their MinHash signatures, and the true similarity of two sets of shingles.

For shingles a word is lower-cased (ASCII) and loses its ASCII punctuation; what is left empty is no word; in
scripts without spaces each character is a word. A text of fewer words than n has one shingle of all of them. The
invariant: signature and verification see the same shingles.

MinHash: Broder 1997; bands of rows: Leskovec et al., Mining of Massive Datasets, section 3.4. A permutation is
x -> a x + b mod 2^32 with an xor-shift behind it, on 32 bits of the shingle's 64-bit hash.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import CACHED, decode, is_ideograph, is_space, mix

SEED = 0x5261795472616971  # of the permutations; another seed is another version of the stage
_WORD_SEED = np.uint64(1469598103934665603)
_SHINGLE_SEED = np.uint64(0x2545F4914F6CDD1D)


def signatures(data: Bytes, offsets: Offsets, ngram: int, values: int) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """MinHash values [documents, values] and the number of shingles [documents], repeated ones counted."""
    out = np.empty((len(offsets) - 1, values), np.uint32)
    counts = np.empty(len(offsets) - 1, np.int32)
    factors, addends = permutations(values)
    _signatures(data, offsets, ngram, factors, addends, out, counts)
    return out, counts


def shingles(data: Bytes, offsets: Offsets, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The distinct shingles of each text as 64-bit hashes, sorted: text i has hashes[bounds[i]:bounds[i + 1]]."""
    hashes = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64)
    bounds = np.zeros(len(offsets), np.int64)
    _shingles(data, offsets, ngram, hashes, bounds)
    return hashes[: bounds[-1]].copy(), bounds


@cache
def permutations(values: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors and addends [values], from splitmix64 (Steele et al. 2014) so that no library version matters."""
    numbers: list[int] = []
    state = SEED
    for _ in range(2 * values):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        numbers.append((z ^ z >> 31) >> 32)
    held = np.array(numbers, np.uint32)
    return frozen(held[:values] | np.uint32(1)), frozen(held[values:].copy())


@njit(**CACHED)
def jaccard(a, b):  # type: ignore[no-untyped-def]
    """Shared over all, of two sorted arrays of distinct hashes; 0 if either is empty."""
    i, j, shared = 0, 0, 0
    while i < a.shape[0] and j < b.shape[0]:
        if a[i] == b[j]:
            shared += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    every = a.shape[0] + b.shape[0] - shared
    return shared / every if shared else 0.0


@njit(**CACHED)
def shingle_words(data, start, end, hashes):  # type: ignore[no-untyped-def]
    """Fills the hash of each word as shingles see it; returns how many."""
    n = 0
    length = 0
    state = _WORD_SEED
    i = start
    while i < end:
        c, width = decode(data, i)
        i += width
        space = is_space(c)
        alone = is_ideograph(c)
        if (space or alone) and length:
            hashes[n] = state
            n += 1
            length, state = 0, _WORD_SEED
        if alone:
            hashes[n] = mix(_WORD_SEED, np.uint64(c))
            n += 1
        elif not space:
            if 65 <= c <= 90:
                c += 32
            elif c < 0x80 and not (97 <= c <= 122 or 48 <= c <= 57):
                continue
            state = mix(state, np.uint64(c))
            length += 1
    if length:
        hashes[n] = state
        n += 1
    return n


@njit(**CACHED)
def _shingle(hashes, k, words):  # type: ignore[no-untyped-def]
    state = _SHINGLE_SEED
    for q in range(k, k + words):
        state = mix(state, hashes[q])
    return state


@njit(**CACHED)
def _longest(offsets):  # type: ignore[no-untyped-def]
    longest = np.int64(0)
    for d in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    return longest


@njit(**CACHED)
def _signatures(data, offsets, ngram, factors, addends, out, counts):  # type: ignore[no-untyped-def]
    words = np.empty(_longest(offsets) // 2 + 1, np.uint64)
    values = factors.shape[0]
    least = np.empty(values, np.uint32)
    for d in range(offsets.shape[0] - 1):
        n = shingle_words(data, offsets[d], offsets[d + 1], words)
        width = min(n, ngram)
        many = n - width + 1 if n else 0
        counts[d] = many
        least[:] = np.uint32(0xFFFFFFFF)
        for k in range(many):
            x = np.uint32(_shingle(words, k, width) >> np.uint64(32))
            for p in range(values):
                v = np.uint32(x * factors[p] + addends[p])
                v ^= v >> np.uint32(15)
                least[p] = min(least[p], v)
        out[d, :] = least


@njit(**CACHED)
def _shingles(data, offsets, ngram, hashes, bounds):  # type: ignore[no-untyped-def]
    words = np.empty(_longest(offsets) // 2 + 1, np.uint64)
    total = 0
    for d in range(offsets.shape[0] - 1):
        n = shingle_words(data, offsets[d], offsets[d + 1], words)
        width = min(n, ngram)
        many = n - width + 1 if n else 0
        own = np.empty(many, np.uint64)
        for k in range(many):
            own[k] = _shingle(words, k, width)
        own.sort()
        for k in range(many):
            if k == 0 or own[k] != own[k - 1]:
                hashes[total] = own[k]
                total += 1
        bounds[d + 1] = total
