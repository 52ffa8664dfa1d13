"""Brings texts into normal form where bytes are enough for it, and says which texts need more.

The plain part of normalise.py: line ends, control characters, blanks at line ends, blank lines, the edges. The
invariant: a text that is not called odd comes out exactly as `normalise.normalise` would give it, unrepaired.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import chain

import numpy as np
from numba import njit

from raytrain.corpus.kernels.buffers import Bytes, frozen
from raytrain.corpus.kernels.characters import CACHED, ONE, decode

# What a byte means: 0 a character, 1 a blank, 2 ends a line, 3 a carriage return, 4 goes, 5 begins a longer character,
# 6 may end the words by which Project Gutenberg's frame is known.
BYTES = np.zeros(256, np.uint8)
BYTES[[9, 32]] = 1
BYTES[[10, 11, 12]] = 2
BYTES[13] = 3
BYTES[[*range(9), *range(14, 32), 127]] = 4
BYTES[128:] = 5
GUTENBERG = b"PROJECT GUTENBERG EBOOK"
# What a character means: its canonical combining class, or ODD where it goes, breaks a line or may compose.
ODD = 255
UNWANTED = (*range(0x80, 0xA0), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)


@cache
def byte_table(strip_gutenberg: bool) -> Bytes:
    """BYTES, with the letter that ends the mark of Project Gutenberg's frame where that is to be cut."""
    table = BYTES.copy()
    if strip_gutenberg:
        table[GUTENBERG[-1]] = 6
    return frozen(table)


@cache
def character_table(form: str) -> Bytes:
    """For each code point its combining class, or ODD; a text without ODD and with classes in order is in `form`.

    The quick check of Unicode Standard Annex 15, section 9, with a "maybe" (what stands behind the first place of a
    pair that composes) counted as a no.
    """
    table = np.zeros(sys.maxunicode + 1, np.uint8)
    table[list(UNWANTED)] = ODD
    if form == "none":
        return frozen(table)
    for code in _assigned():
        character = chr(code)
        if unicodedata.is_normalized(form, character):  # type: ignore[arg-type]
            if table[code] != ODD:
                table[code] = unicodedata.combining(character)
        else:
            table[code] = ODD
        parts = unicodedata.normalize("NFD", character)
        if len(parts) > 1 and unicodedata.normalize("NFC", parts) == character:
            table[[ord(part) for part in parts[1:]]] = ODD
    return frozen(table)


@cache
def mojibake_table(repair: bool) -> Bytes:
    """For each code point below 0x2200 what its byte in Windows-1252 is to UTF-8: 1 a first byte, 2 a later one.

    All 0 where nothing is to be repaired: then no text looks like mojibake.
    """
    table = np.zeros(0x2200, np.uint8)
    for byte in range(0x80, 0x100) if repair else ():
        try:
            code = ord(bytes([byte]).decode("cp1252"))
        except UnicodeDecodeError:
            code = byte
        table[code] = 2 if byte < 0xC0 else 1 if 0xC2 <= byte <= 0xF4 else 0
    return frozen(table)


def _assigned() -> Iterator[int]:
    """Code points that may have a decomposition or a class: planes 0 to 3 (private use and surrogates left out)."""
    return chain(range(0x80, 0xD800), range(0xF900, 0x40000))


@njit(**CACHED)
def tidy(data, offsets, kinds, characters, mojibake):  # type: ignore[no-untyped-def]
    """(bytes, offsets, odd [texts]) of the texts data[offsets[i]:offsets[i + 1]], which are valid UTF-8.

    `kinds`, `characters`, `mojibake`: the tables above. An odd text comes out empty.
    """
    texts = len(offsets) - 1
    out = np.empty(offsets[texts] - offsets[0], np.uint8)
    out_offsets = np.zeros(texts + 1, np.int64)
    odd = np.zeros(texts, np.bool_)
    at = 0
    for text in range(texts):
        end = _tidy(data, offsets[text], offsets[text + 1], out, at, kinds, characters, mojibake)
        odd[text] = end < 0
        at = max(at, end)
        out_offsets[text + 1] = at
    return out[:at], out_offsets, odd


