"""Rules as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from raytrain.corpus.rules import Rule, failures, load, read_set
from raytrain.errors import UserError

SHIPPED = ("gopher", "c4", "fineweb")


def test_shipped_thresholds_are_the_published_ones() -> None:
    """Gopher table A1 and section A.1.1; C4 section 2.2; FineWeb section 3.6."""
    rules = {rule.key: (rule.column, rule.op, rule.threshold) for rule in load(SHIPPED, {})}
    assert len(rules) == 23 + 4 + 4
    assert rules["gopher.min_words"] == ("word_count", ">=", 50)
    assert rules["gopher.max_words"] == ("word_count", "<=", 100_000)
    assert rules["gopher.alpha_words"] == ("alpha_word_ratio", ">=", 0.8)
    tops = [rules[f"gopher.top_{n}gram"][2] for n in (2, 3, 4)]
    duplicates = [rules[f"gopher.dup_{n}gram"][2] for n in range(5, 11)]
    assert (tops, duplicates) == ([0.20, 0.18, 0.16], [0.15, 0.14, 0.13, 0.12, 0.11, 0.10])
    assert rules["c4.sentences"] == ("sentences", ">=", 3)
    assert rules["fineweb.terminal_punct"] == ("terminal_punct_ratio", ">", 0.12)
    assert rules["fineweb.short_lines"] == ("short_line_ratio", "<", 0.67)
    assert rules["fineweb.dup_line_chars"] == ("dup_line_char_ratio", "<", 0.1)


def test_overrides_move_thresholds_and_drop_rules() -> None:
    before = load(SHIPPED, {})
    after = load(SHIPPED, {"fineweb.terminal_punct": 0.1, "c4.curly_bracket": None})
    assert len(after) == len(before) - 1
    assert {r.key: r.threshold for r in after}["fineweb.terminal_punct"] == 0.1


def test_an_override_of_no_rule_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'fineweb.terminal_punkt'; did you mean 'fineweb.terminal_punct'"):
        load(SHIPPED, {"fineweb.terminal_punkt": 0.1})
    with pytest.raises(UserError, match=r"no rule is called 'gopher\.min_words'"):
        load(["c4"], {"gopher.min_words": 3})


@pytest.mark.parametrize(
    ("op", "kept"),
    [
        (">=", [False, True, True]),
        (">", [False, False, True]),
        ("<=", [True, True, False]),
        ("<", [True, False, False]),
        ("==", [False, True, False]),
        ("!=", [True, False, True]),
    ],
)
def test_a_rule_keeps_what_its_comparison_says_at_the_threshold_too(op: str, kept: list[bool]) -> None:
    values = np.array([0.1, 0.2, 0.3])
    assert Rule("s", "n", "lines", op, 0.2).keeps(values).tolist() == kept


def test_what_is_not_a_number_is_rejected() -> None:
    rule = Rule("s", "n", "lines", ">=", 0.0)
    assert failures([rule], {"lines": np.array([np.nan, 1.0])}, ["en", "en"]).tolist() == [[True, False]]


def test_a_rule_for_some_languages_passes_the_others_over() -> None:
    rule = Rule("s", "n", "lines", ">=", 2, languages=("en",))
    assert failures([rule], {"lines": np.array([1, 1])}, ["en", "de"]).tolist() == [[True, False]]
    assert {r.key: r.languages for r in load(SHIPPED, {})}["gopher.stop_words"] == ("en",)


def test_a_rule_set_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("splitter: whitespace\nrules:\n  no_policy: policy_line_ratio <= 0.2\n")
    assert load([str(path)], {"mine.no_policy": 0.3}) == [Rule("mine", "no_policy", "policy_line_ratio", "<=", 0.3)]
    assert Rule.from_dict(read_set(str(path))[0].as_dict()) == read_set(str(path))[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: {a: lines >= 1}", "splitter is None"),
        ("splitter: spacy\nrules: {a: lines >= 1}", "splitter is 'spacy'"),
        ("splitter: whitespace\nrules: {}", "a rule set is"),
        ("splitter: whitespace\nrules: {a: lines >= 1}\nthresholds: {}", "a rule set is"),
        ("splitter: whitespace\nrules: {a: lnies >= 1}", "no column is called 'lnies'; did you mean 'lines'"),
        ("splitter: whitespace\nrules: {a: lines => 1}", "not of the form"),
        ("splitter: whitespace\nrules: {a: lines >= few}", "not of the form"),
        ("splitter: whitespace\nrules: {a: lines >= 1}\nlanguages: {b: [en]}", "no rule is called 'b'"),
        ("splitter: whitespace\nrules: {a: lines >= 1, a: lines >= 2}", "stands twice"),
        ("splitter: [", "not valid YAML"),
    ],
)
def test_a_wrong_rule_file_is_refused_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_set(str(path))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_rule_file_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"corpus\.rules: 'absent\.yaml' cannot be read"):
        read_set("absent.yaml")
