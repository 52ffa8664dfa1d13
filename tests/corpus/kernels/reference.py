"""The published definitions, written so that one can read them: slow, plain, and the judge of the kernels."""

from __future__ import annotations

import re
from collections import Counter

from raytrain.corpus.kernels.columns import JAVASCRIPT, POLICY, STOP_WORDS


def is_letter(c: str) -> bool:
    """ASCII letters; beyond ASCII everything but U+0080-00BF, U+2000-206F and U+3000-303F."""
    if c.isascii():
        return c.isalpha()
    return not ("\u0080" <= c <= "\u00bf" or "\u2000" <= c <= "\u206f" or "\u3000" <= c <= "\u303f")


def is_ideograph(c: str) -> bool:
    ranges = ("\u0e00\u0e7f", "\u3040\u30ff", "\u3400\u9fff", "\uf900\ufaff", "\U00020000\U0003ffff")
    return any(low <= c <= high for low, high in ranges)


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
    """Characters of the commonest n-gram (of equally common the longest), if it occurs twice, times its count."""
    grams = Counter(" ".join(words[i : i + n]) for i in range(len(words) - n + 1))
    if not grams or max(grams.values()) < 2:
        return 0
    return max(count * len(gram) for gram, count in grams.items() if count == max(grams.values()))


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


def has(line: str, phrases: tuple[str, ...]) -> bool:
    lower = re.sub("[A-Z]", lambda match: match[0].lower(), line)
    return any(phrase in lower for phrase in phrases)


def statistics(text: str) -> dict[str, float]:
    words, lines, paragraphs = text.split(), lines_of(text), paragraphs_of(text)
    real = [w for w in words if any(is_letter(c) or c in "0123456789" for c in w)]
    n, m, size = max(len(words), 1), max(len(lines), 1), max(len(text), 1)
    dots = sum(len(run) // 3 for run in re.findall(r"\.+", text))
    sentences = re.findall(r"[.!?…؟।][.!?…؟।\"')\]”’»]*(?=\s|$)|[。！？]+", text)
    return {
        "characters": len(text),
        "word_count": len(real),
        "symbol_words": len(words) - len(real),
        "mean_word_length": sum(map(len, real)) / max(len(real), 1),
        "longest_word": max(map(len, words), default=0),
        "alpha_word_ratio": sum(any(is_letter(c) for c in w) for w in words) / n,
        "stop_words": len(set(words) & set(STOP_WORDS)),
        "hash_ratio": text.count("#") / n,
        "ellipsis_ratio": (dots + text.count("…")) / n,
        "lines": len(lines),
        "paragraphs": len(paragraphs),
        "bullet_line_ratio": sum(line.startswith(("•", "-", "*")) for line in lines) / m,
        "ellipsis_line_ratio": sum(line.endswith(("...", "…")) for line in lines) / m,
        "terminal_punct_ratio": sum(line[-1] in ".!?…؟।。！？\"'”’»" for line in lines) / m,
        "short_line_ratio": sum(len(line) <= 30 for line in lines) / m,
        "few_words_line_ratio": sum(len(line.split()) < 3 for line in lines) / m,
        "javascript_line_ratio": sum(has(line, JAVASCRIPT) for line in lines) / m,
        "policy_line_ratio": sum(has(line, POLICY) for line in lines) / m,
        "dup_line_ratio": len(repeated(lines)) / m,
        "dup_line_char_ratio": sum(map(len, repeated(lines))) / size,
        "dup_paragraph_ratio": len(repeated(paragraphs)) / max(len(paragraphs), 1),
        "dup_paragraph_char_ratio": sum(map(len, repeated(paragraphs))) / size,
        "newline_ratio": text.count("\n") / n,
        "sentences": len(sentences),
        "lorem_ipsum": float(any(has(line, ("lorem ipsum",)) for line in lines)),
        "curly_brackets": text.count("{"),
        **{f"top_{g}gram_ratio": top_gram(words, g) / size for g in (2, 3, 4)},
        **{f"dup_{g}gram_ratio": duplicate_grams(words, g) / size for g in range(5, 11)},
    }


def shingle_words(text: str) -> list[str]:
    found: list[str] = []
    for word in text.split():
        part = ""
        for c in word:
            if is_ideograph(c):
                found += [part, c]
                part = ""
            elif not c.isascii() or c.isalnum():
                part += c.lower() if c.isascii() else c
        found.append(part)
    return [word for word in found if word]


def shingles(text: str, n: int) -> set[tuple[str, ...]]:
    words = shingle_words(text)
    width = min(n, len(words))
    return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)} if words else set()


def jaccard(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    return len(a & b) / len(a | b) if a & b else 0.0
