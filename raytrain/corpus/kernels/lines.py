"""The statistics of characters, lines and paragraphs: one walk over a text that stops only where something happens.

Part of the text kernel (text_stats.py); what each number means is written in columns.py. Most bytes are letters in
the middle of an ASCII word: their walk is one load and one addition of packed counters. The invariant: one walk over
the bytes, and no memory but the caller's table.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import (
    BULLET,
    CACHED,
    CLOSES,
    LETTER,
    LINE_END,
    NUMBER,
    SENTENCE,
    SENTENCE_ALONE,
    SPACE,
    UPPER,
    before,
    classes,
    count_characters,
    decode,
    hash_bytes,
    mix,
)
from raytrain.corpus.kernels.columns import (
    COLUMNS,
    COUNTERS,
    FEW_WORDS,
    JAVASCRIPT,
    LONG_LINE,
    LONGEST_WORD,
    LOREM_IPSUM,
    POLICY,
    SHORT_LINE,
    WIDGET_LINE,
    WIDGETS,
)

_HASHES, _ELLIPSES = COLUMNS.index("hash_ratio"), COLUMNS.index("ellipsis_ratio")
_CHARACTERS, _LINES, _PARAGRAPHS = (COLUMNS.index(name) for name in ("characters", "lines", "paragraphs"))
_BULLETS, _ELLIPSIS_LINES = COLUMNS.index("bullet_line_ratio"), COLUMNS.index("ellipsis_line_ratio")
_TERMINAL, _SHORT, _LONG = (COLUMNS.index(f) for f in ("terminal_punct_ratio", "short_line_ratio", "long_lines"))
_FEW_WORDS, _CUT = COLUMNS.index("few_words_line_ratio"), COLUMNS.index("cut_word_ratio")
_JAVASCRIPT, _POLICY = COLUMNS.index("javascript_line_ratio"), COLUMNS.index("policy_line_ratio")
_DUP_LINES, _DUP_PARAGRAPHS = COLUMNS.index("dup_line_ratio"), COLUMNS.index("dup_paragraph_ratio")
_NEWLINES, _SENTENCES, _C4 = (COLUMNS.index(name) for name in ("newline_ratio", "sentences", "c4_sentences"))
_LOREM, _CURLY = COLUMNS.index("lorem_ipsum"), COLUMNS.index("curly_brackets")
_NON_ALNUM, _DIGITS, _UPPER = (
    COLUMNS.index(name) for name in ("non_alphanumeric_ratio", "digit_ratio", "uppercase_ratio")
)
_BLANKS, _BRACKETS, _URLS = (COLUMNS.index(name) for name in ("blank_ratio", "bracket_ratio", "url_ratio"))

# Counters packed in one number by byte: letters and digits, digits, capitals; and a bit for bytes to stop at.
_FIELD = (1 << 20) - 1
_DIGIT_SHIFT, _UPPER_SHIFT = 20, 40
_STOP = np.uint64(1 << 63)
_BLOCK = 1 << 19  # bytes between two emptyings of the counters, fewer than a field holds
_STOPS = " \n.!?#{}()[]\"'/"
_PARAGRAPH_MARK = np.uint64(0x5BF03635)  # a paragraph of one line is not that line
_RARE = "vkfp"  # every phrase is looked for by the rarest of these that it holds


@cache
def packed_counters() -> NDArray[np.uint64]:
    """[256]: what a byte adds to the counters; bytes of other scripts and marks that mean something stop the walk."""
    held = np.zeros(256, np.uint64)
    triggers = {phrase[at] for phrase, at in _triggers()}
    for byte in range(256):
        c = chr(byte)
        if byte >= 0xC0 or c in _STOPS or (byte < 0x80 and (c.isspace() or c.lower() in triggers)):
            held[byte] = _STOP
        elif byte < 0x80 and c.isalnum():
            held[byte] = 1 | int(c.isdigit()) << _DIGIT_SHIFT | int(c.isupper()) << _UPPER_SHIFT
    return frozen(held)


@cache
def packed_phrases() -> tuple[Bytes, Offsets, Offsets]:
    """The phrases that are looked for, end to end, where each begins, and which of its letters gives it away."""
    phrases = [phrase for phrase, _ in _triggers()]
    offsets = np.cumsum([0] + [len(phrase) for phrase in phrases]).astype(np.int64)
    found = np.array([at for _, at in _triggers()], np.int64)
    return frozen(np.frombuffer("".join(phrases).encode(), np.uint8)), frozen(offsets), frozen(found)


def _triggers() -> list[tuple[str, int]]:
    """Each phrase with the place of the letter by which it is looked for: lorem ipsum, javascript, the policies."""
    rarest = {phrase: min(phrase, key=f"{_RARE}{phrase}".index) for phrase in (LOREM_IPSUM, JAVASCRIPT, *POLICY)}
    return [(phrase, phrase.index(letter)) for phrase, letter in rarest.items()]


@cache
def packed_line_ends() -> tuple[Bytes, Offsets, NDArray[np.uint64]]:
    """What RefinedWeb's corrections look for: widgets at a line's ends, and hashes of the words of counters, sorted."""
    offsets = np.cumsum([0] + [len(widget) for widget in WIDGETS]).astype(np.int64)
    words = [np.frombuffer(word.encode(), np.uint8) for word in COUNTERS.split()]
    hashes = np.sort(np.array([hash_bytes(frozen(word), 0, len(word)) for word in words], np.uint64))
    return frozen(np.frombuffer("".join(WIDGETS).encode(), np.uint8)), frozen(offsets), frozen(hashes)


@njit(**CACHED)
def line_columns(data, start, end, tables, seen, row):  # type: ignore[no-untyped-def]
    """Adds up the columns of characters, lines and paragraphs for one text.

    `tables` is `line_tables()`; `seen` is scratch, a power of two of at least its bytes.
    """
    kinds, counters, phrases = tables[0], tables[1], tables[2]
    size = _table_size(data, start, end, seen.shape[0])
    seen[:size] = 0
    mask = np.uint64(size - 1)
    paragraph, paragraph_length = np.uint64(0), 0
    words_of_all, cut_words = 0, 0
    i = start
    while i < end:
        first, last = -1, -1  # of the line without the blanks around it
        words, word_at, overlong, address = 0, -1, False, False  # word_at: where the word begins that i is in
        points, state, ended, open_text = 0, 0, 0, False
        javascript, policy = False, False
        alphanumeric, digits, capitals, blanks = 0, 0, 0, 0
        while i < end:
            # The run of bytes at which nothing happens but counting.
            run, stop, packed, what = i, min(end, i + _BLOCK), np.uint64(0), np.uint64(0)
            while i < stop:
                what = counters[data[i]]
                if what & _STOP:
                    break
                packed += what
                i += 1
            if i > run:
                if word_at < 0:
                    word_at = run
                    words += 1
                    if first < 0:
                        first = run
                last, points, state, open_text = i, 0, 0, True
                alphanumeric += np.int64(packed & np.uint64(_FIELD))
                digits += np.int64(packed >> np.uint64(_DIGIT_SHIFT) & np.uint64(_FIELD))
                capitals += np.int64(packed >> np.uint64(_UPPER_SHIFT) & np.uint64(_FIELD))
            if i >= end:
                break
            if not what & _STOP:
                continue
            c, width = decode(data, i)
            if c == 10:
                break
            kind = kinds[c]
            if kind & SPACE:
                blanks += 1
                if word_at >= 0:
                    overlong |= _is_overlong(data, word_at, i)
                    if address:
                        row[_URLS] += count_characters(data, word_at, i)
                    word_at, address = -1, False
                if state:
                    if state < 3:
                        row[_SENTENCES] += 1
                        ended += 1
                        open_text = False
                    state = 0
                points = 0
                i += width
                continue
            if word_at < 0:
                word_at = i
                words += 1
                if first < 0:
                    first = i
            last = i + width
            if kind & (LETTER | NUMBER):
                alphanumeric += 1
                digits += kind & NUMBER != 0
                capitals += kind & UPPER != 0
                if c < 0x80:
                    found = _phrase_at(data, i, first, end, phrases)
                    if found == 0:
                        row[_LOREM] = 1
                    elif found == 1:
                        javascript = True
                    elif found > 1:
                        policy = True
            elif c == 35:
                row[_HASHES] += 1
            elif c == 123:
                row[_CURLY] += 1
            elif c == 40 or c == 41:
                row[_BRACKETS] += 1
            elif c == 47:
                address |= i > word_at and data[i - 1] == 58 and i + 1 < end and data[i + 1] == 47
            elif c == 46 and i - word_at == 3:
                address |= data[word_at] == 119 and data[word_at + 1] == 119 and data[word_at + 2] == 119
            points = points + 1 if c == 46 else 0
            if points == 3 or c == 0x2026:
                row[_ELLIPSES] += 1
                points = 0
            if kind & SENTENCE_ALONE:
                if state != 3:
                    row[_SENTENCES] += 1
                    ended += 1
                    open_text = False
                state = 3
            else:
                if kind & SENTENCE:
                    state = 1
                elif not ((state == 1 or state == 2) and kind & CLOSES):
                    state = 0
                else:
                    state = 2
                open_text = True
            i += width
        if state == 1 or state == 2:
            row[_SENTENCES] += 1
            ended += 1
            open_text = False
        if word_at >= 0:
            overlong |= _is_overlong(data, word_at, i)
            if address:
                row[_URLS] += count_characters(data, word_at, i)
        if i < end:  # a line end, which is a blank too
            row[_NEWLINES] += 1
            blanks += 1
            i += 1
        row[_BLANKS] += blanks
        row[_NON_ALNUM] -= alphanumeric + blanks  # the characters are added below
        row[_DIGITS] += digits
        row[_UPPER] += capitals
        if first < 0:
            _count_duplicate(seen, mask, paragraph, paragraph_length, row, _PARAGRAPHS, _DUP_PARAGRAPHS)
            paragraph, paragraph_length = np.uint64(0), 0
            continue
        length = count_characters(data, first, last)
        line = hash_bytes(data, first, last)
        _count_duplicate(seen, mask, line, length, row, _LINES, _DUP_LINES)
        paragraph = mix(paragraph ^ _PARAGRAPH_MARK, line)
        paragraph_length += length + (paragraph_length > 0)
        words_of_all += words
        cut_words += _cut_words(data, first, last, words, length, digits, capitals, kinds, tables[3])
        row[_JAVASCRIPT] += javascript
        row[_POLICY] += policy
        row[_FEW_WORDS] += words < FEW_WORDS
        if words >= FEW_WORDS and not javascript and not policy and not overlong:
            row[_C4] += ended + open_text
        row[_SHORT] += length <= SHORT_LINE
        row[_LONG] += length >= LONG_LINE
        _line_ends(data, first, last, kinds, row)
    _count_duplicate(seen, mask, paragraph, paragraph_length, row, _PARAGRAPHS, _DUP_PARAGRAPHS)
    characters = count_characters(data, start, end)
    row[_CHARACTERS] = characters
    row[_NON_ALNUM] += characters
    row[_CUT] = cut_words / max(words_of_all, 1)


@njit(**CACHED)
def _table_size(data, start, end, most):  # type: ignore[no-untyped-def]
    """A power of two with room for the lines and paragraphs of a text; never more than `most`.

    A text of n bytes has at most n / 2 + 1 lines that hold anything, so that a table of n places is never full.
    """
    lines = np.int64(1)
    for i in range(start, end):
        lines += data[i] == 10
    size = 16
    while size < 4 * lines:
        size *= 2
    return min(size, most)


@njit(**CACHED)
def _is_overlong(data, start, end):  # type: ignore[no-untyped-def]
    return end - start > LONGEST_WORD and count_characters(data, start, end) > LONGEST_WORD


@njit(**CACHED)
def _line_ends(data, first, last, kinds, row):  # type: ignore[no-untyped-def]
    """How a line begins and ends: bullets, ellipses, terminal punctuation."""
    head, _ = decode(data, first)
    at = before(data, last)
    tail, _ = decode(data, at)
    row[_BULLETS] += kinds[head] & BULLET != 0
    row[_TERMINAL] += kinds[tail] & LINE_END != 0
    points = tail == 46 and last - first >= 3 and data[last - 2] == 46 and data[last - 3] == 46
    row[_ELLIPSIS_LINES] += points or tail == 0x2026


@njit(**CACHED)
def _cut_words(data, first, last, words, length, digits, capitals, kinds, ends):  # type: ignore[no-untyped-def]
    """The words of a line that RefinedWeb's line-wise corrections cut: all of a bad line, else the widget in it."""
    if words < 2 or 2 * capitals > length or digits == length:
        return words
    widgets, offsets, counters = ends
    head, _ = decode(data, first)
    if words == 2 and kinds[head] & NUMBER and _ends_in_counter(data, first, last, counters):
        return words
    if words > WIDGET_LINE:
        return 0
    while last > first and data[last - 1] == 46:  # Read more...
        last -= 1
    for w in range(offsets.shape[0] - 1):
        size = offsets[w + 1] - offsets[w]
        if size > last - first:
            continue
        at = first if w == offsets.shape[0] - 2 else last - size  # the last, sign-in, begins a line
        k = 0
        while k < size and _lower(data[at + k]) == widgets[offsets[w] + k]:
            k += 1
        if k == size:
            return 3 - w  # items in cart, read more, sign-in
    return 0


