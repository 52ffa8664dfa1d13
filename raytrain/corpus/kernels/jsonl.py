"""Where the wanted fields of JSON lines stand, found without making an object of any line.

No parser: it knows the lines that are beyond doubt and leaves every other to Python's `json`. The invariant: of a
line that is called GOOD, Python's parser would give the same values; what it would refuse is never GOOD.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raytrain.corpus.kernels.characters import CACHED, ONE

BLANK, GOOD, ODD = 0, 1, 2  # what a line is
ABSENT, PLAIN, ESCAPED, INTEGER = 0, 1, 2, 3  # how a wanted field is written; anything but text and integers is ABSENT
DEEPEST = 64  # brackets in brackets; more is ODD
LONGEST_NUMBER = 4000  # digits; Python refuses integers of more than 4300

# What a byte means inside a string: 0 goes on, 1 ends it, 2 escapes, 3 begins a longer character, 4 may not stand.
_IN_STRING = np.zeros(256, np.uint8)
_IN_STRING[:32] = 4
_IN_STRING[34] = 1
_IN_STRING[92] = 2
_IN_STRING[128:] = 3


@njit(**CACHED)
def scan(data, starts, ends, names, name_offsets):  # type: ignore[no-untyped-def]
    """(kinds [lines], marks [fields, lines], spans [fields, lines, 2]) of lines data[starts[i]:ends[i]].

    `names` holds the wanted field names' UTF-8 end to end. A span is the value's bytes, a string's without quotes.
    """
    lines, fields = len(starts), len(name_offsets) - 1
    kinds = np.zeros(lines, np.uint8)
    marks = np.zeros((fields, lines), np.uint8)
    spans = np.zeros((fields, lines, 2), np.int64)
    for line in range(lines):
        kinds[line] = _line(data, starts[line], ends[line], names, name_offsets, marks, spans, line)
    return kinds, marks, spans


@njit(**CACHED)
def gather(data, marks, spans):  # type: ignore[no-untyped-def]
    """(bytes, offsets [rows + 1]) of one field's values, unescaped, end to end; an ABSENT one has no bytes."""
    offsets = np.zeros(len(marks) + 1, np.int64)
    size = 0
    for row in range(len(marks)):
        if marks[row] != ABSENT:
            size += spans[row, 1] - spans[row, 0]
    out = np.empty(size, np.uint8)
    at = 0
    for row in range(len(marks)):
        if marks[row] == ESCAPED:
            at = _unescape(data, spans[row, 0], spans[row, 1], out, at)
        elif marks[row] != ABSENT:
            size = spans[row, 1] - spans[row, 0]
            out[at : at + size] = data[spans[row, 0] : spans[row, 1]]
            at += size
        offsets[row + 1] = at
    return out[:at], offsets


@njit(**CACHED)
def _line(data, i, end, names, name_offsets, marks, spans, line):  # type: ignore[no-untyped-def]
    i = _skip(data, i, end)
    if i == end:
        return BLANK
    if data[i] != 123:  # {
        return ODD
    i = _skip(data, i + 1, end)
    if i < end and data[i] == 125:
        return ODD  # an object of nothing: Python's parser says what is missing
    while True:
        if i >= end or data[i] != 34:
            return ODD
        name = i + 1
        i, plain = _string(data, name, end)
        if i < 0 or not plain:  # an escaped name may be any name
            return ODD
        field = _wanted(data, name, i, names, name_offsets)
        i = _skip(data, i + 1, end)
        if i >= end or data[i] != 58:  # :
            return ODD
        i = _skip(data, i + 1, end)
        if i >= end:
            return ODD
        begin, mark = i, ABSENT
        if data[i] == 34:
            begin = i + 1
            close, plain = _string(data, begin, end)
            if close < 0:
                return ODD
            i, mark = close + 1, PLAIN if plain else ESCAPED
            close = i - 1
        else:
            i, integer = _value(data, i, end)
            if i < 0 or (field >= 0 and integer < 0):
                return ODD
            close, mark = i, INTEGER if integer > 0 else ABSENT
        if field >= 0:  # a name that stands twice: the last one counts, as in Python
            marks[field, line] = mark
            spans[field, line, 0] = begin
            spans[field, line, 1] = close
        i = _skip(data, i, end)
        if i >= end:
            return ODD
        if data[i] == 125:
            return GOOD if _skip(data, i + 1, end) == end else ODD
        if data[i] != 44:  # ,
            return ODD
        i = _skip(data, i + 1, end)


