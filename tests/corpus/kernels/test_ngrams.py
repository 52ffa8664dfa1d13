"""Words with places and the search for known n-grams, against plain Python."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.ngrams import Table, grams, word_counts

PIECES = ["a", "A", "b", "B", "don't", "“a”", "--", "é", "好", "a好a", "क्षि", "1", "٣", ",", "…", "x_y", "\u3000"]


def words_of(text: str) -> list[tuple[str, int, int]]:
    """(word, first byte, end byte) by the definition in ngrams.py."""
    found: list[tuple[str, int, int]] = []
    held: list[tuple[str, int, int]] = []

    def flush() -> None:
        if held:
            found.append(("".join(c for c, _, _ in held), held[0][1], held[-1][2]))
            held.clear()

    at = 0
    for c in text:
        size = len(c.encode())
        if c.isspace():
            flush()
        elif c == "好":
            flush()
            found.append((c, at, at + size))
        elif unicodedata.category(c)[0] in "LNM":
            held.append((c.lower() if c.isascii() else c, at, at + size))
        at += size
    flush()
    return found


def texts() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([*PIECES, " ", " ", " "]), max_size=30).map("".join)


def buffers(held: list[str]) -> tuple[np.ndarray, np.ndarray]:
    return text_buffers(pa.array(held, pa.large_string()))


@settings(deadline=None, max_examples=200)
@given(st.lists(texts(), min_size=1, max_size=3), st.integers(1, 4))
def test_equal_runs_of_words_and_only_they_have_equal_hashes(held: list[str], n: int) -> None:
    hashes, bounds = grams(*buffers(held), n)
    words = [[w for w, _, _ in words_of(text)] for text in held]
    assert word_counts(*buffers(held)).tolist() == [len(w) for w in words]
    runs = [
        [tuple(w[k : k + n]) for k in range(len(w) - n + 1)] if len(w) >= n else [tuple(w)][: len(w)] for w in words
    ]
    assert np.diff(bounds).tolist() == [len(r) for r in runs]
    flat = [run for held in runs for run in held]
    assert len(set(zip(flat, hashes.tolist(), strict=True))) == len(set(flat)) == len(set(hashes.tolist()))


@settings(deadline=None, max_examples=200)
@given(st.lists(texts(), min_size=1, max_size=3), st.lists(texts(), min_size=1, max_size=3), st.integers(1, 3))
def test_every_known_run_is_found_with_its_bytes_and_nothing_else(known: list[str], held: list[str], n: int) -> None:
    hashes, bounds = grams(*buffers(known), n)
    lengths = np.repeat(np.minimum(word_counts(*buffers(known)), n), np.diff(bounds))
    hashes, first = np.unique(hashes, return_index=True)
    table = Table(hashes, lengths[first])
    runs: set[tuple[str, ...]] = set()
    for text in known:
        words = [w for w, _, _ in words_of(text)]
        runs |= {tuple(words[k : k + n]) for k in range(max(1, len(words) - n + 1)) if words}
    expected = set()
    for d, text in enumerate(held):
        words_here = words_of(text)
        for size in range(1, n + 1):
            for k in range(len(words_here) - size + 1):
                if tuple(w for w, _, _ in words_here[k : k + size]) in runs:
                    expected.add((d, words_here[k][1], words_here[k + size - 1][2]))
    row, _, start, end = table.find(*buffers(held))
    assert set(zip(row.tolist(), start.tolist(), end.tolist(), strict=True)) == expected


def test_more_hits_than_were_expected_are_all_given() -> None:
    hashes, _ = grams(*buffers(["a"]), 1)
    row, gram, start, _ = Table(hashes, np.array([1])).find(*buffers(["a " * 10_000]))
    assert len(row) == 10_000 and not gram.any() and start.tolist() == list(range(0, 20_000, 2))
