"""One pass over the texts of a shard for every number that the Gopher, C4 and FineWeb rules decide by.

Numbers only: their meaning is written in columns.py, thresholds live in rules/*.yaml. The invariant: each column
equals its definition to the character (tests/corpus hold a slow, plain Python copy of the definitions against it).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import (
    CACHED,
    closes,
    decode,
    ends_sentence,
    ends_sentence_alone,
    is_letter,
    is_space,
    mix,
)
from raytrain.corpus.kernels.columns import COLUMNS, STOP_WORDS
from raytrain.corpus.kernels.lines import insert, line_columns, packed_phrases

_LETTER, _REAL = 1, 2
_WORD_SEED = np.uint64(1469598103934665603)


def text_stats(data: Bytes, offsets: Offsets) -> NDArray[np.float64]:
    """[documents, COLUMNS] for texts as buffers.text_buffers gives them."""
    out = np.zeros((len(offsets) - 1, len(COLUMNS)), np.float64)
    phrases, phrase_offsets = packed_phrases()
    _text_stats(data, offsets, _stop_hashes(), phrases, phrase_offsets, out)
    return out


@njit(**CACHED)
def _text_stats(data, offsets, stop_hashes, phrases, phrase_offsets, out):  # type: ignore[no-untyped-def]
    longest = np.int64(0)
    for d in range(offsets.shape[0] - 1):
        longest = max(longest, offsets[d + 1] - offsets[d])
    words = longest // 2 + 1  # one byte and a blank each; untouched pages cost nothing
    hashes = np.empty(words, np.uint64)
    lengths = np.empty(words, np.int32)
    flags = np.empty(words, np.uint8)
    grams = np.empty(words, np.uint64)
    size = 16
    while size < 2 * (words + 2):
        size *= 2
    seen = np.empty(size, np.uint64)
    counts = np.empty(size, np.int32)
    for d in range(offsets.shape[0] - 1):
        start, end = offsets[d], offsets[d + 1]
        n = split_words(data, start, end, hashes, lengths, flags)
        _word_columns(n, hashes, lengths, flags, stop_hashes, out[d])
        _mark_columns(data, start, end, out[d])
        line_columns(data, start, end, phrases, phrase_offsets, seen, out[d])
        _gram_columns(n, hashes, lengths, grams, seen, counts, out[d])
        _to_ratios(n, out[d])


@njit(**CACHED)
def split_words(data, start, end, hashes, lengths, flags):  # type: ignore[no-untyped-def]
    """Fills hash, length in characters and flags of each word; returns how many."""
    n = 0
    length = 0
    flag = 0
    state = _WORD_SEED
    i = start
    while i < end:
        c, width = decode(data, i)
        i += width
        if is_space(c):
            if length:
                hashes[n], lengths[n], flags[n] = state, length, flag
                n += 1
                length, flag, state = 0, 0, _WORD_SEED
        else:
            length += 1
            state = mix(state, np.uint64(c))
            if is_letter(c):
                flag |= _LETTER | _REAL
            elif 48 <= c <= 57:
                flag |= _REAL
    if length:
        hashes[n], lengths[n], flags[n] = state, length, flag
        n += 1
    return n


@njit(**CACHED)
def _word_columns(n, hashes, lengths, flags, stop_hashes, row):  # type: ignore[no-untyped-def]
    real, characters, longest, alpha = 0, 0, 0, 0
    for k in range(n):
        longest = max(longest, lengths[k])
        alpha += flags[k] & _LETTER
        if flags[k] & _REAL:
            real += 1
            characters += lengths[k]
    row[1] = real
    row[2] = n - real
    row[3] = characters / max(real, 1)
    row[4] = longest
    row[5] = alpha
    for s in range(stop_hashes.shape[0]):
        for k in range(n):
            if hashes[k] == stop_hashes[s]:
                row[6] += 1
                break


@njit(**CACHED)
def _mark_columns(data, start, end, row):  # type: ignore[no-untyped-def]
    """Characters, #, ellipses, line ends, sentences, {."""
    points = 0  # of a run of full stops: every third makes an ellipsis
    state = 0  # 0 text, 1 within a sentence's end marks, 2 within closing marks after them, 3 within 。！？
    i = start
    while i < end:
        c, width = decode(data, i)
        i += width
        row[0] += 1
        points = points + 1 if c == 46 else 0
        if points == 3 or c == 0x2026:
            row[8] += 1
            points = 0
        if c == 35:
            row[7] += 1
        elif c == 10:
            row[22] += 1
        elif c == 123:
            row[25] += 1
        if ends_sentence_alone(c):
            if state != 3:
                row[23] += 1
            state = 3
        elif ends_sentence(c):
            state = 1
        elif (state == 1 or state == 2) and closes(c):
            state = 2
        else:
            if (state == 1 or state == 2) and is_space(c):
                row[23] += 1
            state = 0
    if state == 1 or state == 2:
        row[23] += 1


@njit(**CACHED)
def _gram_columns(n, hashes, lengths, grams, seen, counts, row):  # type: ignore[no-untyped-def]
    size = 16
    while size < 2 * (n + 2):
        size *= 2
    mask = np.uint64(size - 1)
    for k in range(n):
        grams[k] = mix(_WORD_SEED, hashes[k])  # two bare hashes would mix alike in either order
    for g in range(2, 11):
        m = n - g + 1
        if m <= 0:
            break
        for k in range(m):
            grams[k] = mix(grams[k], hashes[k + g - 1])
        seen[:size] = 0
        if g <= 4:
            row[24 + g] = _top_gram(m, g, grams, lengths, seen, counts, size)
        else:
            k, repeated = 0, 0
            while k < m:
                if insert(seen, mask, grams[k]):
                    for q in range(g):
                        repeated += lengths[k + q]
                    k += g
                else:
                    k += 1
            row[24 + g] = repeated


@njit(**CACHED)
def _top_gram(m, g, grams, lengths, seen, counts, size):  # type: ignore[no-untyped-def]
    mask = np.uint64(size - 1)
    counts[:size] = 0
    best, best_length = 1, 0
    for k in range(m):
        key = grams[k]
        if key == 0:
            key = np.uint64(1)
        p = key & mask
        while seen[p] != 0 and seen[p] != key:
            p = (p + np.uint64(1)) & mask
        seen[p] = key
        counts[p] += 1
        if counts[p] > 1 and counts[p] >= best:
            length = g - 1
            for q in range(g):
                length += lengths[k + q]
            if counts[p] > best or length > best_length:
                best, best_length = counts[p], length
    return best * best_length


@njit(**CACHED)
def _to_ratios(n, row):  # type: ignore[no-untyped-def]
    words, lines, characters = max(n, 1), max(row[9], 1.0), max(row[0], 1.0)
    row[5] /= words
    row[7] /= words
    row[8] /= words
    row[22] /= words
    for column in range(11, 19):
        row[column] /= lines
    row[20] /= max(row[10], 1.0)
    row[19] /= characters
    row[21] /= characters
    for column in range(26, 35):
        row[column] /= characters


@cache
def _stop_hashes() -> NDArray[np.uint64]:
    data = frozen(np.frombuffer(" ".join(STOP_WORDS).encode(), np.uint8))
    n = len(STOP_WORDS)
    hashes, lengths, flags = np.empty(n, np.uint64), np.empty(n, np.int32), np.empty(n, np.uint8)
    split_words(data, np.int64(0), np.int64(len(data)), hashes, lengths, flags)
    return hashes
