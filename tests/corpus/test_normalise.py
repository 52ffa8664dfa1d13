"""The normal form of text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.normalise import normalise, repair_mojibake
from raytrain.corpus.section import NormaliseSection

OPTIONS = NormaliseSection().model_dump()
TRICKY = "aA é\u0301e\u0301 \r\n\t\n\x00\x07\x0c\x85\u2028\ufeff\u200b\u00a0Ã©â€™\x80\x9dÂ\ud55c\u1112\u1161*"
START = "*** START OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***"
LONG_START = "***START OF THIS PROJECT GUTENBERG EBOOK A TITLE\nTHAT GOES ON***"
END = "*** END OF THE PROJECT GUTENBERG EBOOK MOBY DICK ***"


def normal(text: str, **options: object) -> str:
    return normalise(text, {**OPTIONS, **options})[0]


@settings(deadline=None, max_examples=400)
@given(st.text(alphabet=st.sampled_from(TRICKY), max_size=40) | st.text(st.characters(exclude_categories=("Cs",))))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normal(text)
    assert normal(once) == once


@settings(deadline=None, max_examples=400)
@given(st.lists(st.sampled_from([*TRICKY, START, f"{START}\n", f"\n{END}", "\n"]), max_size=12).map("".join))
def test_normalising_a_framed_book_twice_changes_nothing(text: str) -> None:
    once = normal(text)
    assert normal(once) == once


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("\ufeffa", "a"),
        ("a\x00b\x07c\td", "abc\td"),
        ("a  \t\nb   ", "a\nb"),
        ("a\n\n\nb", "a\n\n\nb"),  # two blank lines stay
        ("a\n\n\n\n\n\nb", "a\n\nb"),  # more become one
        ("page\x0cnext\u2028line", "page\nnext\nline"),
        ("\u200b\n \u00a0a\u200d ", "a"),
        ("e\u0301", "é"),
        ("e\x00\u0301", "é"),  # what was between goes first
        ("", ""),
        (" \n\t ", ""),
    ],
)
def test_what_becomes_of(raw: str, expected: str) -> None:
    assert normal(raw) == expected


def test_form_is_a_choice() -> None:
    assert normal("ﬁ e\u0301", form="NFKC") == "fi é"
    assert normal("ﬁ e\u0301", form="none") == "ﬁ e\u0301"


@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
@pytest.mark.parametrize("text", ["Le café déjà vu", "naïve – “quoted”… ½ £5", "東京とПривет", "é"])
def test_utf8_read_as_a_western_code_page_is_repaired(text: str, codec: str) -> None:
    raw = text.encode("utf-8")
    try:
        broken = raw.decode(codec)
    except UnicodeDecodeError:
        broken = raw.decode("latin-1")
    assert normalise(broken, OPTIONS) == (text, True)
    assert normalise(broken.encode("utf-8").decode("latin-1"), OPTIONS) == (text, True)  # even twice
    assert normal(broken, repair_mojibake=False) != text


@pytest.mark.parametrize("text", ["plain", "déjà vu", "20 °C – “fine”", "東京", "Ã is a letter", "SÃO PAULO", "¿Qué?"])
def test_text_that_was_meant_so_is_not_repaired(text: str) -> None:
    assert repair_mojibake(text) == (text, False)


@pytest.mark.parametrize("start", [START, LONG_START])
def test_gutenbergs_frame_is_cut_where_its_marks_stand(start: str) -> None:
    assert normal(f"Header\n{start}\n\nCall me Ishmael.\n\n{END}\nLicence") == "Call me Ishmael."
    assert normal(f"Header\n{start}\nCall me Ishmael.") == "Call me Ishmael."
    assert normal(f"A\n{start}\nB", strip_gutenberg=False) == f"A\n{start}\nB"


@pytest.mark.parametrize("before", ["\t", "\u00a0", "\u200b\n ", f"{START}\n \t"])
def test_a_mark_behind_what_goes_is_a_mark(before: str) -> None:
    assert normal(f"{before}{START}\nCall me Ishmael.") == "Call me Ishmael."


def test_a_file_of_several_gutenberg_books_loses_none() -> None:
    text = f"{START}\nOne\n{END}\n{START}\nTwo\n{END}"
    assert normal(text) == text


def test_a_long_line_of_blanks_costs_its_length_and_no_more() -> None:
    """A walk in the square of it would not end in a day."""
    assert normal("a" + " " * 3_000_000 + "b") == "a" + " " * 3_000_000 + "b"
