"""What a report marks in a rejected text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.corpus.offence import spans
from raytrain.corpus.rules import Rule, read_set
from raytrain.corpus.section import RULE_SETS

RULES = [rule for name in RULE_SETS for rule in read_set(name)]


def marked(column: str, op: str, text: str, threshold: float = 0.1, stage: str = "text") -> list[str]:
    return [text[a:b] for a, b in spans(Rule("s", "n", column, op, threshold, stage=stage), text)]


@pytest.mark.parametrize(
    ("column", "op", "text", "expected"),
    [
        ("dup_line_ratio", "<=", "one\n two \nthree\ntwo\none", ["two", "one"]),
        ("dup_paragraph_char_ratio", "<=", "a\nb\n\nc\n \na\nb", ["a\nb"]),
        ("top_2gram_ratio", "<=", "a b c a b d", ["a b", "a b"]),
        ("dup_5gram_ratio", "<=", "a b c d e x a b c d e", ["a b c d e"]),
        ("lorem_ipsum", "==", "See Lorem Ipsum here", ["Lorem Ipsum"]),
        ("policy_line_ratio", "<=", "our Privacy Policy, our terms of use", ["Privacy Policy", "terms of use"]),
        ("curly_brackets", "==", "f() { {", ["{", "{"]),
        ("bullet_line_ratio", "<=", "- é\nplain\n * two", ["- é", "* two"]),
        ("terminal_punct_ratio", ">", "Ends well.\nDoes not\n", ["Does not"]),
        ("short_line_ratio", "<", "short\n" + "long enough to be no short line", ["short"]),
        ("alpha_word_ratio", ">=", "a 12 == b", ["12", "=="]),
        ("word_count", ">=", "too short", []),
        ("url_ratio", "<=", "see www.a.b or http://x/y now", ["www.a.b", "http://x/y"]),
    ],
)
def test_marks_what_the_number_is_about(column: str, op: str, text: str, expected: list[str]) -> None:
    assert marked(column, op, text) == expected


def test_a_word_of_any_length_costs_its_length_to_look_for_an_address() -> None:
    text = "a" * 300_000 + " x(http://y) " + "b" * 300_000 + "://"
    assert marked("url_ratio", "<=", text) == ["x(http://y)", "b" * 300_000 + "://"]


def test_words_are_those_of_the_rule_set() -> None:
    text = "Yes, no. Yes, no."
    assert marked("top_3gram_ratio", "<=", text, stage="text_datatrove") == ["Yes, no", "Yes, no"]
    assert marked("top_3gram_ratio", "<=", text) == ["Yes, no. Yes,"]


def test_a_number_of_another_stage_marks_nothing() -> None:
    assert marked("language_score", ">=", "text", stage="language") == []


@given(st.sampled_from(RULES), st.text(alphabet="ab .…\n-#{é漢1(", max_size=60))
def test_spans_lie_in_the_text_rise_and_hold_something(rule: Rule, text: str) -> None:
    ends = [0]
    for a, b in spans(rule, text):
        assert ends[-1] <= a < b <= len(text)
        ends.append(b)
