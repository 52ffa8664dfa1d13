"""The statistics of lines and paragraphs: how they begin and end, which stand twice, which name a policy.

Part of the text kernel (text_stats.py); what each number means is written in columns.py. The invariant: one walk
over the bytes, and no memory but the caller's table.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import CACHED, decode, ends_line_well, is_space, mix
from raytrain.corpus.kernels.columns import FEW_WORDS, JAVASCRIPT, POLICY, SHORT_LINE

_LINE_SEED = np.uint64(1469598103934665603)
_PARAGRAPH_MARK = np.uint64(0x5BF03635)  # a paragraph of one line is not that line
_PHRASE_STARTS = sum(1 << (ord(c) & 31) for c in "ljtpcu")  # a bit for each letter that begins a phrase


@cache
def packed_phrases() -> tuple[Bytes, Offsets]:
    """The phrases that are looked for, end to end, and where each begins: lorem ipsum, javascript, the policies."""
    phrases = ("lorem ipsum", *JAVASCRIPT, *POLICY)
    offsets = np.cumsum([0] + [len(phrase) for phrase in phrases]).astype(np.int64)
    return frozen(np.frombuffer("".join(phrases).encode(), np.uint8)), frozen(offsets)


@njit(**CACHED)
def line_columns(data, start, end, phrases, phrase_offsets, seen, row):  # type: ignore[no-untyped-def]
    """Adds up columns 9 to 21 and 24 for one text; `seen` is scratch, a power of two of at least its bytes."""
    upper = np.int64(1)
    for i in range(start, end):
        upper += data[i] == 10
    size = 16
    while size < 4 * upper:  # lines and paragraphs share the table
        size *= 2
    # Never beyond its end: a text of n bytes has at most n / 2 + 1 lines that hold anything.
    size = min(size, seen.shape[0])
    seen[:size] = 0
    mask = np.uint64(size - 1)
    paragraph_state, paragraph_length = np.uint64(0), 0
    i = start
    while i < end:
        state = _LINE_SEED
        blank_state, blanks = state, 0  # the hash goes over blanks only when something follows them
        length, words, inside, head, tail, before, before2 = 0, 0, False, 0, 0, 0, 0
        javascript, policy = False, False
        while i < end:
            c, width = decode(data, i)
            if c == 10:
                break
            if is_space(c):
                inside = False
                if length:
                    blank_state = mix(blank_state, np.uint64(c))
                    blanks += 1
            else:
                if not length:
                    head = c
                    blank_state = state
                if not inside:
                    words += 1
                inside = True
                state = mix(blank_state, np.uint64(c))
                blank_state = state
                if blanks:
                    before2, before = 0, 0
                else:
                    before2, before = before, tail
                length += blanks + 1
                blanks = 0
                tail = c
                if c < 0x80 and (_PHRASE_STARTS >> ((c | 32) & 31)) & 1:
                    found = _phrase_at(data, i, end, phrases, phrase_offsets)
                    if found == 0:
                        row[24] = 1
                    elif found == 1:
                        javascript = True
                    elif found > 1:
                        policy = True
            i += width
        i += 1
        if not length:
            if paragraph_length:
                _count_duplicate(seen, mask, paragraph_state ^ _PARAGRAPH_MARK, paragraph_length, row, 10, 20)
            paragraph_state, paragraph_length = np.uint64(0), 0
            continue
        _count_duplicate(seen, mask, state, length, row, 9, 18)
        if paragraph_length:
            paragraph_length += 1
        paragraph_state = mix(paragraph_state, state)
        paragraph_length += length
        row[11] += head == 0x2022 or head == 45 or head == 42
        row[12] += tail == 0x2026 or (tail == 46 and before == 46 and before2 == 46)
        row[13] += ends_line_well(tail)
        row[14] += length <= SHORT_LINE
        row[15] += words < FEW_WORDS
        row[16] += javascript
        row[17] += policy
    if paragraph_length:
        _count_duplicate(seen, mask, paragraph_state ^ _PARAGRAPH_MARK, paragraph_length, row, 10, 20)


@njit(**CACHED)
def _count_duplicate(seen, mask, key, length, row, total, repeats):  # type: ignore[no-untyped-def]
    """Counts a line or paragraph in column `total`; one that was seen before in `repeats` and the next."""
    row[total] += 1
    if insert(seen, mask, key):
        row[repeats] += 1
        row[repeats + 1] += length


@njit(**CACHED)
def insert(seen, mask, key):  # type: ignore[no-untyped-def]
    """Whether a key was in the open-addressing table already; it is afterwards."""
    if key == 0:
        key = np.uint64(1)
    p = key & mask
    while seen[p] != 0:
        if seen[p] == key:
            return True
        p = (p + np.uint64(1)) & mask
    seen[p] = key
    return False


@njit(**CACHED)
def _lower(byte):  # type: ignore[no-untyped-def]
    return byte + 32 if 65 <= byte <= 90 else byte


@njit(**CACHED)
def _phrase_at(data, i, end, phrases, phrase_offsets):  # type: ignore[no-untyped-def]
    """Which phrase begins at byte i in any case, -1 for none."""
    for p in range(phrase_offsets.shape[0] - 1):
        a, b = phrase_offsets[p], phrase_offsets[p + 1]
        if (data[i] | 32) != phrases[a] or i + b - a > end:
            continue
        k = 1
        while k < b - a and _lower(data[i + k]) == phrases[a + k]:
            k += 1
        if k == b - a:
            return p
    return -1
