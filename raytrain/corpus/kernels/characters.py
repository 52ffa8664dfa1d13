"""What kind of character stands at a byte: decoding and the classes that the kernels share.

Classes are small and fixed, not Unicode's tables: the tests hold each beside its definition in Python. Numba's
cache looks only at the file of the function that it cached: who edits this one, touches the kernels as well.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CACHED = {"nogil": True, "cache": True}


@njit(**CACHED)
def mix(state, value):  # type: ignore[no-untyped-def]
    """One step of a 64-bit multiplicative hash (xor, odd multiplier, shift)."""
    state = (state ^ value) * np.uint64(0x9E3779B97F4A7C15)
    return state ^ (state >> np.uint64(29))


@njit(**CACHED)
def decode(data, i):  # type: ignore[no-untyped-def]
    """The code point whose UTF-8 begins at byte i, and its length in bytes. The data must be valid."""
    c = np.int64(data[i])
    if c < 0x80:
        return c, 1
    if c < 0xE0:
        return (c & 0x1F) << 6 | (np.int64(data[i + 1]) & 0x3F), 2
    low = np.int64(data[i + 2]) & 0x3F
    if c < 0xF0:
        return (c & 0x0F) << 12 | (np.int64(data[i + 1]) & 0x3F) << 6 | low, 3
    return (c & 0x07) << 18 | (np.int64(data[i + 1]) & 0x3F) << 12 | low << 6 | (np.int64(data[i + 3]) & 0x3F), 4


@njit(**CACHED)
def is_space(c):  # type: ignore[no-untyped-def]
    """Python's str.isspace: ASCII blanks and separators, NEL, NBSP and the Unicode spaces."""
    if c < 0x80:
        return c == 32 or 9 <= c <= 13 or 28 <= c <= 31
    if c == 0x85 or c == 0xA0 or c == 0x1680 or c == 0x3000:
        return True
    return 0x2000 <= c <= 0x200A or c == 0x2028 or c == 0x2029 or c == 0x202F or c == 0x205F


@njit(**CACHED)
def is_letter(c):  # type: ignore[no-untyped-def]
    """ASCII letters, and everything from U+0080 on but the blocks of common punctuation and signs."""
    if c < 0x80:
        return 65 <= c <= 90 or 97 <= c <= 122
    return c >= 0xC0 and not (0x2000 <= c <= 0x206F or 0x3000 <= c <= 0x303F)


@njit(**CACHED)
def is_ideograph(c):  # type: ignore[no-untyped-def]
    """Scripts without spaces between words, where each character counts as a word: Thai, kana, Han."""
    if c < 0x0E00:
        return False
    if c <= 0x0E7F or 0x3040 <= c <= 0x30FF or 0x3400 <= c <= 0x9FFF:
        return True
    return 0xF900 <= c <= 0xFAFF or 0x20000 <= c <= 0x3FFFF


@njit(**CACHED)
def ends_sentence(c):  # type: ignore[no-untyped-def]
    """. ! ? and the ellipsis, the Arabic question mark, the danda."""
    return c == 46 or c == 33 or c == 63 or c == 0x2026 or c == 0x061F or c == 0x0964


@njit(**CACHED)
def ends_sentence_alone(c):  # type: ignore[no-untyped-def]
    """Full stops that no space follows: ideographic full stop, full-width ! and ?."""
    return c == 0x3002 or c == 0xFF01 or c == 0xFF1F


@njit(**CACHED)
def closes(c):  # type: ignore[no-untyped-def]
    """Quotation marks and brackets that may stand after a sentence's end: " ' ) ] ” ’ »."""
    return c == 34 or c == 39 or c == 41 or c == 93 or c == 0x201D or c == 0x2019 or c == 0xBB


@njit(**CACHED)
def ends_line_well(c):  # type: ignore[no-untyped-def]
    """C4's terminal punctuation (. ! ? " ') in its typographic and other scripts' forms too."""
    return ends_sentence(c) or ends_sentence_alone(c) or c == 34 or c == 39 or c == 0x201D or c == 0x2019 or c == 0xBB
