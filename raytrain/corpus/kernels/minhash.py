"""Shingles of texts (word or character n-grams), their MinHash signatures, and how much two sets of them share.

For shingles a word is lower-cased (ASCII) and loses what is neither letter, number nor mark; what is left empty is
no word; in scripts without spaces each character is a word. Characters are counted with ASCII lower-cased and every
run of space as one blank, none at the ends. A text of fewer units than n has one shingle of all of them. The
invariant: signature and verification see the same shingles.

MinHash: Broder 1997; bands of rows: Leskovec et al., Mining of Massive Datasets, section 3.4. A permutation is
x -> a x + b mod 2^32 with an xor-shift behind it, on 32 bits of the shingle's 64-bit hash. A shingle's hash is a
polynomial in its units' hashes (Karp and Rabin 1987), moved on by two products whatever n is, then scattered.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import CACHED, LETTER, MARK, NUMBER, SPACE, UNSPACED, classes, decode

SEED = 0x5261795472616971  # of the permutations; another seed is another version of the stage
_UNIT_SEED = np.uint64(1469598103934665603)
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no unit of a shingle loses weight
_INSIDE = LETTER | NUMBER | MARK
_GOLDEN, _FIRST, _SECOND = (np.uint64(c) for c in (0x2545F4914F6CDD1D, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def signatures(
    data: Bytes, offsets: Offsets, ngram: int, values: int, characters: bool = False
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """MinHash values [documents, values] and the number of shingles [documents], repeated ones counted."""
    out = np.empty((len(offsets) - 1, values), np.uint32)
    counts = np.empty(len(offsets) - 1, np.int32)
    factors, addends = permutations(values)
    _signatures(data, offsets, ngram, characters, classes(), _ascii(), factors, addends, out, counts)
    return out, counts


def shingles(
    data: Bytes, offsets: Offsets, ngram: int, characters: bool = False
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The distinct shingles of each text as 64-bit hashes, sorted: text i has hashes[bounds[i]:bounds[i + 1]]."""
    hashes = np.empty(int(offsets[-1] - offsets[0]) + 1, np.uint64)
    bounds = np.zeros(len(offsets), np.int64)
    _shingles(data, offsets, ngram, characters, classes(), _ascii(), hashes, bounds)
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


@cache
def _ascii() -> NDArray[np.uint8]:
    """What a byte below 128 is to a word: 0 nothing, 1 its end, else the letter (lower-cased) or digit."""
    held = [ord(c.lower()) if c.isalnum() else int(c.isspace()) for c in map(chr, range(128))]
    return frozen(np.array(held, np.uint8))


@njit(**CACHED)
def scatter(x):  # type: ignore[no-untyped-def]
    """splitmix64's finaliser: every bit of a number moves every bit of the result, and none is lost."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


@njit(**CACHED)
def shared(a, b):  # type: ignore[no-untyped-def]
    """How many hashes two sorted arrays of distinct ones have in common."""
    i, j, both = 0, 0, 0
    while i < a.shape[0] and j < b.shape[0]:
        x, y = a[i], b[j]
        both += x == y
        i += x <= y
        j += y <= x
    return both


@njit(**CACHED)
def shingle_words(data, start, end, kinds, ascii, hashes):  # type: ignore[no-untyped-def]
    """Fills the hash of each word as shingles see it; returns how many."""
    n = 0
    length = 0
    state = _UNIT_SEED
    i = start
    while i < end:
        byte = data[i]
        if byte < 0x80:
            c = np.uint64(ascii[byte])
            i += 1
            if c > 1:
                state = state * _BASE + c
                length += 1
            elif c and length:
                hashes[n] = state
                n += 1
                length, state = 0, _UNIT_SEED
            continue
        point, width = decode(data, i)
        kind = kinds[point]
        i += width
        if kind & (SPACE | UNSPACED):
            if length:
                hashes[n] = state
                n += 1
                length, state = 0, _UNIT_SEED
            if kind & UNSPACED:
                hashes[n] = _UNIT_SEED * _BASE + np.uint64(point)
                n += 1
        elif kind & _INSIDE:
            state = state * _BASE + np.uint64(point)
            length += 1
    if length:
        hashes[n] = state
        n += 1
    for k in range(n):  # apart from the walk, so that no step of it waits for a product of the last
        hashes[k] = scatter(hashes[k])
    return n


@njit(**CACHED)
def shingle_characters(data, start, end, kinds, hashes):  # type: ignore[no-untyped-def]
    """Fills the hash of each character as shingles see it; returns how many."""
    n = 0
    blank = False
    i = start
    while i < end:
        c, width = decode(data, i)
        i += width
        if kinds[c] & SPACE:
            blank = n > 0
            continue
        if blank:
            hashes[n] = scatter(_UNIT_SEED + np.uint64(32))
            n += 1
            blank = False
        hashes[n] = scatter(_UNIT_SEED + np.uint64(c + 32 if 65 <= c <= 90 else c))
        n += 1
    return n


@njit(**CACHED)
def grams(units, n, width, out):  # type: ignore[no-untyped-def]
    """The hash of each run of `width` of the first n units, in place of out's first n - width + 1."""
    if n < width or width == 0:
        return 0
    drop = np.uint64(1)
    state = np.uint64(0)
    for k in range(width):
        drop *= _BASE
        state = state * _BASE + units[k]
    out[0] = scatter(state + _GOLDEN)
    for k in range(width, n):
        state = state * _BASE + units[k] - units[k - width] * drop
        out[k - width + 1] = scatter(state + _GOLDEN)
    return n - width + 1


@njit(**CACHED)
def _longest(offsets):  # type: ignore[no-untyped-def]
    longest = np.int64(0)
    for d in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    return longest


@njit(**CACHED)
def _document(data, start, end, ngram, characters, kinds, ascii, units, out):  # type: ignore[no-untyped-def]
    """The shingles of one text in order, repeated ones too; returns how many."""
    if characters:
        n = shingle_characters(data, start, end, kinds, units)
    else:
        n = shingle_words(data, start, end, kinds, ascii, units)
    return grams(units, n, min(n, ngram), out)


@njit(**CACHED)
def _signatures(data, offsets, ngram, characters, kinds, ascii, factors, addends, out, counts):  # type: ignore[no-untyped-def]
    room = _longest(offsets) + 1
    units, own = np.empty(room, np.uint64), np.empty(room, np.uint64)
    values = factors.shape[0]
    least = np.empty(values, np.uint32)
    for d in range(offsets.shape[0] - 1):
        many = _document(data, offsets[d], offsets[d + 1], ngram, characters, kinds, ascii, units, own)
        counts[d] = many
        least[:] = np.uint32(0xFFFFFFFF)
        for k in range(many):
            x = np.uint32(own[k] >> np.uint64(32))
            for p in range(values):
                v = np.uint32(x * factors[p] + addends[p])
                v ^= v >> np.uint32(15)
                least[p] = min(least[p], v)
        out[d, :] = least


@njit(**CACHED)
def _shingles(data, offsets, ngram, characters, kinds, ascii, hashes, bounds):  # type: ignore[no-untyped-def]
    room = _longest(offsets) + 1
    units, own = np.empty(room, np.uint64), np.empty(room, np.uint64)
    total = 0
    for d in range(offsets.shape[0] - 1):
        many = _document(data, offsets[d], offsets[d + 1], ngram, characters, kinds, ascii, units, own)
        held = np.sort(own[:many])
        for k in range(many):
            if k == 0 or held[k] != held[k - 1]:
                hashes[total] = held[k]
                total += 1
        bounds[d + 1] = total
