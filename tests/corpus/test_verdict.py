"""Verdicts and their counts, as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytrain.corpus.coded import Coded
from raytrain.corpus.dedup.survivors import RULES as RULES_OF_DUPLICATES
from raytrain.corpus.rules import Rule
from raytrain.corpus.verdict import GROUPS, Columns, Verdict, add, believed, judge, tally

RULES = [
    Rule("a", "few", "lines", ">=", 2),
    Rule("b", "many", "lines", "<=", 8),
    Rule("a", "odd", "sentences", ">=", 1),
]
NO_LIMITS: dict[str, Any] = {"refuse": {}, "licences": {"allow": [], "deny": []}, "max_share": {}}
CONFIG: dict[str, Any] = {
    "languages": {"allowed": ["en"], "min_score": 0.5},
    "limits": NO_LIMITS,
    "forgotten": [],
    "duplicates": {"jaccard": 0.8, "containment": None, "url": False},
    "cuts": False,
}


def columns(lines: list[int], **given: Any) -> Columns:
    """Documents of so many lines; whatever is not given is the same for all of them."""
    many = len(lines)
    language, score, declared = (
        given.get(name, [value] * many) for name, value in (("language", "en"), ("score", 1.0), ("declared", None))
    )
    known, sure = believed(Coded.of(language), np.array(score), Coded.of(declared), 0.5)
    size = np.array(given.get("bytes", [10] * many), np.int64)
    documents = {name: Coded.of(given.get(name, ["x"] * many)) for name in GROUPS if name != "language"}
    stages = {"text": {"lines": np.array(lines), "sentences": np.ones(many)}}
    return Columns(documents, size, np.array(given.get("left", size), np.int64), stages, known, sure)


def judged(held: Columns, duplicates: list[str | None] | None = None, **config: Any) -> Verdict:
    found = judge(held, {**CONFIG, **config}, RULES, np.zeros(len(held.bytes), np.bool_))
    kinds = [RULES_OF_DUPLICATES.index(kind or "") for kind in duplicates or [None] * len(held.bytes)]
    return found.with_duplicates(np.array(kinds, np.int64))


@pytest.mark.parametrize(
    ("language", "score", "declared", "kept"),
    [
        ("en", 0.9, None, True),
        ("en", 0.5, None, True),
        ("en", 0.4, None, False),  # unsure, and nobody vouches
        ("de", 0.9, None, False),
        ("de", 0.4, "en", True),  # unsure, and the source vouches
        ("de", 0.9, "en", False),  # sure: the source is wrong
        ("en", 0.4, "de", False),
    ],
)
def test_who_decides_the_language(language: str, score: float, declared: str | None, kept: bool) -> None:
    assert judged(columns([5], language=[language], score=[score], declared=[declared])).keep.tolist() == [kept]


def test_every_document_that_goes_fails_a_named_criterion() -> None:
    verdict = judged(columns([1, 5, 9]), [None, "near", None])
    assert verdict.keys == ("language", "a.few", "b.many", "a.odd", "exact duplicates", "near duplicates")
    assert verdict.keep.tolist() == [False, False, False]
    assert verdict.passes.tolist() == [False, True, False]


def test_counts_of_shards_add_up_to_the_counts_of_all() -> None:
    lines, sizes, sources = [1, 5, 9, 5, 1, 5], [10, 20, 30, 40, 50, 60], ["u", "v", "u", "v", "w", "u"]
    language = ["en", "en", "en", "fr", "fr", "en"]
    duplicates = [None, None, "exact", None, "near", "near"]

    def counts(part: slice) -> dict[str, Any]:
        held = columns(lines[part], language=language[part], bytes=sizes[part], source=sources[part])
        return tally(judged(held, duplicates[part]), held)

    whole = add([counts(slice(None))])
    assert add([counts(slice(0, 2)), counts(slice(2, 2)), counts(slice(2, 6))]) == whole
    left = {row["step"]: row["documents"] for row in whole["funnel"]}
    assert left == {"language": 4, "a": 3, "b": 2, "exact duplicates": 2, "near duplicates": 1}
    assert whole["reasons"]["language"] == {"documents": 2, "bytes": 90, "sole_documents": 1, "sole_bytes": 40}
    assert whole["groups"]["source"]["u"] == {
        "documents_before": 3,
        "bytes_before": 100,
        "documents": 0,
        "bytes": 0,
    }


def test_a_report_names_the_largest_groups_and_counts_the_rest_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.corpus.verdict.MOST_GROUPS", 2)
    held = columns([5] * 4, bytes=[1, 20, 3, 40], domain=["a", "b", "c", "d"])
    groups = add([tally(judged(held), held)])["groups"]["domain"]
    assert list(groups) == ["d", "b", "(2 others)"]
    assert groups["(2 others)"] == {"documents_before": 2, "bytes_before": 4, "documents": 2, "bytes": 4}


def test_a_rule_for_some_languages_leaves_the_others_alone() -> None:
    rules = [Rule("a", "few", "lines", ">=", 2, ("en",))]
    held = columns([1, 1], language=["en", "fr"])
    found = judge(held, {**CONFIG, "languages": {"allowed": [], "min_score": 0.5}}, rules, np.zeros(2, np.bool_))
    assert found.keep.tolist() == [False, True]


@pytest.mark.parametrize(
    ("licences", "kept"),
    [
        ({"allow": [], "deny": []}, [True, True, True, True]),
        ({"allow": ["CC-BY-*", "MIT"], "deny": []}, [True, True, False, False]),
        ({"allow": ["*"], "deny": ["unknown", "CC-*"]}, [True, False, True, False]),
        ({"allow": [], "deny": ["GPL-*"]}, [True, True, False, True]),
    ],
)
def test_licences_are_allowed_and_denied_by_pattern(licences: dict[str, Any], kept: list[bool]) -> None:
    held = columns([5] * 4, licence=["MIT", "CC-BY-4.0", "GPL-2.0-only", "unknown"])
    verdict = judged(held, limits={**NO_LIMITS, "licences": licences})
    assert verdict.keep.tolist() == kept


def test_values_that_are_refused_are_reasons_of_their_own() -> None:
    held = columns([5, 5, 1], origin=["human", "machine", "machine"], domain=["web", "web", "spam"])
    verdict = judged(held, limits={**NO_LIMITS, "refuse": {"origin": ["machine"], "domain": ["spam"]}})
    reasons = tally(verdict, held)["reasons"]
    assert reasons["limits.origin"]["documents"] == 2
    assert reasons["limits.origin"]["sole_documents"] == 1
    assert reasons["limits.domain"]["documents"] == 1
    assert tally(verdict, held)["funnel"][1] == {"step": "limits", "documents": 1, "bytes": 10}


def test_what_cuts_leave_counts_from_their_step_on() -> None:
    held = columns([5, 5, 5], bytes=[10, 20, 30], left=[10, 5, 0], source=["u", "v", "v"])
    counts = tally(judged(held, cuts=True), held)
    left = {row["step"]: (row["documents"], row["bytes"]) for row in counts["funnel"]}
    assert left["b"] == (3, 60)
    assert left["cut away"] == left["near duplicates"] == (2, 15)
    assert counts["reasons"]["cut away"]["bytes"] == 30
    assert counts["groups"]["source"]["v"] == {"documents_before": 2, "bytes_before": 50, "documents": 1, "bytes": 5}
