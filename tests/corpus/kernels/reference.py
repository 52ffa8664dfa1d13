"""The published definitions, written so that one can read them: slow, plain, and the judge of the kernels."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable

from raytrain.corpus.kernels.characters import UNSPACED, classes
from raytrain.corpus.kernels.columns import COUNTERS, JAVASCRIPT, POLICY, STOP_WORDS

FULL_STOPS = ".!?։؝؞؟۔܀܁܂߹।॥၊။።፧፨។៕᠃᠉‼‽⁇⁈⁉⸮。﹒﹖﹗！．？｡"


def stands_alone(c: str) -> bool:
    """A character that is a word by itself: of a script without spaces."""
    return bool(classes()[ord(c)] & UNSPACED)


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def paragraphs_of(text: str) -> list[str]:
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            found[-1].append(line.strip())
        elif found[-1]:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def repeated(items: list[str]) -> list[str]:
    """Every item that stood before."""
    return [item for i, item in enumerate(items) if item in items[:i]]


def top_gram(words: list[str], n: int) -> int:
    """Characters of the commonest n-gram, of equally common the first, times its count."""
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    gram, count = max(grams.items(), key=lambda held: held[1], default=("", 0))
    return count * len(gram)


def duplicate_grams(words: list[str], n: int) -> int:
    """Characters of n-grams that stood before; after each, going on behind it."""
    seen, total, i = set(), 0, 0
    while i + n <= len(words):
        gram = tuple(words[i : i + n])
        if gram in seen:
            total += sum(len(word) for word in gram)
            i += n
        else:
            seen.add(gram)
            i += 1
    return total


def lower(text: str) -> str:
    return re.sub("[A-Z]", lambda match: match[0].lower(), text)


def has(line: str, *phrases: str) -> bool:
    return any(phrase in lower(line) for phrase in phrases)


def sentences_in(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"[.!?…؟।][.!?…؟।\"')\]”’»]*(?=\s|$)|[。！？]+", text))


def c4_sentences(line: str) -> int:
    """None in a line that C4 drops; else its sentences, and one more for what stands behind them."""
    words = line.split()
    if len(words) < 3 or max(map(len, words)) > 1000 or has(line, JAVASCRIPT, *POLICY):
        return 0
    ends = [end for end in sentences_in(line) if is_firm(line, end)]
    return len(ends) + bool(line[ends[-1].end() :].strip() if ends else line)


def is_firm(line: str, end: re.Match[str]) -> bool:
    """Whether an end mark is no ellipsis and stands behind no initial or abbreviation of letters (J. e.g.)."""
    at = max(end.start() + i for i, c in enumerate(end[0]) if c in ".!?…؟।。！？")
    word = line[:at].split()[-1] if line[:at] and not line[at - 1].isspace() else ""
    if line[at] != ".":
        return line[at] != "…"
    return bool(word) and word[-1] != "." and not (word[-1].isalpha() and (len(word) == 1 or word[-2] == "."))


def c4_curly_brackets(line: str) -> int:
    words = line.split()
    bad = len(words) < 3 or max(map(len, words)) > 1000 or has(line, JAVASCRIPT)
    return 0 if bad else line.count("{")


def cut_words(line: str) -> int:
    """Words that RefinedWeb's line-wise corrections cut."""
    words, shorn = line.split(), lower(line).rstrip(".")
    counter = len(words) == 2 and line[0].isnumeric() and line.split(" ")[-1] in COUNTERS.split()
    capitals = sum(c.isalpha() and c.isupper() for c in line)
    if len(words) < 2 or capitals > len(line) / 2 or all(is_number(c) for c in line) or counter:
        return len(words)
    if len(words) > 10:
        return 0
    if shorn.endswith("items in cart"):
        return 3
    return 2 if shorn.endswith("read more") else int(lower(line).startswith("sign-in"))


def is_number(c: str) -> bool:
    return c.isalnum() and not c.isalpha()


