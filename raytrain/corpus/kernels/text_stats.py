"""One pass over the texts of a shard for every number that the shipped rules decide by.

Numbers only: their meaning is written in columns.py, thresholds live in rules/*.yaml. Words come as spans, from one of
the splitters or from outside; characters and lines do not depend on them. The invariant: each column equals its
definition to the character (tests/corpus hold a slow, plain Python copy of the definitions against it).

Scratch: at most 84 bytes for each byte of the longest text, of which prose touches 12 and one-letter words 38;
nothing else grows with a text or with their number.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import CACHED, LETTER, NUMBER, decode, hash_bytes, mix
from raytrain.corpus.kernels.columns import (
    COLUMNS,
    PER_CHARACTER,
    PER_LINE,
    PER_PARAGRAPH,
    PER_WORD,
    SPLITTERS,
    STOP_WORDS,
)
from raytrain.corpus.kernels.lines import line_columns, line_tables
from raytrain.corpus.kernels.splitters import split

_GIVEN = -1  # instead of a splitter: the spans come from outside
_WORDS, _SYMBOLS, _MEAN = (COLUMNS.index(name) for name in ("word_count", "symbol_words", "mean_word_length"))
_LONGEST, _ALPHA, _STOPS = (COLUMNS.index(name) for name in ("longest_word", "alpha_word_ratio", "stop_words"))
_LINES, _PARAGRAPHS = COLUMNS.index("lines"), COLUMNS.index("paragraphs")
_TOP, _DUPLICATE = COLUMNS.index("top_2gram_ratio"), COLUMNS.index("dup_5gram_ratio")
_STOP_SLOTS = 1024
_SHARES = tuple(
    np.array([COLUMNS.index(name) for name in names]) for names in (PER_WORD, PER_LINE, PER_PARAGRAPH, PER_CHARACTER)
)


def text_stats(data: Bytes, offsets: Offsets, splitter: str = SPLITTERS[0]) -> NDArray[np.float64]:
    """[documents, COLUMNS] for texts as buffers.text_buffers gives them, their words by one of SPLITTERS."""
    none = frozen(np.zeros(0, np.int32))
    return _all(data, offsets, SPLITTERS.index(splitter), none, none, frozen(np.zeros(len(offsets), np.int64)))


def text_stats_of_words(
    data: Bytes, offsets: Offsets, starts: NDArray[np.int32], ends: NDArray[np.int32], bounds: Offsets
) -> NDArray[np.float64]:
    """The same with words from outside: those of text i are `bounds[i]:bounds[i + 1]`, in bytes from its beginning."""
    return _all(data, offsets, _GIVEN, frozen(starts), frozen(ends), frozen(bounds))


def _all(data: Bytes, offsets: Offsets, splitter: int, starts: Any, ends: Any, bounds: Any) -> NDArray[np.float64]:
    out = np.zeros((len(offsets) - 1, len(COLUMNS)), np.float64)
    _text_stats(data, offsets, splitter, starts, ends, bounds, _stop_table(), line_tables(), out)
    for i, columns in enumerate(_SHARES):
        whole = (out[:, _WORDS] + out[:, _SYMBOLS], out[:, _LINES], out[:, _PARAGRAPHS], out[:, 0])[i]
        out[:, columns] /= np.maximum(whole, 1)[:, None]
    return out


@njit(**CACHED)
def _text_stats(data, offsets, splitter, given_starts, given_ends, bounds, stops, tables, out):  # type: ignore[no-untyped-def]
    longest = np.int64(0)
    for d in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    # A word is a byte at least: untouched pages cost nothing.
    most = longest + 2
    starts, ends = np.empty(most, np.int32), np.empty(most, np.int32)
    hashes, grams = np.empty(most, np.uint64), np.empty(most, np.uint64)
    reach = np.empty(most + 1, np.int32)
    places, here = np.empty(most, np.int32), np.empty(most, np.int32)
    size = 16
    while size < 2 * most:
        size *= 2
    seen = np.empty(size, np.uint64)
    counts = np.empty(size, np.int32)
    stamps = np.zeros(_STOP_SLOTS, np.int64)
    for d in range(offsets.shape[0] - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        if splitter == _GIVEN:
            n = bounds[d + 1] - bounds[d]
            starts[:n] = given_starts[bounds[d] : bounds[d + 1]]
            ends[:n] = given_ends[bounds[d] : bounds[d + 1]]
        else:
            n = split(data, start, end, splitter, tables[0], starts, ends)
        _word_columns(data, start, n, starts, ends, tables[0], hashes, reach, row)
        _stop_columns(n, hashes, stops, stamps, d + 1, row)
        line_columns(data, start, end, tables, seen, places, row)
        _gram_columns(n, hashes, reach, grams, places, here, seen, counts, row)


@njit(**CACHED)
def _word_columns(data, start, n, starts, ends, kinds, hashes, reach, row):  # type: ignore[no-untyped-def]
    """The columns of words; fills each word's hash, and how many characters stand in the words before it."""
    real, characters, longest, alpha = 0, 0, 0, 0
    reach[0] = 0
    for k in range(n):
        a, b = start + starts[k], start + ends[k]
        hashes[k] = hash_bytes(data, a, b)
        length, kind, every = 0, 0, np.uint8(0)
        for i in range(np.uint64(a), np.uint64(b)):
            kind |= kinds[data[i]]
            every |= data[i]
        length = b - a
        if every >= 0x80:
            length, kind = _describe(data, a, b, kinds)
        reach[k + 1] = reach[k] + length
        longest = max(longest, length)
        alpha += kind & LETTER != 0
        if kind & (LETTER | NUMBER):
            real += 1
            characters += length
    row[_WORDS] = real
    row[_SYMBOLS] = n - real
    row[_MEAN] = characters / max(real, 1)
    row[_LONGEST] = longest
    row[_ALPHA] = alpha


