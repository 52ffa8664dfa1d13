"""Where words begin and end: the splitters that thresholds hang on, exchangeable because kernels take spans.

`whitespace` is str.split. `unicode` takes runs of letters, marks and digits, joined by an apostrophe between letters
or a point or comma between digits, and each character of a script without spaces for itself; punctuation is no word.
`datatrove` comes near the English tokens of spaCy that datatrove counts: punctuation is cut off word by word and
counts as words of its own. The invariant: spans rise, do not overlap, hold no blank and lie on characters.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raytrain.corpus.kernels.characters import (
    AFFIX,
    CACHED,
    LETTER,
    MARK,
    NUMBER,
    SPACE,
    UNSPACED,
    UPPER,
    before,
    decode,
)
from raytrain.corpus.kernels.columns import SPLITTERS

WHITESPACE, UNICODE, DATATROVE = range(len(SPLITTERS))
_WORD = LETTER | NUMBER | MARK


@njit(**CACHED)
def split(data, start, end, splitter, classes, starts, ends):  # type: ignore[no-untyped-def]
    """Fills where each word of a text starts and ends, in bytes from `start`; returns how many words there are."""
    if splitter == UNICODE:
        return _split_unicode(data, start, end, classes, starts, ends)
    n = 0
    i = start
    while i < end:
        begin = i
        width = 1
        while i < end:
            c = np.int64(data[np.uint64(i)])  # unsigned: numba need not ask whether it counts from the end
            width = 1
            if c >= 0x80:
                c, width = decode(data, i)
            if classes[c] & SPACE:
                break
            i += width
        if i > begin:
            if splitter == DATATROVE:
                n = _cut(data, start, begin, i, classes, starts, ends, n)
            else:
                n = _add(starts, ends, n, begin - start, i - start)
        i += width
    return n


@njit(**CACHED)
def _add(starts, ends, n, start, end):  # type: ignore[no-untyped-def]
    starts[n] = start
    ends[n] = end
    return n + 1


@njit(**CACHED)
def _split_unicode(data, start, end, classes, starts, ends):  # type: ignore[no-untyped-def]
    n = 0
    i = start
    while i < end:
        c, width = decode(data, i)
        kind = classes[c]
        begin = i
        i += width
        if not kind & _WORD:
            continue
        alone = kind & UNSPACED
        while i < end:
            c, width = decode(data, i)
            following = classes[c]
            if following & _WORD:
                # A vowel sign or accent stays with its letter, whatever the script.
                if not following & MARK and (alone or following & UNSPACED):
                    break
            elif alone or not _joins(data, c, i + width, end, kind, classes):
                break
            if not following & MARK:
                kind = following
            i += width
        n = _add(starts, ends, n, begin - start, i - start)
    return n


@njit(**CACHED)
def _joins(data, c, i, end, kind, classes):  # type: ignore[no-untyped-def]
    """Whether c, of which byte i is behind, holds a word together: don't, 1.5 (UAX 29, rules WB6 to WB12)."""
    if i >= end:
        return False
    following, _ = decode(data, i)
    if c == 39 or c == 0x2019:
        return kind & LETTER and classes[following] & LETTER and not classes[following] & UNSPACED
    return (c == 46 or c == 44) and kind & NUMBER and classes[following] & NUMBER


@njit(**CACHED)
def _cut(data, start, a, b, classes, starts, ends, n):  # type: ignore[no-untyped-def]
    """Adds the tokens of the word between blanks that stands at a to b."""
    while a < b:
        width = _prefix(data, a, b, classes)
        if not width:
            break
        n = _add(starts, ends, n, a - start, a + width - start)
        a += width
    end, cuts = b, 0
    top = starts.shape[0] - 1  # the end of the arrays keeps the suffixes, last one first
    while a < end:
        width = _suffix(data, a, end, classes)
        if not width or width == end - a:
            break
        starts[top - cuts], ends[top - cuts] = end - width - start, end - start
        cuts += 1
        end -= width
    n = _add_core(data, start, a, end, classes, starts, ends, n)
    while cuts:
        cuts -= 1
        n = _add(starts, ends, n, starts[top - cuts], ends[top - cuts])
    return n


@njit(**CACHED)
def _prefix(data, a, b, classes):  # type: ignore[no-untyped-def]
    """Bytes of the punctuation that a word begins with and loses; 0 for none."""
    c, width = decode(data, a)
    if c == 46:
        dots = 1
        while a + dots < b and data[a + dots] == 46:
            dots += 1
        return dots if dots > 1 else 0
    if classes[c] & AFFIX or c == 37 or c == 61:
        return width
    if c == 43:
        return 0 if a + 1 < b and 48 <= data[a + 1] <= 57 else 1
    return 0