@njit(**CACHED)
def _skip(data, i, end):  # type: ignore[no-untyped-def]
    while i < end and (data[i] == 32 or data[i] == 9 or data[i] == 13 or data[i] == 10):
        i += 1
    return i


@njit(**CACHED)
def _wanted(data, start, end, names, name_offsets):  # type: ignore[no-untyped-def]
    """The number of the wanted field that a name is, or -1."""
    for field in range(len(name_offsets) - 1):
        first = name_offsets[field]
        if name_offsets[field + 1] - first == end - start:
            same = True
            for k in range(end - start):
                if data[start + k] != names[first + k]:
                    same = False
                    break
            if same:
                return field
    return -1


@njit(**CACHED)
def _string(data, i, end):  # type: ignore[no-untyped-def]
    """(place of the closing quote of a string whose content begins at i, whether it holds no escape); -1 if odd."""
    plain = True
    while True:
        at, stop = np.uint64(i), np.uint64(end)
        while at < stop and _IN_STRING[data[at]] == 0:
            at += ONE
        i = np.int64(at)
        if i == end:
            return -1, False
        kind = _IN_STRING[data[i]]
        if kind == 1:
            return i, plain
        if kind == 4:
            return -1, False
        size = _character(data, i, end) if kind == 3 else _escape(data, i, end)
        if size == 0:
            return -1, False
        plain = plain and kind == 3
        i += size


@njit(**CACHED)
def _character(data, i, end):  # type: ignore[no-untyped-def]
    """The length of the character of two to four bytes at i; 0 where it is not valid UTF-8."""
    c = data[i]
    if c < 0xC2 or c > 0xF4:
        return 0
    size = 2 if c < 0xE0 else 3 if c < 0xF0 else 4
    if i + size > end:
        return 0
    for k in range(1, size):
        if data[i + k] & 0xC0 != 0x80:
            return 0
    d = data[i + 1]
    if (c == 0xE0 and d < 0xA0) or (c == 0xED and d > 0x9F) or (c == 0xF0 and d < 0x90) or (c == 0xF4 and d > 0x8F):
        return 0  # written too long, half a surrogate pair, beyond Unicode
    return size


@njit(**CACHED)
def _escape(data, i, end):  # type: ignore[no-untyped-def]
    """The length of the escape at i, of both where two make a surrogate pair; 0 where it is none, or half a pair."""
    if i + 1 >= end:
        return 0
    c = data[i + 1]
    if c != 117:  # u
        simple = c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116
        return 2 if simple else 0
    value = _hex(data, i + 2, end)
    if value < 0 or 0xDC00 <= value <= 0xDFFF:
        return 0
    if value < 0xD800 or value > 0xDBFF:
        return 6
    if i + 7 < end and data[i + 6] == 92 and data[i + 7] == 117 and 0xDC00 <= _hex(data, i + 8, end) <= 0xDFFF:
        return 12
    return 0


@njit(**CACHED)
def _hex(data, i, end):  # type: ignore[no-untyped-def]
    if i + 4 > end:
        return -1
    value = np.int64(0)
    for k in range(4):
        c = np.int64(data[i + k])
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= c <= 102 or 65 <= c <= 70:
            c = (c | 32) - 87
        else:
            return -1
        value = value << 4 | c
    return value


@njit(**CACHED)
def _value(data, i, end):  # type: ignore[no-untyped-def]
    """(end of a value that is no string, what it is); the end is -1 if odd.

    1 is an integer, -1 a number that Python would write in another way (fractions, exponents, minus zero), 0 anything
    else, which counts as absent.
    """
    c = data[i]
    if c == 45 or 48 <= c <= 57:
        return _number(data, i, end)
    if c == 123 or c == 91:
        return _nested(data, i, end), 0
    return _word(data, i, end), 0


@njit(**CACHED)
def _word(data, i, end):  # type: ignore[no-untyped-def]
    """The end of null, true or false; -1 for anything else."""
    if i + 4 <= end and data[i] == 110 and data[i + 1] == 117 and data[i + 2] == 108 and data[i + 3] == 108:
        return i + 4
    if i + 4 <= end and data[i] == 116 and data[i + 1] == 114 and data[i + 2] == 117 and data[i + 3] == 101:
        return i + 4
    if i + 5 <= end and data[i] == 102 and data[i + 1] == 97 and data[i + 2] == 108 and data[i + 3] == 115:
        return i + 5 if data[i + 4] == 101 else -1
    return -1


