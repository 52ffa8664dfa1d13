"""Rules as data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.corpus.rules import COMPARE, FOLDER, Rule, load, read_set, rules_of, stages_needed
from raytrain.corpus.section import RULE_SETS, CorpusSection, Override
from raytrain.errors import UserError

SHIPPED = ("gopher", "gopher-repetition", "c4", "fineweb")
BECAUSE = "verse is short"


def test_default_thresholds_are_the_published_ones() -> None:
    """Gopher table A1 and section A.1.1; C4 section 2.2; FineWeb section 3.6."""
    rules = {rule.key: (rule.column, rule.op, rule.threshold) for rule in load(SHIPPED, {})}
    assert len(rules) == 10 + 13 + 4 + 4
    assert rules["gopher.min_words"] == ("word_count", ">=", 50)
    assert rules["gopher.max_words"] == ("word_count", "<=", 100_000)
    assert rules["gopher.alpha_words"] == ("alpha_word_ratio", ">=", 0.8)
    tops = [rules[f"gopher-repetition.top_{n}gram"][2] for n in (2, 3, 4)]
    duplicates = [rules[f"gopher-repetition.dup_{n}gram"][2] for n in range(5, 11)]
    assert (tops, duplicates) == ([0.20, 0.18, 0.16], [0.15, 0.14, 0.13, 0.12, 0.11, 0.10])
    assert rules["c4.sentences"] == ("sentences", ">=", 3)
    assert rules["fineweb.terminal_punct"] == ("terminal_punct_ratio", ">", 0.12)
    assert rules["fineweb.short_lines"] == ("short_line_ratio", "<", 0.67)
    assert rules["fineweb.dup_line_chars"] == ("dup_line_char_ratio", "<", 0.1)


def test_other_shipped_thresholds_are_the_published_ones() -> None:
    """DCLM's RefinedWeb: 5 % of words; Curator's English pipeline; FineWeb2's configs/deu_Latn.yml."""
    rules = {rule.key: rule for rule in load(("refinedweb", "nemotron", "fineweb2"), {})}
    assert (rules["refinedweb.cut_words"].op, rules["refinedweb.cut_words"].threshold) == ("<=", 0.05)
    nemotron = {key: rules[f"nemotron.{key}"].threshold for key in ("non_alphanumeric", "digits", "urls", "brackets")}
    assert nemotron == {"non_alphanumeric": 0.25, "digits": 0.15, "urls": 0.2, "brackets": 0.1}
    german = [rules[f"fineweb2.{name}_de"] for name in ("dup_lines", "top_2gram", "dup_10gram", "newlines")]
    assert [rule.threshold for rule in german] == [0.263, 0.169, 0.098, 0.152]
    assert {rule.languages for rule in german} == {("de",)}
    assert {rule.stage for rule in german} == {"text_datatrove"}


