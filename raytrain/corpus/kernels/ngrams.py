"""Words with their places, their n-grams as 64-bit hashes, and the search for known n-grams in texts.

A word is what stands between blanks, without what is neither letter, number nor mark and with ASCII lower-cased, so
that quotation marks, dashes and case do not hide a match; in scripts without spaces each character is one. The
invariant: equal runs of words have equal hashes wherever they stand, and a hit
names the bytes that the run covers.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import (
    CACHED,
    LETTER,
    MARK,
    NUMBER,
    SPACE,
    UNSPACED,
    classes,
    decode,
    mix,
)

_WORD_SEED = np.uint64(1469598103934665603)
_BASE = np.uint64(0x9FB21C651E98DF25)  # odd: of the polynomial over a run's words, mod 2^64
_INSIDE = LETTER | NUMBER | MARK
Hits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


class Table:
    """Known n-grams by hash: an open-addressing table behind a bitmap that answers most questions alone."""

    def __init__(self, hashes: NDArray[np.uint64], words: NDArray[np.int64]) -> None:
        """Distinct `hashes`; `words` says how many words each spans."""
        size = 1 << max(4, (4 * len(hashes)).bit_length())
        self.slots = np.full(size, -1, np.int64)
        self.hashes = frozen(hashes.astype(np.uint64))
        self.bits = np.zeros(max(1, size // 16), np.uint64)  # 16 bits an n-gram and more, two of them set
        self.lengths = frozen(np.unique(words).astype(np.int64))
        _fill(self.hashes, self.slots, self.bits)
        frozen(self.slots)
        frozen(self.bits)

    def find(self, data: Bytes, offsets: Offsets) -> Hits:
        """(text, n-gram, first byte, end byte in the text) of every known n-gram, in order of text, length, place."""
        room = 1 << 12
        while True:
            out = np.empty((room, 4), np.int64)
            found = _find(data, offsets, classes(), self.hashes, self.slots, self.bits, self.lengths, out)
            if found <= room:
                return out[:found, 0], out[:found, 1], out[:found, 2], out[:found, 3]
            room = int(found)


def word_counts(data: Bytes, offsets: Offsets) -> NDArray[np.int64]:
    """How many words each text has."""
    counts = np.empty(len(offsets) - 1, np.int64)
    _count(data, offsets, classes(), counts)
    return counts


def grams(data: Bytes, offsets: Offsets, ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all runs of `ngram` words, and [texts + 1] bounds; a text of fewer words is one run of all of them."""
    counts = word_counts(data, offsets)
    runs = np.where(counts >= ngram, counts - ngram + 1, (counts > 0).astype(np.int64))
    bounds = np.concatenate(([0], np.cumsum(runs)))
    hashes = np.empty(int(bounds[-1]), np.uint64)
    _grams(data, offsets, ngram, classes(), hashes)
    return hashes, bounds


@njit(**CACHED)
def split_places(data, start, end, kinds, state, begins, ends):  # type: ignore[no-untyped-def]
    """Fills where each word begins and ends, and prefix sums of the polynomial over words; returns how many words."""
    n, length, last, begin = 0, 0, start, start
    word = _WORD_SEED
    state[0] = np.uint64(0)
    i = start
    while i < end:
        c, width = decode(data, i)
        kind = kinds[c]
        space, alone = kind & SPACE, kind & UNSPACED
        if (space or alone) and length:
            begins[n], ends[n] = begin, last
            state[n + 1] = state[n] * _BASE + word
            n += 1
            length, word = 0, _WORD_SEED
        if alone:
            begins[n], ends[n] = i, i + width
            state[n + 1] = state[n] * _BASE + mix(_WORD_SEED, np.uint64(c))
            n += 1
        elif kind & _INSIDE:
            if not length:
                begin = i
            word = mix(word, np.uint64(c + 32 if 65 <= c <= 90 else c))
            length += 1
            last = i + width
        i += width
    if length:
        begins[n], ends[n] = begin, last
        state[n + 1] = state[n] * _BASE + word
        n += 1
    return n


