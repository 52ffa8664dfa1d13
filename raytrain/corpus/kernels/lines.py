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
    FULL_STOP,
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
_LOREM, _CURLY, _C4_CURLIES = (COLUMNS.index(f) for f in ("lorem_ipsum", "curly_brackets", "c4_curly_brackets"))
_STOP_LINES, _DUP_TEXT = COLUMNS.index("full_stop_line_ratio"), COLUMNS.index("dup_line_text_ratio")
_NON_ALNUM, _DIGITS, _UPPER = (
    COLUMNS.index(name) for name in ("non_alphanumeric_ratio", "digit_ratio", "uppercase_ratio")
)
_BLANKS, _BRACKETS, _URLS = (COLUMNS.index(name) for name in ("blank_ratio", "bracket_ratio", "url_ratio"))

# Counters packed in one number by byte: letters and digits, digits, capitals.
_FIELD = (1 << 20) - 1
_DIGIT_SHIFT, _UPPER_SHIFT = 20, 40
_BLOCK = 1 << 19  # bytes between two emptyings of the counters, fewer than a field holds
_STOPS = ".!?#{}()[]\"'/"
_PARAGRAPH_MARK = np.uint64(0x5BF03635)  # a paragraph of one line is not that line
_RARE, _BEFORE = "vkfp", "aio"  # every phrase holds one of the former behind one of the latter, and is looked for there
# What is noted of a line: its text without blanks around it, its words, its C4 sentences, what C4 drops it for.
_FIRST, _LAST, _WORDS, _ENDED, _OPEN, _OVERLONG, _HAS_JAVASCRIPT, _HAS_POLICY, _CURLIES = range(9)
_BLANKS_IN, _ALNUM_IN, _DIGITS_IN, _CAPITALS_IN, _STOP, _NOTED = range(9, 15)  # _STOP: the stop that comes next


@cache
def packed_counters() -> NDArray[np.uint64]:
    """[256]: what an ASCII byte adds to the counters."""
    ascii_ = [chr(byte) for byte in range(128)]
    held = [c.isalnum() | c.isdigit() << _DIGIT_SHIFT | c.isupper() << _UPPER_SHIFT for c in ascii_]
    return frozen(np.array(held + [0] * 128, np.uint64))


@cache
def stop_bytes() -> NDArray[np.uint8]:
    """[256]: 1 for the bytes at which the walk looks: blanks, marks, letters that give phrases away, other scripts."""
    looked_at = [chr(b) in _STOPS or chr(b).isspace() or chr(b).lower() in _RARE for b in range(128)]
    return frozen(np.array(looked_at + [False] * 64 + [True] * 64, np.uint8))


@cache
def packed_phrases() -> tuple[Bytes, Offsets, Offsets]:
    """The phrases that are looked for, end to end, where each begins, and which of its letters gives it away."""
    phrases = [phrase for phrase, _ in _triggers()]
    offsets = np.cumsum([0] + [len(phrase) for phrase in phrases]).astype(np.int64)
    found = np.array([at for _, at in _triggers()], np.int64)
    return frozen(np.frombuffer("".join(phrases).encode(), np.uint8)), frozen(offsets), frozen(found)


def _triggers() -> list[tuple[str, int]]:
    """Each phrase with the place of the letter by which it is looked for: lorem ipsum, javascript, the policies."""
    phrases = (LOREM_IPSUM, JAVASCRIPT, *POLICY)
    pairs = [first + second for second in _RARE for first in _BEFORE]
    return [(phrase, 1 + next(phrase.index(pair) for pair in pairs if pair in phrase)) for phrase in phrases]


@cache
def packed_line_ends() -> tuple[Bytes, Offsets, NDArray[np.uint64]]:
    """What RefinedWeb's corrections look for: widgets at a line's ends, and hashes of the words of counters, sorted."""
    offsets = np.cumsum([0] + [len(widget) for widget in WIDGETS]).astype(np.int64)
    words = [np.frombuffer(word.encode(), np.uint8) for word in COUNTERS.split()]
    hashes = np.sort(np.array([hash_bytes(frozen(word), 0, len(word)) for word in words], np.uint64))
    return frozen(np.frombuffer("".join(WIDGETS).encode(), np.uint8)), frozen(offsets), frozen(hashes)