@njit(**CACHED)
def _ends_in_counter(data, first, last, counters):  # type: ignore[no-untyped-def]
    """Whether a line's last word is one of those that follow a number: 3 likes."""
    at = last
    while at > first and data[at - 1] != 32:
        at -= 1
    key = hash_bytes(data, at, last)
    place = np.searchsorted(counters, key)
    return place < counters.shape[0] and counters[place] == key


@njit(**CACHED)
def _count_duplicate(seen, mask, key, length, row, total, repeats):  # type: ignore[no-untyped-def]
    """Counts a line or paragraph in column `total`; one that was seen before in `repeats` and the next."""
    if length == 0:
        return
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
def _phrase_at(data, i, first, end, tables):  # type: ignore[no-untyped-def]
    """Which phrase has the letter that gives it away at byte i, in any case; -1 for none."""
    phrases, offsets, places = tables
    for p in range(places.shape[0]):
        a, b = offsets[p], offsets[p + 1]
        at = i - places[p]
        if (data[i] | 32) != phrases[a + places[p]] or at < first or at + b - a > end:
            continue
        k = 0
        while k < b - a and _lower(data[at + k]) == phrases[a + k]:
            k += 1
        if k == b - a:
            return p
    return -1


@cache
def line_tables() -> tuple[Any, ...]:
    """What line_columns looks things up in: classes, counters by byte, phrases, line ends."""
    return classes(), packed_counters(), packed_phrases(), packed_line_ends()