@njit(**CACHED)
def power_of(exponent):  # type: ignore[no-untyped-def]
    result = np.uint64(1)
    for _ in range(exponent):
        result *= _BASE
    return result


@njit(**CACHED)
def run_hash(state, k, words, power):  # type: ignore[no-untyped-def]
    """The hash of words k to k + words: a difference of prefix sums, then mixed with its length."""
    return mix(mix(_WORD_SEED, np.uint64(words)), state[k + words] - state[k] * power)


@njit(**CACHED)
def room_for(offsets):  # type: ignore[no-untyped-def]
    """Words of the longest text at most, and one: a byte and a blank each, and ideographs of three bytes."""
    longest = np.int64(0)
    for d in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    return longest // 2 + 2


@njit(**CACHED)
def _count(data, offsets, kinds, counts):  # type: ignore[no-untyped-def]
    room = room_for(offsets)
    state, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    for d in range(offsets.shape[0] - 1):
        counts[d] = split_places(data, offsets[d], offsets[d + 1], kinds, state, begins, ends)


@njit(**CACHED)
def _grams(data, offsets, ngram, kinds, hashes):  # type: ignore[no-untyped-def]
    room = room_for(offsets)
    state, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    total = 0
    for d in range(offsets.shape[0] - 1):
        n = split_places(data, offsets[d], offsets[d + 1], kinds, state, begins, ends)
        width = min(n, ngram)
        power = power_of(width)
        for k in range(n - width + 1 if n else 0):
            hashes[total] = run_hash(state, k, width, power)
            total += 1


@njit(**CACHED)
def _fill(hashes, slots, bits):  # type: ignore[no-untyped-def]
    mask = np.uint64(slots.shape[0] - 1)
    for g in range(hashes.shape[0]):
        place = hashes[g] & mask
        while slots[place] >= 0:
            place = (place + np.uint64(1)) & mask
        slots[place] = g
        word = (hashes[g] >> np.uint64(32)) & np.uint64(bits.shape[0] - 1)
        bits[word] |= _marks(hashes[g])


@njit(**CACHED)
def _marks(key):  # type: ignore[no-untyped-def]
    """Two of a word's 64 bits (a Bloom filter whose bits share a cache line: Putze et al. 2007)."""
    return np.uint64(1) << (key >> np.uint64(58)) | np.uint64(1) << ((key >> np.uint64(52)) & np.uint64(63))


@njit(**CACHED)
def _lookup(key, hashes, slots, bits):  # type: ignore[no-untyped-def]
    """Which n-gram has this hash, -1 for none."""
    marks = _marks(key)
    if bits[(key >> np.uint64(32)) & np.uint64(bits.shape[0] - 1)] & marks != marks:
        return np.int64(-1)
    mask = np.uint64(slots.shape[0] - 1)
    place = key & mask
    while slots[place] >= 0:
        if hashes[slots[place]] == key:
            return slots[place]
        place = (place + np.uint64(1)) & mask
    return np.int64(-1)


@njit(**CACHED)
def _find(data, offsets, kinds, hashes, slots, bits, lengths, out):  # type: ignore[no-untyped-def]
    room = room_for(offsets)
    state, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    found = 0
    for d in range(offsets.shape[0] - 1):
        n = split_places(data, offsets[d], offsets[d + 1], kinds, state, begins, ends)
        for w in range(lengths.shape[0]):
            words = lengths[w]
            power = power_of(words)
            for k in range(n - words + 1):
                gram = _lookup(run_hash(state, k, words, power), hashes, slots, bits)
                if gram >= 0:
                    if found < out.shape[0]:
                        out[found, 0], out[found, 1] = d, gram
                        out[found, 2], out[found, 3] = begins[k] - offsets[d], ends[k + words - 1] - offsets[d]
                    found += 1
    return found
