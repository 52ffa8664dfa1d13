"""What in a text offends a rule: the spans that a report marks in the samples that it shows.

For people who look at a few documents; whatever is decided is decided by numbers. The invariant: spans are characters
of the text, rise and do not overlap; none are given where a number is about the whole (too short, too few sentences).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from raytrain.corpus.kernels.columns import JAVASCRIPT, LONGEST_WORD, LOREM_IPSUM, POLICY, SHORT_LINE, SPLITTERS
from raytrain.corpus.rules import Rule
from raytrain.corpus.stages.text import STAGES

Spans = list[tuple[int, int]]
_GRAM = re.compile(r"(top|dup)_(\d+)gram_ratio")
_FOUND = {
    "hash_ratio": r"#",
    "ellipsis_ratio": r"\.\.\.|…",
    "curly_brackets": r"\{",
    "c4_curly_brackets": r"\{",
    "digit_ratio": r"\d+",
    "bracket_ratio": r"[()]",
    "url_ratio": r"(?<!\S)(?:www\.\S+|\S*://\S*)",  # looked for at a word's start alone: \S* elsewhere is quadratic
    "non_alphanumeric_ratio": r"[^\w\s]+|_+",
    "blank_ratio": r"\s{2,}",
    "lorem_ipsum": f"(?i:{LOREM_IPSUM})",
    "javascript_line_ratio": f"(?i:{JAVASCRIPT})",
    "policy_line_ratio": "(?i:" + "|".join(POLICY) + ")",
}
# Lines that count for a column; of those whose rule asks for many, the report marks the ones that do not.
_LINES: dict[str, Callable[[str], bool]] = {
    "bullet_line_ratio": lambda line: line.startswith(("•", "-", "*")),
    "ellipsis_line_ratio": lambda line: line.endswith(("...", "…")),
    "short_line_ratio": lambda line: len(line) <= SHORT_LINE,
    "few_words_line_ratio": lambda line: len(line.split()) < 3,
    "cut_word_ratio": lambda line: len(line.split()) < 2 or sum(map(str.isupper, line)) > len(line) / 2,
    "terminal_punct_ratio": lambda line: line[-1] in ".!?…。！？\"'”’»",
    "full_stop_line_ratio": lambda line: line[-1] in ".!?。！？",
}


def spans(rule: Rule, text: str) -> Spans:
    """The spans of a text, in characters, that a rule which drops it is about."""
    splitters = dict(zip((stage.name for stage in STAGES), SPLITTERS, strict=True))
    column, most = rule.column, rule.op in ("<", "<=", "==")
    if rule.stage not in splitters:
        return []
    if column in _FOUND and most:
        return merged(match.span() for match in re.finditer(_FOUND[column], text))
    if column in _LINES:
        return [span for span in _lines(text) if _LINES[column](text[slice(*span)]) == most]
    if column.startswith("dup_line"):
        return _repeated(text, _lines(text))
    if column.startswith("dup_paragraph"):
        return _repeated(text, _paragraphs(text))
    words = _words(text, splitters[rule.stage])
    gram = _GRAM.fullmatch(column)
    if gram:
        return (_top if gram[1] == "top" else _duplicate)(text, words, int(gram[2]))
    if column == "longest_word":
        longest = min(rule.threshold, LONGEST_WORD)
        return [(a, b) for a, b in words if b - a > longest]
    if column == "alpha_word_ratio":
        return [(a, b) for a, b in words if not any(map(str.isalpha, text[a:b]))]
    return []


def _lines(text: str) -> Spans:
    """Lines that hold something, without the blanks around them."""
    return [(m.start() + len(m[0]) - len(m[0].lstrip()), m.start() + len(m[0].rstrip())) for m in _held(text)]


def _held(text: str) -> Iterable[re.Match[str]]:
    return (match for match in re.finditer(r"[^\n]+", text) if match[0].strip())


def _paragraphs(text: str) -> Spans:
    found: Spans = []
    for a, b in _lines(text):
        if found and not re.search(r"\n\s*\n", text[found[-1][1] : a]):
            found[-1] = (found[-1][0], b)
        else:
            found.append((a, b))
    return found


def _repeated(text: str, held: Spans) -> Spans:
    """Every span whose text stood before."""
    seen: set[str] = set()
    found: Spans = []
    for a, b in held:
        if text[a:b] in seen:
            found.append((a, b))
        seen.add(text[a:b])
    return found


def _words(text: str, splitter: str) -> Spans:
    """The words that a splitter gives, in characters."""
    from raytrain.corpus.kernels.characters import classes
    from raytrain.corpus.kernels.splitters import split

    data = np.frombuffer(text.encode(), np.uint8)
    starts, ends = np.empty(len(data) + 2, np.int32), np.empty(len(data) + 2, np.int32)
    n = split(data, 0, len(data), SPLITTERS.index(splitter), classes(), starts, ends)
    at = np.cumsum(np.concatenate([[0], (data & 0xC0) != 0x80]))  # characters before each byte
    return list(zip(at[starts[:n]].tolist(), at[ends[:n]].tolist(), strict=True))


def _grams(text: str, words: Spans, n: int) -> list[tuple[str, ...]]:
    held = [text[a:b] for a, b in words]
    return [tuple(held[i : i + n]) for i in range(len(held) - n + 1)]


def _top(text: str, words: Spans, n: int) -> Spans:
    """Where the commonest n-gram stands."""
    grams = _grams(text, words, n)
    if not grams:
        return []
    top = Counter(grams).most_common(1)[0][0]
    return merged((words[i][0], words[i + n - 1][1]) for i, gram in enumerate(grams) if gram == top)


def _duplicate(text: str, words: Spans, n: int) -> Spans:
    """The n-grams that stood before, going on behind each."""
    seen: set[tuple[str, ...]] = set()
    found: Spans = []
    i, grams = 0, _grams(text, words, n)
    while i < len(grams):
        if grams[i] in seen:
            found.append((words[i][0], words[i + n - 1][1]))
            i += n
        else:
            seen.add(grams[i])
            i += 1
    return merged(found)


def merged(held: Iterable[tuple[int, int]]) -> Spans:
    """Spans in order, those that touch as one."""
    found: Spans = []
    for a, b in held:
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(b, found[-1][1]))
        else:
            found.append((a, b))
    return found