@njit(**CACHED)
def _describe(data, a, b, kinds):  # type: ignore[no-untyped-def]
    """The characters of a word that is not all ASCII, and their classes."""
    length, kind = 0, 0
    while a < b:
        c, width = decode(data, a)
        kind |= kinds[c]
        length += 1
        a += width
    return length, kind


@njit(**CACHED)
def _stop_columns(n, hashes, stops, stamps, stamp, row):  # type: ignore[no-untyped-def]
    """How many words of each list occur. `stamps` tells which were met in the text that has this stamp."""
    keys, lists = stops
    for k in range(n):
        p = hashes[k] & np.uint64(_STOP_SLOTS - 1)
        while keys[p] != 0:
            if keys[p] == hashes[k]:
                if stamps[p] != stamp:
                    stamps[p] = stamp
                    for column in range(lists.shape[1]):
                        row[_STOPS + column] += lists[p, column]
                break
            p = (p + np.uint64(1)) & np.uint64(_STOP_SLOTS - 1)


@njit(**CACHED)
def _gram_columns(n, hashes, reach, grams, places, here, seen, counts, row):  # type: ignore[no-untyped-def]
    """The repetition columns. An n-gram can only repeat where the shorter ones at both its ends do: most do not,
    so that after pairs few positions (`here`, `many` of them) are looked at."""
    for k in range(n):
        grams[k] = mix(np.uint64(0), hashes[k])  # two bare hashes would mix alike in either order
        here[k] = k
    many = n - 1
    for g in range(2, 11):
        size = 16
        while size < 2 * (many + 2):
            size *= 2
        seen[:size] = 0
        counts[:size] = 0
        mask = np.uint64(size - 1)
        for j in range(many):
            at = np.uint64(here[j])  # unsigned, see hash_bytes
            grams[at] = mix(grams[at], hashes[at + np.uint64(g - 1)])
            places[j] = _place(seen, mask, grams[at])
            counts[np.uint64(places[j])] += 1
        if g <= 4:
            row[_TOP + g - 2] = _top_gram(n, g, many, here, places, counts, reach)
        else:
            row[_DUPLICATE + g - 5] = _duplicate_grams(g, many, here, places, counts, reach, seen)
        many = _repeating(n, g, many, here, places, counts)


@njit(**CACHED)
def _place(seen, mask, key):  # type: ignore[no-untyped-def]
    """Where a key stands in the open-addressing table, after putting it there if it did not."""
    if key == 0:
        key = np.uint64(1)
    p = key & mask
    while seen[p] != 0 and seen[p] != key:
        p = (p + np.uint64(1)) & mask
    seen[p] = key
    return np.int32(p)


@njit(**CACHED)
def _top_gram(n, g, many, here, places, counts, reach):  # type: ignore[no-untyped-def]
    """Characters of the commonest n-gram, the first of equally common ones, times its count."""
    if n < g:
        return 0
    best, at = 1, 0
    for j in range(many):
        if counts[places[j]] > best:
            best, at = counts[places[j]], here[j]
    return best * (reach[at + g] - reach[at] + g - 1)


@njit(**CACHED)
def _duplicate_grams(g, many, here, places, counts, reach, seen):  # type: ignore[no-untyped-def]
    """Characters of n-grams that stood before, going on behind each. Marks in `seen` which have been met."""
    repeated, free = 0, 0
    for j in range(many):
        k, p = here[j], places[j]
        if k < free or counts[p] < 2:
            continue
        if seen[p] == 0:
            repeated += reach[k + g] - reach[k]
            free = k + g
        else:
            seen[p] = 0
    return repeated


@njit(**CACHED)
def _repeating(n, g, many, here, places, counts):  # type: ignore[no-untyped-def]
    """Keeps of the positions those at which an n-gram one word longer may repeat; returns how many are left."""
    left = 0
    for j in range(many):
        k = here[j]
        if k + g < n and counts[places[j]] > 1 and j + 1 < many and here[j + 1] == k + 1 and counts[places[j + 1]] > 1:
            here[left] = k
            left += 1
    return left


@cache
def _stop_table() -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Hashes of all stop words in an open-addressing table, and of each in which lists it stands."""
    keys = np.zeros(_STOP_SLOTS, np.uint64)
    lists = np.zeros((_STOP_SLOTS, len(STOP_WORDS)), np.uint8)
    for column, words in enumerate(STOP_WORDS.values()):
        for word in words.split():
            data = frozen(np.frombuffer(word.encode(), np.uint8))
            p = _place(keys, np.uint64(_STOP_SLOTS - 1), np.uint64(hash_bytes(data, 0, len(data))))
            lists[p, column] = 1
    return frozen(keys), frozen(lists)
