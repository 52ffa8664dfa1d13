"""What kind of character stands at a byte: decoding, and the classes of every code point that the kernels share.

Classes come from Python's unicodedata, so that a word, a letter or a space is what str.split, isalpha and isspace
say in every script; the few marks that end sentences and lines are listed with their source. Scripts written without
spaces are told by the names of their characters. The invariant: `classes()[c]` depends on the code point and on
the version of Unicode alone. Numba's cache looks only at the file of the function that it cached: who edits this one,
touches the kernels as well.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

CACHED = {"nogil": True, "cache": True}
ONE = np.uint64(1)  # loops over all bytes count without a sign: numba asks a signed place each time whether it is < 0

SPACE, LETTER, NUMBER, UPPER, MARK = 1, 2, 4, 8, 16  # isspace, isalpha, isnumeric or isdigit, isupper, category M
PUNCTUATION = 32  # categories P and S
UNSPACED = 64  # of a script without spaces between words: each character counts as one
SENTENCE = 128  # ends a sentence when a space follows
SENTENCE_ALONE = 256  # ends a sentence whatever follows
CLOSES = 512  # quotation marks and brackets that may stand after a sentence's end
LINE_END = 1024  # C4's terminal punctuation (. ! ? " ') in its typographic and other scripts' forms too
BULLET = 2048  # begins a point of a list
FULL_STOP = 8192  # ends a sentence in any script: Unicode's property Sentence_Terminal, of scripts in use
AFFIX = 4096  # cut off the ends of a word by the datatrove splitter: punctuation and signs but a few

# Full stop, exclamation and question mark, ellipsis, Arabic question mark, danda.
_SENTENCE = ".!?\u2026\u061f\u0964"
# Ideographic full stop, full-width exclamation and question mark.
_SENTENCE_ALONE = "\u3002\uff01\uff1f"
_CLOSES = "\"')]\u201d\u2019\u00bb"
_LINE_END = _SENTENCE + _SENTENCE_ALONE + "\"'\u201d\u2019\u00bb"
_BULLET = "\u2022-*"
_FULL_STOP = (
    ".!?\u0589\u061d\u061e\u061f\u06d4\u0700\u0701\u0702\u07f9\u0964\u0965\u104a\u104b\u1362\u1367\u1368\u17d4"
    "\u17d5\u1803\u1809\u203c\u203d\u2047\u2048\u2049\u2e2e\u3002\ufe52\ufe56\ufe57\uff01\uff0e\uff1f\uff61"
)
_NO_AFFIX = "-/\\@^~|.+=%\u00b6"
_UNSPACED = (
    "CJK UNIFIED",
    "CJK COMPATIBILITY IDEO",
    "HIRAGANA",
    "KATAKANA",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
)
_ASSIGNED = ((0, 0x40000), (0xE0000, 0xE0200))  # nothing beyond has a class


@cache
def classes() -> NDArray[np.uint16]:
    """The classes of each code point, bits of the constants above: [0x110000]. Made once a process, in 0.15 s."""
    held = np.zeros(0x110000, np.uint16)
    for low, high in _ASSIGNED:
        held[low:high] = [_class_of(chr(c)) for c in range(low, high)]
    for marks, bit in (
        (_SENTENCE, SENTENCE),
        (_SENTENCE_ALONE, SENTENCE_ALONE),
        (_CLOSES, CLOSES),
        (_LINE_END, LINE_END),
        (_BULLET, BULLET),
        (_FULL_STOP, FULL_STOP),
    ):
        held[[ord(c) for c in marks]] |= bit
    held.setflags(write=False)
    return held


def _class_of(c: str) -> int:
    if c.isspace():
        return SPACE
    category = unicodedata.category(c)[0]
    found = 0
    if category == "L":
        found = LETTER | UPPER * c.isupper()
    elif category == "N":
        found = NUMBER
    elif category == "M":
        found = MARK
    elif category in "PS":
        return PUNCTUATION | AFFIX * (c not in _NO_AFFIX)
    if found and unicodedata.name(c, "").startswith(_UNSPACED):
        found |= UNSPACED
    return found


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
def before(data, i):  # type: ignore[no-untyped-def]
    """Where the character begins that ends before byte i."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@njit(**CACHED)
def count_characters(data, start, end):  # type: ignore[no-untyped-def]
    """Code points of valid UTF-8: bytes that do not continue a character."""
    n = 0
    for i in range(np.uint64(start), np.uint64(end)):
        n += (data[i] & 0xC0) != 0x80
    return n


@njit(**CACHED)
def hash_bytes(data, start, end):  # type: ignore[no-untyped-def]
    """A 64-bit hash of bytes, eight at a time; never zero, which stands for nothing in the tables."""
    state = np.uint64(1469598103934665603) ^ np.uint64(end - start)
    i, stop = np.uint64(start), np.uint64(end)  # unsigned: numba need not ask whether an index counts from the end
    while stop - i >= 8:
        value = np.uint64(0)
        for k in range(np.uint64(8)):
            value |= np.uint64(data[i + k]) << (np.uint64(8) * k)
        state = mix(state, value)
        i += np.uint64(8)
    value = np.uint64(0)
    while i < stop:
        value = value << np.uint64(8) | np.uint64(data[i])
        i += np.uint64(1)
    state = mix(mix(state, value), np.uint64(0))
    return state if state != 0 else np.uint64(1)