@njit(**CACHED)
def _tidy(data, i, end, out, start, kinds, characters, mojibake):  # type: ignore[no-untyped-def]
    """Writes a text in normal form to out[start:] and returns where it ends; -1 where it is odd.

    Line ends are held back (`due`) until a line with something on it follows; a line that turns out to hold only
    blanks is taken back to `mark`.
    """
    at = mark = line = start
    due = 0
    begun = returned = False  # the line has something on it; the last thing was a carriage return
    marks_end = lead_end = -1  # where the last combining mark, the first byte of a possible mojibake ended
    above, seen = 0, False  # the last mark's class; whether a character beyond ASCII was met
    while i < end:
        kind = kinds[data[i]]
        if kind == 4:
            i += 1
            continue
        if kind == 2 or kind == 3:
            if not (returned and data[i] != 13):  # \r\n is one line end
                if begun:
                    while at > line and (out[at - 1] == 32 or out[at - 1] == 9):
                        at -= 1
                    if at > line:
                        due = 0
                    else:
                        at = mark
                due += 1
                begun = False
            returned = kind == 3
            i += 1
            continue
        returned = False
        if not begun:
            if at == start:
                if kind == 1:
                    i += 1
                    continue
                mark = start
            else:
                mark = at
                for _ in range(due if due < 4 else 2):
                    out[at] = 10
                    at += 1
            line, begun = at, True
        read, stop, write = np.uint64(i), np.uint64(end), np.uint64(at)
        while read < stop and kinds[data[read]] < 2:
            out[write] = data[read]
            write += ONE
            read += ONE
        i, at = np.int64(read), np.int64(write)
        if i == end:
            break
        kind = kinds[data[i]]
        if kind == 6:
            out[at] = data[i]
            at += 1
            i += 1
            if _gutenberg(out, start, at):
                return -1
        elif kind == 5:
            code, size = decode(data, i)
            above_now = characters[code]
            if above_now == 255:
                return -1
            if above_now:
                if marks_end == at and above > above_now:
                    return -1
                above, marks_end = above_now, at + size
            if not seen:
                seen = True
                if code < 0x2200 and mojibake[code] == 1:
                    lead_end = at + size
            elif lead_end == at and code < 0x2200 and mojibake[code] == 2:
                return -1
            for k in range(size):
                out[at + k] = data[i + k]
            at += size
            i += size
    if begun:
        while at > line and (out[at - 1] == 32 or out[at - 1] == 9):
            at -= 1
        if at == line:
            at = mark
    return -1 if _odd_edges(out, start, at) else at


_MARK = frozen(np.frombuffer(GUTENBERG, np.uint8).copy())


@njit(**CACHED)
def _gutenberg(out, start, at):  # type: ignore[no-untyped-def]
    """Whether what was written last is the mark of Project Gutenberg's frame."""
    first = at - len(_MARK)
    if first < start:
        return False
    k = 0
    while k < len(_MARK) and out[first + k] == _MARK[k]:
        k += 1
    return k == len(_MARK)


@njit(**CACHED)
def _odd_edges(out, start, at):  # type: ignore[no-untyped-def]
    """Whether a text begins or ends with a character beyond ASCII that no edge may have: U+00A0, 200B-200D, 2060."""
    if at - start >= 2 and (_blank_edge(out, start, at) or (out[at - 2] == 0xC2 and out[at - 1] == 0xA0)):
        return True
    return at - start >= 3 and out[at - 3] == 0xE2 and _blank_edge(out, at - 3, at)


@njit(**CACHED)
def _blank_edge(out, i, at):  # type: ignore[no-untyped-def]
    if out[i] == 0xC2:
        return out[i + 1] == 0xA0
    if out[i] != 0xE2 or i + 2 >= at:
        return False
    if out[i + 1] == 0x80:
        return 0x8B <= out[i + 2] <= 0x8D
    return out[i + 1] == 0x81 and out[i + 2] == 0xA0


def tables(form: str, repair_mojibake: bool, strip_gutenberg: bool) -> tuple[Bytes, Bytes, Bytes]:
    """The three tables that `tidy` works by."""
    return byte_table(strip_gutenberg), character_table(form), mojibake_table(repair_mojibake)
