"""Where words begin and end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels.characters import classes
from raytrain.corpus.kernels.columns import SPLITTERS
from raytrain.corpus.kernels.splitters import split

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60)
MARKS = st.text(alphabet="aB1.,'’-–—/:()\"…+=%$€@ \n漢é", max_size=40)


def words(text: str, splitter: str) -> list[str]:
    data = np.frombuffer(text.encode(), np.uint8)
    starts, ends = np.empty(len(data) + 2, np.int32), np.empty(len(data) + 2, np.int32)
    n = split(data, 0, len(data), SPLITTERS.index(splitter), classes(), starts, ends)
    return [text.encode()[a:b].decode() for a, b in zip(starts[:n], ends[:n], strict=True)]


@settings(deadline=None)
@given(ANY_TEXT)
def test_whitespace_is_str_split(text: str) -> None:
    assert words(text, "whitespace") == text.split()


@settings(deadline=None)
@given(st.one_of(ANY_TEXT, MARKS))
def test_nothing_but_blanks_is_lost_by_cutting(text: str) -> None:
    assert "".join(words(text, "datatrove")) == "".join(text.split())


@settings(deadline=None)
@given(st.one_of(ANY_TEXT, MARKS))
def test_unicode_words_hold_every_letter_and_digit_and_no_blank(text: str) -> None:
    found = words(text, "unicode")
    assert [c for word in found for c in word if c.isalnum()] == [c for c in text if c.isalnum()]
    assert not any(c.isspace() for word in found for c in word)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, it's 1.5 l.", ["Don't", "stop", "it's", "1.5", "l"]),
        ("漢字とkana混じり", ["漢", "字", "と", "kana", "混", "じ", "り"]),
        ("ไม่มี", ["ไ", "ม่", "มี"]),
        ("दिल्ली में", ["दिल्ली", "में"]),
        ("-- ... !", []),
    ],
)
def test_unicode_words(text: str, expected: list[str]) -> None:
    assert words(text, "unicode") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop, it's (fine).", ["Do", "n't", "stop", ",", "it", "'s", "(", "fine", ")", "."]),
        ("e.g. U.S. 3.5% well-known", ["e.g.", "U.S.", "3.5", "%", "well", "-", "known"]),
        ('"Wait..." she said', ['"', "Wait", "...", '"', "she", "said"]),
        ("see https://a.b/c-d?e=f, now", ["see", "https://a.b/c-d?e=f", ",", "now"]),
        ("x=1 a:b and/or -v --all", ["x=1", "a", ":", "b", "and", "/", "or", "-v", "--all"]),
        ("end.Next word…", ["end", ".", "Next", "word", "…"]),
    ],
)
def test_punctuation_is_cut_off_as_spacy_does(text: str, expected: list[str]) -> None:
    assert words(text, "datatrove") == expected
