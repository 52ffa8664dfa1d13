"""Classes of characters are Python's, over all of Unicode."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from raytrain.corpus.kernels.characters import (
    LETTER,
    MARK,
    NUMBER,
    PUNCTUATION,
    SPACE,
    UNSPACED,
    UPPER,
    classes,
    count_characters,
    decode,
    hash_bytes,
)

EVERY = [chr(c) for c in range(0x110000)]


@pytest.mark.parametrize(
    ("bits", "method"), [(SPACE, str.isspace), (LETTER, str.isalpha), (LETTER | NUMBER, str.isalnum)]
)
def test_classes_are_those_of_str(bits: int, method: object) -> None:
    held = (classes() & bits) != 0
    assert [c for c, ours in zip(EVERY, held.tolist(), strict=True) if method(c) != ours] == []  # type: ignore[operator]


def test_capitals_marks_and_punctuation() -> None:
    held = classes().tolist()
    assert all(bool(held[ord(c)] & UPPER) == (c.isupper() and c.isalpha()) for c in EVERY)
    for bit, categories in ((MARK, "M"), (PUNCTUATION, "PS")):
        assert all(bool(held[ord(c)] & bit) == (unicodedata.category(c)[0] in categories) for c in EVERY)


def test_scripts_without_spaces() -> None:
    held = classes()
    assert all(held[ord(c)] & UNSPACED for c in "漢字かなカナไทยລາວខ្មែမြန" if c.isalpha())
    assert not any(held[ord(c)] & UNSPACED for c in "abcжאשع한글देव12 。")


def test_characters_are_decoded_counted_and_told_apart() -> None:
    text = "aé漢\U0001f600"
    data = np.frombuffer(text.encode(), np.uint8)
    at = [decode(data, i) for i in (0, 1, 3, 6)]
    assert at == [(ord(c), len(c.encode())) for c in text]
    assert count_characters(data, 0, len(data)) == 4
    hashes = {int(hash_bytes(np.zeros(40, np.uint8), 0, n)) for n in range(40)}
    assert len(hashes) == 40  # the length counts too