def statistics(text: str, split: Callable[[str], list[str]] = str.split) -> dict[str, float]:
    words, lines, paragraphs = split(text), lines_of(text), paragraphs_of(text)
    real = [w for w in words if any(c.isalnum() for c in w)]
    n, m, size = max(len(words), 1), max(len(lines), 1), max(len(text), 1)
    dots = sum(len(run) // 3 for run in re.findall(r"\.+", text))
    addresses = [w for w in text.split() if w.startswith("www.") or "://" in w]
    return {
        "characters": len(text),
        "word_count": len(real),
        "symbol_words": len(words) - len(real),
        "mean_word_length": sum(map(len, real)) / max(len(real), 1),
        "longest_word": max(map(len, words), default=0),
        "alpha_word_ratio": sum(any(c.isalpha() for c in w) for w in words) / n,
        **{name: len(set(words) & set(held.split())) for name, held in STOP_WORDS.items()},
        "hash_ratio": text.count("#") / n,
        "ellipsis_ratio": (dots + text.count("…")) / n,
        "lines": len(lines),
        "paragraphs": len(paragraphs),
        "bullet_line_ratio": sum(line.startswith(("•", "-", "*")) for line in lines) / m,
        "ellipsis_line_ratio": sum(line.endswith(("...", "…")) for line in lines) / m,
        "terminal_punct_ratio": sum(line[-1] in ".!?…؟।。！？\"'”’»" for line in lines) / m,
        "full_stop_line_ratio": sum(line[-1] in FULL_STOPS for line in lines) / m,
        "short_line_ratio": sum(len(line) <= 30 for line in lines) / m,
        "long_lines": sum(len(line) >= 200 for line in lines),
        "few_words_line_ratio": sum(len(line.split()) < 3 for line in lines) / m,
        "javascript_line_ratio": sum(has(line, JAVASCRIPT) for line in lines) / m,
        "policy_line_ratio": sum(has(line, *POLICY) for line in lines) / m,
        "cut_word_ratio": sum(map(cut_words, lines)) / max(len(text.split()), 1),
        "dup_line_ratio": len(repeated(lines)) / m,
        "dup_line_char_ratio": sum(map(len, repeated(lines))) / size,
        "dup_line_text_ratio": sum(map(len, repeated(lines))) / max(len(text.replace("\n", "")), 1),
        "dup_paragraph_ratio": len(repeated(paragraphs)) / max(len(paragraphs), 1),
        "dup_paragraph_char_ratio": sum(map(len, repeated(paragraphs))) / size,
        "newline_ratio": text.count("\n") / n,
        "sentences": len(sentences_in(text)),
        "c4_sentences": sum(map(c4_sentences, lines)),
        "c4_curly_brackets": sum(map(c4_curly_brackets, lines)),
        "lorem_ipsum": float(any(has(line, "lorem ipsum") for line in lines)),
        "curly_brackets": text.count("{"),
        "non_alphanumeric_ratio": sum(not c.isalnum() and not c.isspace() for c in text) / size,
        "digit_ratio": sum(map(is_number, text)) / size,
        "uppercase_ratio": sum(c.isalpha() and c.isupper() for c in text) / size,
        "blank_ratio": sum(c.isspace() for c in text) / size,
        "bracket_ratio": (text.count("(") + text.count(")")) / size,
        "url_ratio": sum(map(len, addresses)) / size,
        **{f"top_{g}gram_ratio": top_gram(words, g) / size for g in (2, 3, 4)},
        **{f"dup_{g}gram_ratio": duplicate_grams(words, g) / size for g in range(5, 11)},
    }


def shingle_words(text: str) -> list[str]:
    found: list[str] = []
    for word in text.split():
        part = ""
        for c in word:
            if stands_alone(c):
                found += [part, c]
                part = ""
            elif unicodedata.category(c)[0] in "LNM":
                part += c.lower() if c.isascii() else c
        found.append(part)
    return [word for word in found if word]


def shingles(text: str, n: int) -> set[tuple[str, ...]]:
    words = shingle_words(text)
    width = min(n, len(words))
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)} if words else set()


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a & b else 0.0
