"""Verdicts and their counts, as tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raytrain.corpus.rules import Rule
from raytrain.corpus.verdict import Verdict, add, judge, tally

RULES = [
    Rule("a", "few", "lines", ">=", 2),
    Rule("b", "many", "lines", "<=", 8),
    Rule("a", "odd", "sentences", ">=", 1),
]
LANGUAGES = {"allowed": ["en"], "min_score": 0.5}


def judged(lines: list[int], language: list[str], score: list[float], declared: list[str | None]) -> Verdict:
    text = {"lines": np.array(lines), "sentences": np.ones(len(lines))}
    found = {"language": language, "language_score": score}
    return judge({"declared_language": declared}, text, found, RULES, LANGUAGES)


def documents(sizes: list[int], **columns: list[str]) -> dict[str, Any]:
    names = ("source", "domain", "licence", "origin")
    return {"bytes": sizes, **{name: columns.get(name, ["x"] * len(sizes)) for name in names}}


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
    assert judged([5], [language], [score], [declared]).keep.tolist() == [kept]


def test_every_document_that_goes_fails_a_named_criterion() -> None:
    verdict = judged([1, 5, 9], ["en"] * 3, [1.0] * 3, [None] * 3).with_duplicates([None, "near", None])
    assert verdict.keys == ("language", "a.few", "b.many", "a.odd", "exact duplicates", "near duplicates")
    assert verdict.keep.tolist() == [False, False, False]
    assert verdict.passes.tolist() == [False, True, False]


def test_counts_of_shards_add_up_to_the_counts_of_all() -> None:
    lines, sizes, sources = [1, 5, 9, 5, 1, 5], [10, 20, 30, 40, 50, 60], ["u", "v", "u", "v", "w", "u"]
    language, score = ["en", "en", "en", "fr", "fr", "en"], [1.0] * 6
    duplicates = [None, None, "exact", None, "near", "near"]

    def counts(part: slice) -> dict[str, Any]:
        verdict = judged(lines[part], language[part], score[part], [None] * len(lines[part]))
        return tally(verdict.with_duplicates(duplicates[part]), documents(sizes[part], source=sources[part]))

    whole = add([counts(slice(None))])
    assert add([counts(slice(0, 2)), counts(slice(2, 2)), counts(slice(2, 6))]) == whole
    assert [row["documents"] for row in whole["funnel"]] == [4, 3, 2, 2, 1]
    assert [row["step"] for row in whole["funnel"]] == ["language", "a", "b", "exact duplicates", "near duplicates"]
    assert whole["reasons"]["language"] == {"documents": 2, "bytes": 90, "sole_documents": 1, "sole_bytes": 40}
    assert whole["groups"]["source"]["u"] == {
        "documents_before": 3,
        "bytes_before": 100,
        "documents": 0,
        "bytes": 0,
    }


def test_a_report_names_the_largest_groups_and_counts_the_rest_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.corpus.verdict.MOST_GROUPS", 2)
    verdict = judged([5] * 4, ["en"] * 4, [1.0] * 4, [None] * 4)
    groups = add([tally(verdict, documents([1, 20, 3, 40], domain=["a", "b", "c", "d"]))])["groups"]["domain"]
    assert list(groups) == ["d", "b", "(2 others)"]
    assert groups["(2 others)"] == {"documents_before": 2, "bytes_before": 4, "documents": 2, "bytes": 4}