@njit(**CACHED)
def _suffix(data, a, b, classes):  # type: ignore[no-untyped-def]
    """Bytes of what a word from a to b ends with and loses: punctuation, a full stop, 's, n't and the like."""
    p = before(data, b)
    c, width = decode(data, p)
    if c == 46:
        return _full_stop(data, a, p, classes)
    if p == a:
        return 0
    if c == 43 or c == 37:
        return width if 48 <= data[p - 1] <= 57 else 0
    if classes[c] & AFFIX:
        return width
    if not classes[c] & LETTER:
        return 0
    # 's anywhere; 't after n, 'm 'd 'll 're 've: the clitics of English, with either apostrophe.
    for letters in range(1, 3):
        if b - a > letters + 1:
            mark = before(data, b - letters)
            apostrophe, _ = decode(data, mark) if data[b - letters] & 0xC0 != 0x80 else (0, 0)
            if (apostrophe == 39 or apostrophe == 0x2019) and mark > a:
                first, last = data[b - letters] | 32, data[b - 1] | 32
                if letters == 1 and first == 116 and data[mark - 1] | 32 == 110:  # n't
                    return b - mark + 1
                if letters == 1 and (first == 115 or first == 109 or first == 100):
                    return b - mark
                if letters == 2 and (
                    (first == 108 and last == 108) or (last == 101 and (first == 114 or first == 118))
                ):
                    return b - mark
    return 0


@njit(**CACHED)
def _full_stop(data, a, p, classes):  # type: ignore[no-untyped-def]
    """How many points from p back a word loses: all of an ellipsis; one, unless it abbreviates (e.g. U.S.)."""
    dots = 1
    while p - dots >= a and data[p - dots] == 46:
        dots += 1
    if dots > 1:
        return dots
    if p == a:
        return 0
    q = before(data, p)
    c, _ = decode(data, q)
    kind = classes[c]
    if kind & LETTER and q > a and data[q - 1] == 46:
        return 0
    if kind & UPPER:
        if q == a:
            return 0
        c, _ = decode(data, before(data, q))
        return 1 if classes[c] & UPPER else 0
    return 1 if kind & (LETTER | NUMBER | AFFIX) or c == 37 or c == 43 or c == 45 else 0


@njit(**CACHED)
def _add_core(data, start, a, b, classes, starts, ends, n):  # type: ignore[no-untyped-def]
    """Adds what is left of a word, cut where punctuation stands between letters; an address stays whole."""
    if a >= b:
        return n
    for i in range(a, b - 2):
        if data[i] == 64 or (data[i] == 58 and data[i + 1] == 47 and data[i + 2] == 47):
            return _add(starts, ends, n, a - start, b - start)
    begin, i, left = a, a, np.int64(0)
    while i < b:
        c, width = decode(data, i)
        kind = np.int64(classes[c])
        if not kind & _WORD and i > begin and i + width < b:
            right, _ = decode(data, i + width)
            cut = _infix(data, c, i, b, left, np.int64(classes[right]), right)
            if cut:
                n = _add(starts, ends, n, begin - start, i - start)
                n = _add(starts, ends, n, i - start, i + cut - start)
                i += cut
                begin, left = i, np.int64(0)
                continue
        left = kind
        i += width
    if i > begin:
        n = _add(starts, ends, n, begin - start, i - start)
    return n


@njit(**CACHED)
def _infix(data, c, i, b, left, right, following):  # type: ignore[no-untyped-def]
    """Bytes of the punctuation c at i that parts a word, given the classes of its neighbours; 0 if it does not."""
    if c == 0x2026:
        return 3
    if c == 46 and following == 46:
        dots = 2
        while i + dots < b and data[i + dots] == 46:
            dots += 1
        return dots
    if c == 46:
        return 1 if left & LETTER and not left & UPPER and right & UPPER else 0
    if c == 44:
        return 1 if left & LETTER and right & LETTER else 0
    if c == 45 and following == 45:
        hyphens = 2
        while hyphens < 3 and i + hyphens < b and data[i + hyphens] == 45:
            hyphens += 1
        if i + hyphens < b and left & (LETTER | NUMBER):
            after, _ = decode(data, i + hyphens)
            return hyphens if after | 32 >= 65 else 0
        return 0
    if c == 45 or c == 126:
        if left & (LETTER | NUMBER) and right & LETTER:
            return 1
        return 1 if c == 45 and left & NUMBER and right & NUMBER else 0
    if c == 0x2013 or c == 0x2014:
        return 3 if left & (LETTER | NUMBER) and right & LETTER else 0
    if c == 58 or c == 60 or c == 61 or c == 62 or c == 47:
        return 1 if left & (LETTER | NUMBER) and right & LETTER else 0
    if c == 43 or c == 42 or c == 94:
        return 1 if left & NUMBER and right & NUMBER else 0
    return 0