@njit(**CACHED)
def _number(data, i, end):  # type: ignore[no-untyped-def]
    start, kind = i, 1
    if data[i] == 45:
        i += 1
    first = i
    i = _digits(data, i, end)
    if i == first or (data[first] == 48 and i > first + 1):
        return -1, 0
    if first > start and data[first] == 48:
        kind = -1
    if i < end and data[i] == 46:
        first, kind = i + 1, -1
        i = _digits(data, first, end)
        if i == first:
            return -1, 0
    if i < end and (data[i] == 101 or data[i] == 69):
        i, kind = i + 1, -1
        if i < end and (data[i] == 43 or data[i] == 45):
            i += 1
        first = i
        i = _digits(data, first, end)
        if i == first:
            return -1, 0
    return (i, kind) if i - start <= LONGEST_NUMBER else (-1, 0)


@njit(**CACHED)
def _digits(data, i, end):  # type: ignore[no-untyped-def]
    while i < end and 48 <= data[i] <= 57:
        i += 1
    return i


@njit(**CACHED)
def _nested(data, i, end):  # type: ignore[no-untyped-def]
    """The end of an object or array with all that is in it; -1 if odd. `open` remembers which bracket is which."""
    brackets = np.uint64(0)  # one bit a level: 1 for an object
    depth = 0
    while True:  # a value is due at i
        c = data[i]
        closed = False
        if c == 123 or c == 91:
            if depth == DEEPEST:
                return -1
            brackets = brackets << np.uint64(1) | np.uint64(c == 123)
            depth += 1
            i = _skip(data, i + 1, end)
            if i >= end:
                return -1
            closed = data[i] == c + 2
            if not closed and c == 91:
                continue
        elif c == 34:
            i, _ = _string(data, i + 1, end)
            if i < 0:
                return -1
            i += 1
        elif c == 45 or 48 <= c <= 57:
            i, _ = _number(data, i, end)
        else:
            i = _word(data, i, end)
        if i < 0:
            return -1
        fresh = (c == 123) and not closed  # an object was opened: its first name is due
        while not fresh:  # close what ends here; then a comma, or the whole is done
            i = _skip(data, i, end)
            if i >= end:
                return -1
            if data[i] == (125 if brackets & np.uint64(1) else 93):
                brackets >>= np.uint64(1)
                depth -= 1
                i += 1
                if depth == 0:
                    return i
            elif data[i] == 44:
                i = _skip(data, i + 1, end)
                break
            else:
                return -1
        if brackets & np.uint64(1):
            if i >= end or data[i] != 34:
                return -1
            i, _ = _string(data, i + 1, end)
            if i < 0:
                return -1
            i = _skip(data, i + 1, end)
            if i >= end or data[i] != 58:
                return -1
            i = _skip(data, i + 1, end)
        if i >= end:
            return -1


@njit(**CACHED)
def _unescape(data, i, end, out, at):  # type: ignore[no-untyped-def]
    """Writes a string's characters to out[at:]; returns where they end."""
    while True:
        read, stop, write = np.uint64(i), np.uint64(end), np.uint64(at)
        while read < stop and data[read] != 92:
            out[write] = data[read]
            write += ONE
            read += ONE
        i, at = np.int64(read), np.int64(write)
        if i == end:
            return at
        c = data[i + 1]
        i += 2
        if c == 117:
            value = _hex(data, i, end)
            i += 4
            if 0xD800 <= value <= 0xDBFF:
                value = 0x10000 + ((value - 0xD800) << 10) + _hex(data, i + 2, end) - 0xDC00
                i += 6
            at = _encode(value, out, at)
            continue
        if c == 110:
            c = 10
        elif c == 116:
            c = 9
        elif c == 114:
            c = 13
        elif c == 98:
            c = 8
        elif c == 102:
            c = 12
        out[at] = c
        at += 1


@njit(**CACHED)
def _encode(value, out, at):  # type: ignore[no-untyped-def]
    if value < 0x80:
        out[at] = value
        return at + 1
    if value < 0x800:
        out[at] = 0xC0 | value >> 6
        out[at + 1] = 0x80 | value & 63
        return at + 2
    if value < 0x10000:
        out[at] = 0xE0 | value >> 12
        out[at + 1] = 0x80 | value >> 6 & 63
        out[at + 2] = 0x80 | value & 63
        return at + 3
    out[at] = 0xF0 | value >> 18
    out[at + 1] = 0x80 | value >> 12 & 63
    out[at + 2] = 0x80 | value >> 6 & 63
    out[at + 3] = 0x80 | value & 63
    return at + 4
