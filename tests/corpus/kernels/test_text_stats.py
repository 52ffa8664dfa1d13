"""The text kernel against the definitions, character by character."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.columns import COLUMNS
from raytrain.corpus.kernels.text_stats import text_stats
from tests.corpus import prose
from tests.corpus.kernels.reference import statistics

_PIECES = (
    "the be of have a aa b. c? “So!” it... it… - • * # { 12 x1 ... .. …. 。好！ é ñandú ” ’ » ) ] \" ' ؟ । -- ## 12. "
    "javascript JavaScript Terms of Use Cookie Policy lorem ipsum Lorem Ipsum LOREM uses cookies 3 likes 12 "
    "ABC SIGN-IN read more Read More... items in cart www.a.b http://x.y/z :// der und за był ( ) 漢 ไทย 12.5 ½ Ⅷ"
)
PIECES = _PIECES.split(" ")
BLANKS = (" ", " ", " ", "\n", "\n", "\n\n", "  ", "\t", "\u00a0", "\u3000", "\u2028", "\x85", " \n ", "\x1c", "\u2003")


def measured(*texts: str) -> list[dict[str, float]]:
    stats = text_stats(*text_buffers(pa.array(texts, pa.large_string())))
    return [dict(zip(COLUMNS, row.tolist(), strict=True)) for row in stats]


def made_of_pieces() -> st.SearchStrategy[str]:
    pairs = st.tuples(st.sampled_from(PIECES), st.sampled_from(BLANKS))
    return st.lists(pairs, max_size=60).map(lambda held: "".join(a + b for a, b in held))


@settings(deadline=None, max_examples=250)
@given(st.lists(made_of_pieces(), min_size=1, max_size=3))
@example(["a\n\na\n\na", "", "...."])
def test_kernel_equals_the_definitions_on_text_of_telling_pieces(texts: list[str]) -> None:
    for text, found in zip(texts, measured(*texts), strict=True):
        assert found == pytest.approx(statistics(text), abs=1e-12), text


@settings(deadline=None, max_examples=150)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=80))
def test_kernel_equals_the_definitions_on_any_text(text: str) -> None:
    assert measured(text)[0] == pytest.approx(statistics(text), abs=1e-12)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["a b", "a", "b", "c\n", "a b c d e\n", "\n"]), max_size=120).map(" ".join))
def test_kernel_equals_the_definitions_on_repetition(text: str) -> None:
    assert measured(text)[0] == pytest.approx(statistics(text), abs=1e-12)


def test_numbers_of_a_text_that_one_can_count() -> None:
    text = "The cat sat.\nThe cat sat.\n\n- one, two\n#tag ... {"
    found = measured(text)[0]
    assert found["characters"] == 48
    assert (found["word_count"], found["symbol_words"]) == (9, 3)  # without a letter or digit: - ... {
    assert (found["lines"], found["paragraphs"]) == (4, 2)
    assert found["dup_line_ratio"] == 1 / 4
    assert found["dup_line_char_ratio"] == 12 / 48
    assert found["bullet_line_ratio"] == 1 / 4
    assert found["terminal_punct_ratio"] == 2 / 4
    assert found["sentences"] == 3  # the ellipsis before a blank is the third
    assert found["top_3gram_ratio"] == 2 * len("The cat sat.") / 48
    assert found["curly_brackets"] == 1


def test_words_are_what_str_split_gives_in_every_script() -> None:
    blanks = "".join(chr(c) for c in range(0x110000) if chr(c).isspace())
    text = "x".join(blanks)
    found = measured(text)[0]
    assert found["word_count"] == len(text.split()) == len(blanks) - 1


def test_a_slice_of_a_column_gives_the_same_as_its_texts_alone() -> None:
    texts = [prose.document(seed, 6) for seed in range(5)]
    whole = pa.chunked_array([pa.array(texts[:2]), pa.array(texts[2:])])
    part = text_stats(*text_buffers(whole.slice(1, 3)))
    alone = text_stats(*text_buffers(pa.array(texts[1:4], pa.large_string())))
    assert np.array_equal(part, alone)


def test_no_text_gives_no_row_and_an_empty_text_zeros() -> None:
    assert text_stats(*text_buffers(pa.array([], pa.string()))).shape == (0, len(COLUMNS))
    assert set(measured("")[0].values()) == {0.0}


def test_a_null_is_refused() -> None:
    with pytest.raises(ValueError, match="null"):
        text_buffers(pa.array(["a", None]))


def test_a_document_of_one_repeated_letter_is_no_problem() -> None:
    found = measured("a " * 200_000, "b" * 300_000)
    assert found[0]["word_count"] == 200_000
    assert found[0]["dup_10gram_ratio"] == pytest.approx(0.5, abs=1e-3)
    assert found[1]["longest_word"] == 300_000