@njit(**CACHED)
def line_columns(data, start, end, tables, seen, stops, row):  # type: ignore[no-untyped-def]
    """Adds up the columns of characters, lines and paragraphs for one text.

    `tables` is `line_tables()`; scratch: `seen`, a power of two of at least the text's bytes, and `stops`, one more.
    """
    kinds = tables[0]
    size = _table_size(data, start, end, seen.shape[0])
    seen[:size] = 0
    mask = np.uint64(size - 1)
    paragraph, paragraph_length = np.uint64(0), 0
    words, cut_words = 0, 0
    line = np.zeros(_NOTED, np.int64)
    line[_STOP] = 0
    _find_stops(data, start, end, tables[2], stops)
    i = start
    while i < end:
        behind = _walk_line(data, start, i, end, tables, stops, line, row)
        digits, capitals = _count_kinds(data, i, behind, tables[1], line, row)
        i = behind
        if line[_FIRST] < 0:
            _count_duplicate(seen, mask, paragraph, paragraph_length, row, _PARAGRAPHS, _DUP_PARAGRAPHS)
            paragraph, paragraph_length = np.uint64(0), 0
            continue
        first, last = line[_FIRST], line[_LAST]
        length = count_characters(data, first, last)
        key = hash_bytes(data, first, last)
        _count_duplicate(seen, mask, key, length, row, _LINES, _DUP_LINES)
        paragraph = mix(paragraph ^ _PARAGRAPH_MARK, key)
        paragraph_length += length + (paragraph_length > 0)
        words += line[_WORDS]
        cut_words += _cut_words(data, first, last, line[_WORDS], length, digits, capitals, kinds, tables[4])
        row[_SHORT] += length <= SHORT_LINE
        row[_LONG] += length >= LONG_LINE
        _line_ends(data, first, last, kinds, row)
        _c4_columns(line, row)
    _count_duplicate(seen, mask, paragraph, paragraph_length, row, _PARAGRAPHS, _DUP_PARAGRAPHS)
    characters = count_characters(data, start, end)
    row[_CHARACTERS] = characters
    row[_NON_ALNUM] += characters
    row[_CUT] = cut_words / max(words, 1)
    row[_DUP_TEXT] = row[_DUP_LINES + 1] / max(characters - row[_NEWLINES], 1)


@njit(**CACHED)
def _find_stops(data, start, end, stop_bytes, stops):  # type: ignore[no-untyped-def]
    """Fills the bytes, counted from `start`, at which something happens; last the end. Without a branch: half the
    time of a walk is spent on guessing wrong how long the next run of letters is."""
    m = 0
    for k in range(np.uint64(end - start)):
        stops[np.uint64(m)] = k
        m += stop_bytes[data[np.uint64(start) + k]]
    stops[m] = end - start


@njit(**CACHED)
def _walk_line(data, start, at, end, tables, stops, line, row):  # type: ignore[no-untyped-def]
    """Notes in `line` what stands in the line that begins at byte `at`; returns where the next begins."""
    kinds, phrases = tables[0], tables[3]
    j = line[_STOP]
    line[:] = 0
    first, last, words, blanks = -1, -1, 0, 0
    word_at, address = -1, False  # where the word begins that we are in, and whether it is a link
    points, state, firm = 0, 0, False  # state: 1 in a sentence's end marks, 2 in closing marks behind, 3 in 。！？
    sentences, ended, unfinished = 0, 0, False
    while True:
        i = start + stops[np.uint64(j)]
        if i > at:  # a run of letters and digits, and of marks that mean nothing here
            if word_at < 0:
                word_at = at
                words += 1
            last, points, state, unfinished = i, 0, 0, True
        if i >= end:
            break
        c, width = np.int64(data[np.uint64(i)]), 1
        if c >= 0x80:
            c, width = decode(data, i)
        kind = np.int64(kinds[c])
        j += 1
        at = i + width
        if kind & SPACE:
            if word_at >= 0:
                if first < 0:
                    first = word_at
                if address or i - word_at > LONGEST_WORD:
                    _note_word(data, word_at, i, address, line, row)
                word_at, address = -1, False
            if state == 1 or state == 2:
                sentences += 1
                ended += firm
                unfinished &= not firm
            if c == 10:
                break
            blanks += 1
            points, state = 0, 0
            continue
        if word_at < 0:
            word_at = i
            words += 1
        last = at
        if kind & (LETTER | NUMBER):
            if c >= 0x80:
                line[_ALNUM_IN] += 1
                line[_DIGITS_IN] += kind & NUMBER != 0
                line[_CAPITALS_IN] += kind & UPPER != 0
            elif i > start and (data[i - 1] | 32 == 105 or data[i - 1] | 32 == 111 or data[i - 1] | 32 == 97):
                _note_phrase(data, i, word_at if first < 0 else first, end, phrases, line, row)
            points, state, unfinished = 0, 0, True
            continue
        if c == 35:
            row[_HASHES] += 1
        elif c == 123:
            row[_CURLY] += 1
            line[_CURLIES] += 1
        elif c == 40 or c == 41:
            row[_BRACKETS] += 1
        elif c == 47:  # ://
            address |= i > word_at and data[i - 1] == 58 and i + 1 < end and data[i + 1] == 47
        elif c == 46 and i - word_at == 3:  # www.
            address |= data[i - 1] == 119 and data[i - 2] == 119 and data[i - 3] == 119
        points = points % 3 + 1 if c == 46 else 0
        row[_ELLIPSES] += points == 3 or c == 0x2026
        if kind & SENTENCE_ALONE:
            if state != 3:
                sentences += 1
                ended += 1
                unfinished = False
            state = 3
            continue
        if kind & SENTENCE:
            firm = _is_firm(data, c, i, word_at, kinds)
            state = 1
        else:
            state = 2 if (state == 1 or state == 2) and kind & CLOSES else 0
        unfinished = True
    if i >= end:
        at = end
        if word_at >= 0:
            if first < 0:
                first = word_at
            _note_word(data, word_at, i, address, line, row)
        if state == 1 or state == 2:
            sentences += 1
            ended += firm
            unfinished &= not firm
    else:
        row[_NEWLINES] += 1
        blanks += 1
    row[_SENTENCES] += sentences
    line[_FIRST], line[_LAST], line[_WORDS], line[_BLANKS_IN] = first, last, words, blanks
    line[_ENDED], line[_OPEN], line[_STOP] = ended, unfinished, j
    return at