@pytest.mark.parametrize("name", RULE_SETS)
def test_every_shipped_set_names_its_splitter_and_its_source(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text()
    assert "\nsplitter: " in text
    assert "arXiv" in text
    assert len({rule.key for rule in read_set(name)}) == len(read_set(name))


def test_overrides_move_thresholds_and_drop_rules() -> None:
    before = load(SHIPPED, {})
    loose = {"fineweb.terminal_punct": Override(threshold=0.1, reason=BECAUSE)}
    none = {"c4.curly_bracket": Override(threshold=None, reason=BECAUSE)}
    after = load(SHIPPED, {"gopher.min_words": 60, **loose, **none})
    assert len(after) == len(before) - 1
    moved = {r.key: r.threshold for r in after}
    assert (moved["gopher.min_words"], moved["fineweb.terminal_punct"]) == (60, 0.1)


@pytest.mark.parametrize(
    ("key", "threshold", "message"),
    [
        (
            "fineweb.terminal_punct",
            0.1,
            r"0\.1 keeps more than 0\.12 does; say why: \{threshold: 0\.1, reason",
        ),
        ("fineweb.short_lines", 0.7, r"0\.7 keeps more than 0\.67 does"),
        ("c4.lorem_ipsum", 1, r"1 keeps more than 0 does"),
        ("c4.curly_bracket", None, r"drops the rule; say why: \{threshold: null, reason: \.\.\.\}"),
    ],
)
def test_what_keeps_more_needs_a_reason(key: str, threshold: float | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(SHIPPED, {key: threshold})
    load(SHIPPED, {key: Override(threshold=threshold, reason=BECAUSE)})


@given(st.sampled_from(list(COMPARE)), st.floats(-1, 1), st.floats(-1, 1))
def test_a_threshold_that_is_not_looser_keeps_nothing_more(op: str, old: float, new: float) -> None:
    values = np.array(sorted({-2.0, old, new, (old + new) / 2, 2.0}))
    rule = Rule("s", "n", "lines", op, old)
    more = replace(rule, threshold=new).keeps(values) & ~rule.keeps(values)
    assert rule.loosened_by(new) or not more.any()


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
    assert Rule("s", "n", "lines", ">=", 0.0).keeps(np.array([np.nan, 1.0])).tolist() == [False, True]


def test_the_stop_words_of_gopher_are_asked_of_english_alone() -> None:
    assert {r.key: r.languages for r in load(SHIPPED, {})}["gopher.stop_words"] == ("en",)


def test_a_rule_set_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("splitter: whitespace\nrules:\n  no_policy: policy_line_ratio <= 0.2\n")
    assert load([str(path)], {"mine.no_policy": Override(threshold=0.3, reason=BECAUSE)}) == [
        Rule("mine", "no_policy", "policy_line_ratio", "<=", 0.3)
    ]
    assert Rule.from_dict(read_set(str(path))[0].as_dict()) == read_set(str(path))[0]


def test_a_rule_in_the_recipe_itself() -> None:
    """Three lines of YAML: corpus: / rules: / - {mine: {long_enough: word_count >= 200}}."""
    short = {"mine": {"long_enough": "word_count >= 200"}}
    assert load(["c4", short], {})[-1] == Rule("mine", "long_enough", "word_count", ">=", 200.0)
    whole = {"mine": {"splitter": "unicode", "rules": short["mine"], "languages": {"long_enough": ["en"]}}}
    assert load([whole], {}) == [Rule("mine", "long_enough", "word_count", ">=", 200.0, ("en",), "text_unicode")]


def test_a_rule_may_ask_any_stage() -> None:
    sure = {"mine": {"sure": "language.language_score >= 0.8", "long": "lines >= 3"}}
    rules = load([sure, "gopher", "fineweb2"], {})
    assert rules[0] == Rule("mine", "sure", "language_score", ">=", 0.8, stage="language")
    assert stages_needed(rules) == ["language", "text", "text_datatrove"]


def test_the_columns_of_a_stage_of_ones_own(tmp_path: Path) -> None:
    stage = tmp_path / "my_stage.py"
    stage.write_text(
        "from raytrain.corpus.stages.stage import Stage\n"
        "STAGE = Stage(name='mine', version=1, columns_out=('score',), columns=lambda d, c: {'score': [1] * len(d)})\n"
    )
    asked = {"r": {"good": "mine.score >= 1"}}
    assert rules_of(CorpusSection(rules=(asked,), stages=(str(stage),)))[0].stage == "mine"
    with pytest.raises(UserError, match=r"corpus\.rules: r: good: no stage is called 'mine'"):
        rules_of(CorpusSection(rules=(asked,)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: {a: lines >= 1}", "no splitter"),
        ("splitter: spacy\nrules: {a: lines >= 1}", "splitter is 'spacy'"),
        ("splitter: whitespace\nrules: {}", "a rule set is"),
        ("splitter: whitespace\nrules: {a: lines >= 1}\nthresholds: {}", "has the keys"),
        ("splitter: whitespace\nby_language: {de: lines >= 1}", "by_language: give rules by language"),
        ("splitter: whitespace\nrules: {a: txt.lines >= 1}", "no stage is called 'txt'; did you mean 'text'"),
        ("splitter: whitespace\nrules: {a: lnies >= 1}", "no column is called 'lnies'; did you mean 'lines'"),
        ("splitter: whitespace\nrules: {a: lines => 1}", "not of the form"),
        ("splitter: whitespace\nrules: {a: lines >= few}", "not of the form"),
        ("splitter: whitespace\nrules: {a: lines <= 1e999}", "give a finite threshold"),
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


@pytest.mark.parametrize(
    "sets",
    [
        [{"mine": {"rules": {"x_de": "word_count >= 5"}, "by_language": {"de": {"x": "word_count >= 9"}}}}],
        [{"mine": {"x_de": "word_count >= 5"}}, {"mine": {"x_de": "word_count >= 9"}}],
    ],
)
def test_two_rules_of_one_name_are_refused(sets: list[dict[str, Any]]) -> None:
    with pytest.raises(UserError, match=r"two rules are called 'mine\.x_de'"):
        load(sets, {})


def test_a_rule_of_the_name_that_decontamination_has_is_refused() -> None:
    sets = [{"name": "quiz", "uri": "/nowhere/quiz.jsonl"}]
    held = {"rules": [{"decontamination": {"overlap": "word_count >= 5"}}], "decontaminate": {"sets": sets}}
    with pytest.raises(UserError, match=r"is the rule of corpus\.decontaminate"):
        rules_of(CorpusSection.model_validate(held))
