"""The verdict on each document of a shard: which criteria it fails, in the order in which the report tells it.

Pure: small columns in, a matrix of booleans and counts out; the text is never looked at. The invariant: every
document that is not kept fails at least one named criterion, and the counts of any two shards can be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.rules import Rule, failures

GROUPS = ("source", "domain", "licence", "origin", "language")
MOST_GROUPS = 200  # of a kind that a report names
LANGUAGE, EXACT, NEAR = "language", "exact duplicates", "near duplicates"


@dataclass(frozen=True)
class Verdict:
    """`failed` is [criteria, documents]; criterion i is called `keys[i]`, its step of the funnel `steps[i]`."""

    steps: tuple[str, ...]
    keys: tuple[str, ...]
    failed: NDArray[np.bool_]
    language: list[str]

    @property
    def keep(self) -> NDArray[np.bool_]:
        return np.asarray(~self.failed.any(axis=0), np.bool_)

    @property
    def passes(self) -> NDArray[np.bool_]:
        """Fails no criterion but, perhaps, those of duplicates."""
        return np.asarray(~self.failed[:-2].any(axis=0), np.bool_)

    def with_duplicates(self, kinds: Sequence[str | None]) -> Verdict:
        """The verdict with other duplicates; `kinds` is exact, near or None for each document."""
        rows = [np.array([found == kind for found in kinds], np.bool_) for kind in ("exact", "near")]
        return replace(self, failed=np.stack([*self.failed[:-2], *rows]))


def judge(
    documents: Mapping[str, Sequence[Any]],
    text: Mapping[str, NDArray[Any]],
    language: Mapping[str, Sequence[Any]],
    rules: Sequence[Rule],
    languages: Mapping[str, Any],
) -> Verdict:
    """Judges documents by columns, of which `documents` has declared_language; none is a duplicate yet.

    The identification decides the language where it is sure (min_score), else what the source declares.
    """
    declared = documents["declared_language"]
    known = [
        code if score >= languages["min_score"] or not says else says
        for code, score, says in zip(language["language"], language["language_score"], declared, strict=True)
    ]
    steps: list[str] = []
    keys: list[str] = []
    rows: list[NDArray[np.bool_]] = []
    if languages["allowed"]:
        sure = np.array(language["language_score"], np.float64) >= languages["min_score"]
        sure |= np.array([says is not None for says in declared], np.bool_)
        allowed = np.array([code in languages["allowed"] for code in known], np.bool_)
        steps, keys, rows = [LANGUAGE], [LANGUAGE], [~(sure & allowed)]
    failed = failures(rules, text, known)
    steps += [rule.set for rule in rules] + [EXACT, NEAR]
    keys += [rule.key for rule in rules] + [EXACT, NEAR]
    none = np.zeros((2, len(known)), np.bool_)
    return Verdict(tuple(steps), tuple(keys), np.stack([*rows, *failed, *none]), known)


def tally(verdict: Verdict, documents: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Counts of a shard: the funnel after each step, reasons (any failing, and sole), groups before and after."""
    size = np.array(documents["bytes"], np.int64)
    funnel, left = [], np.ones(len(size), np.bool_)
    for step in dict.fromkeys(verdict.steps):
        own = [i for i, name in enumerate(verdict.steps) if name == step]
        left &= ~verdict.failed[own].any(axis=0)
        funnel.append({"step": step, "documents": int(left.sum()), "bytes": int(size[left].sum())})
    alone = verdict.failed.sum(axis=0) == 1
    reasons = {
        key: {
            "documents": int(row.sum()),
            "bytes": int(size[row].sum()),
            "sole_documents": int((row & alone).sum()),
            "sole_bytes": int(size[row & alone].sum()),
        }
        for key, row in zip(verdict.keys, verdict.failed, strict=True)
    }
    columns = {**{name: documents[name] for name in GROUPS if name != "language"}, "language": verdict.language}
    return {"funnel": funnel, "reasons": reasons, "groups": {n: _group(c, size, left) for n, c in columns.items()}}


def add(tallies: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of tallies of shards that were judged alike."""
    funnel: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    groups: dict[str, dict[str, Counter[str]]] = {name: {} for name in GROUPS}
    for one in tallies:
        for row in one["funnel"]:
            counts = {"documents": row["documents"], "bytes": row["bytes"]}
            funnel.setdefault(row["step"], Counter()).update(counts)
        for key, counts in one["reasons"].items():
            reasons.setdefault(key, Counter()).update(counts)
        for name, values in one["groups"].items():
            for value, counts in values.items():
                groups[name].setdefault(value, Counter()).update(counts)
    return {
        "funnel": [{"step": step, **counts} for step, counts in funnel.items()],
        "reasons": {key: dict(counts) for key, counts in reasons.items()},
        "groups": {name: _largest(values) for name, values in groups.items()},
    }


def numbers(
    verdict: Verdict,
    document: int,
    rules: Mapping[str, Rule],
    text: Mapping[str, NDArray[Any]],
    language: Mapping[str, Sequence[Any]],
    dedup: Mapping[str, Sequence[Any]],
    config: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Why a document went: per failed criterion the number that decided and what was asked of it."""
    found = []
    for key, failed in zip(verdict.keys, verdict.failed[:, document], strict=True):
        if not failed:
            continue
        if key in rules:
            rule = rules[key]
            row = (rule.column, float(text[rule.column][document]), rule.op, rule.threshold)
        elif key == LANGUAGE:
            score = float(language["language_score"][document])
            row = (f"score of {verdict.language[document]}", score, ">=", config["languages"]["min_score"])
        else:
            other, similarity = dedup["duplicate_of"][document], float(dedup["jaccard"][document])
            row = (f"jaccard with document {other}", similarity, "<", config["jaccard"])
        found.append(dict(zip(("rule", "column", "value", "op", "threshold"), (key, *row), strict=True)))
    return found


def _group(values: Sequence[Any], size: NDArray[np.int64], kept: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
    names, which = np.unique(np.array(values, dtype=object).astype(str), return_inverse=True)
    columns = {
        "documents_before": np.bincount(which, minlength=len(names)),
        "bytes_before": np.bincount(which, size, len(names)),
        "documents": np.bincount(which, kept, len(names)),
        "bytes": np.bincount(which, size * kept, len(names)),
    }
    return {str(name): {column: int(held[i]) for column, held in columns.items()} for i, name in enumerate(names)}


def _largest(values: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """The groups by size; the small ones of very many (records may bring domains of their own) as one."""
    ordered = sorted(values.items(), key=_by_bytes)
    held = {value: dict(counts) for value, counts in ordered[:MOST_GROUPS]}
    if rest := [counts for _, counts in ordered[MOST_GROUPS:]]:
        held[f"({len(rest)} others)"] = dict(sum(rest, Counter()))
    return held


def _by_bytes(item: tuple[str, Mapping[str, int]]) -> tuple[int, str]:
    return -item[1]["bytes_before"], item[0]