@njit(**CACHED)
def _note_word(data, start, end, address, line, row):  # type: ignore[no-untyped-def]
    """Notes of a word between blanks whether it is too long, and the length of an address."""
    if end - start > LONGEST_WORD:
        line[_OVERLONG] |= count_characters(data, start, end) > LONGEST_WORD
    if address:
        row[_URLS] += count_characters(data, start, end)


@njit(**CACHED)
def _is_firm(data, c, i, word_at, kinds):  # type: ignore[no-untyped-def]
    """Whether an end mark ends a sentence in C4's count too: no ellipsis, initial or abbreviation such as e.g."""
    if c != 46:
        return c != 0x2026
    if i == word_at or data[i - 1] == 46:
        return False
    letter = before(data, i)
    c, _ = decode(data, letter)
    return not kinds[c] & LETTER or (letter > word_at and data[letter - 1] != 46)


@njit(**CACHED)
def _note_phrase(data, i, first, end, phrases, line, row):  # type: ignore[no-untyped-def]
    """Notes the phrase that the letter at byte i gives away, if it stands there."""
    found = _phrase_at(data, i, first, end, phrases)
    if found == 0:
        row[_LOREM] = 1
    elif found == 1:
        line[_HAS_JAVASCRIPT] = 1
    elif found > 1:
        line[_HAS_POLICY] = 1


@njit(**CACHED)
def _count_kinds(data, begin, end, counters, line, row):  # type: ignore[no-untyped-def]
    """Adds a line's letters, digits and capitals; returns how many digits and capitals there are."""
    letters, digits, capitals = line[_ALNUM_IN], line[_DIGITS_IN], line[_CAPITALS_IN]
    i = begin
    while i < end:
        packed = np.uint64(0)
        # Unsigned, so that numba does not ask at every byte whether it counts from the end.
        for k in range(np.uint64(i), np.uint64(min(end, i + _BLOCK))):
            packed += counters[data[k]]
        i += _BLOCK
        letters += np.int64(packed & np.uint64(_FIELD))
        digits += np.int64(packed >> np.uint64(_DIGIT_SHIFT) & np.uint64(_FIELD))
        capitals += np.int64(packed >> np.uint64(_UPPER_SHIFT) & np.uint64(_FIELD))
    row[_BLANKS] += line[_BLANKS_IN]
    row[_NON_ALNUM] -= letters + line[_BLANKS_IN]  # the characters are added at the end
    row[_DIGITS] += digits
    row[_UPPER] += capitals
    return digits, capitals


@njit(**CACHED)
def _c4_columns(line, row):  # type: ignore[no-untyped-def]
    """C4's rules for lines: those that it drops by their words, and the sentences of those that it keeps."""
    few = line[_WORDS] < FEW_WORDS
    row[_FEW_WORDS] += few
    row[_JAVASCRIPT] += line[_HAS_JAVASCRIPT]
    row[_POLICY] += line[_HAS_POLICY]
    if few or line[_OVERLONG] or line[_HAS_JAVASCRIPT]:
        return
    row[_C4_CURLIES] += line[_CURLIES]
    if not line[_HAS_POLICY]:
        row[_C4] += line[_ENDED] + line[_OPEN]


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
def _line_ends(data, first, last, kinds, row):  # type: ignore[no-untyped-def]
    """How a line begins and ends: bullets, ellipses, terminal punctuation."""
    head, _ = decode(data, first)
    at = before(data, last)
    tail, _ = decode(data, at)
    row[_BULLETS] += kinds[head] & BULLET != 0
    row[_TERMINAL] += kinds[tail] & LINE_END != 0
    row[_STOP_LINES] += kinds[tail] & FULL_STOP != 0
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
    return classes(), packed_counters(), stop_bytes(), packed_phrases(), packed_line_ends()
