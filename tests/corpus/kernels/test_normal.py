"""The kernel's normal form is the one of `normalise`, for every text that it does not hand back."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels import normal
from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.normalise import normalise, normalise_column

OPTIONS: dict[str, Any] = {"form": "NFC", "repair_mojibake": True, "strip_gutenberg": True}
NASTY = [
    *" \t\n\r\v\f\0\x07\x1f\x7f\x85\xa0\xad",
    *"aK.Zé\u0301\u0327\u0323\u0958\u093c\u1161\u11a8가\u212b\ufb01\u2028\u2029\u200b\u200d\u2060\ufeff\ufffe😀東",
    *("Ã", "Ã©", "â€œ", "\u00e2\u0080\u009c", "Â\xa0", "\r\n", "\n\n\n\n", " \n", "PROJECT GUTENBERG EBOOK", "EBOO\0K"),
    "*** START OF THE PROJECT GUTENBERG EBOOK X ***\n",
    "\n*** END OF THE PROJECT GUTENBERG EBOOK",
]


def columns(texts: Sequence[str]) -> Any:
    import pyarrow as pa

    return text_buffers(pa.array(texts, pa.large_string()))


def check(texts: Sequence[str], options: dict[str, Any]) -> None:
    data, offsets = columns(texts)
    data, ends, repaired = normalise_column(data, offsets, options)
    found = [bytes(data[ends[i] : ends[i + 1]]).decode("utf-8") for i in range(len(texts))]
    assert list(zip(found, repaired.tolist(), strict=True)) == [normalise(text, options) for text in texts]


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.lists(st.sampled_from(NASTY) | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join)),
    st.sampled_from(["NFC", "NFKC", "none"]),
    st.booleans(),
    st.booleans(),
)
def test_a_column_of_texts_becomes_what_each_becomes(texts: list[str], form: str, repair: bool, strip: bool) -> None:
    check(texts, {"form": form, "repair_mojibake": repair, "strip_gutenberg": strip})


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_every_character_alone_and_behind_every_kind_of_other(form: str) -> None:
    every = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x40000))]
    table = normal.character_table(form)
    for character in every:
        code = ord(character)
        if code >= 0x80 and table[code] != normal.ODD:
            assert unicodedata.is_normalized(form, character)  # type: ignore[arg-type]
            assert table[code] == unicodedata.combining(character)
    # What Unicode composes: no second half of a pair may pass, or a text that must be composed would not be.
    for character in every:
        parts = unicodedata.normalize("NFD", character)
        if len(parts) > 1 and unicodedata.normalize("NFC", parts) == character:
            assert all(table[ord(part)] == normal.ODD for part in parts[1:])


@pytest.mark.parametrize(
    "text",
    ["plain words", "crlf\r\nand  \nblanks\t\n\n\n\n\nmany\0", "déjà vu – “quoted”", "東京、大阪。", "Привет", "עִברִית"],
)
def test_common_texts_never_meet_python(text: str) -> None:
    data, offsets = columns([text])
    assert not normal.tidy(data, offsets, *normal.tables("NFC", True, True))[2].any()


def test_the_texts_of_a_slice_are_those_of_the_slice() -> None:
    import pyarrow as pa

    texts = ["before", "e\u0301", " kept ", "", "Ã©", "after"]
    sliced = pa.array(texts, pa.large_string()).slice(1, 4)
    data, ends, repaired = normalise_column(*text_buffers(sliced), OPTIONS)
    assert [bytes(data[a:b]).decode() for a, b in pairwise(ends)] == ["é", "kept", "", "é"]
    assert repaired.tolist() == [False, False, False, True]
    assert np.all(np.diff(ends) >= 0)
