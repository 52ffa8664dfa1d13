"""The verdict on each document of a shard: which criteria it fails, in the order in which the report tells it.

Pure: small columns in, a matrix of booleans and counts out; the text is never looked at. The invariant: every
document that is not kept fails at least one named criterion, and the counts of any two shards can be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.coded import Coded
from raytrain.corpus.dedup.survivors import RULES
from raytrain.corpus.rules import Rule

GROUPS = ("source", "domain", "licence", "origin", "verification", "year", "language")
MOST_GROUPS = 200  # of a kind that a report names
FORGOTTEN, LANGUAGE, SHARE, CUT_AWAY = "forgotten", "language", "limits.max_share", "cut away"
DUPLICATES = {rule: f"{rule} duplicates" for rule in RULES if rule}

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Columns:
    """What is known of a shard's documents: by column, by stage and column, and the language that is believed."""

    documents: Mapping[str, Coded]
    """Those of GROUPS but language."""
    bytes: NDArray[np.int64]
    left: NDArray[np.int64]
    """Bytes that cuts leave of each."""
    stages: Mapping[str, Mapping[str, NDArray[Any]]]
    language: Coded
    sure: Mask
    """Where the language is known: the identification is sure, or the source says it."""


@dataclass(frozen=True)
class Verdict:
    """`failed` is [criteria, documents]; criterion i is called `keys[i]`, its step of the funnel `steps[i]`."""

    steps: tuple[str, ...]
    keys: tuple[str, ...]
    failed: Mask

    @property
    def keep(self) -> Mask:
        return np.asarray(~self.failed.any(axis=0), np.bool_)

    @property
    def passes(self) -> Mask:
        """Fails no criterion that a document is judged by alone: none from the duplicates on."""
        return np.asarray(~self.failed[: self.keys.index(DUPLICATES["exact"])].any(axis=0), np.bool_)

    def mark(self, key: str, failed: Mask) -> Verdict:
        """The verdict with another answer to one criterion."""
        rows = self.failed.copy()
        rows[self.keys.index(key)] = failed
        return replace(self, failed=rows)

    def with_duplicates(self, kinds: NDArray[np.int64]) -> Verdict:
        """The verdict with other duplicates; `kinds` numbers each document's rule among survivors.RULES."""
        found = self
        for rule, key in DUPLICATES.items():
            if key in self.keys:
                found = found.mark(key, kinds == RULES.index(rule))
        return found


def believed(found: Coded, score: NDArray[Any], declared: Coded, min_score: float) -> tuple[Coded, Mask]:
    """(language of each document, whether it is known): the identification decides where it is sure."""
    sure = np.asarray(score >= min_score, np.bool_)
    says = declared.where(lambda code: code is not None)
    return found.unless(sure | ~says, declared), sure | says


def judge(columns: Columns, config: Mapping[str, Any], rules: Sequence[Rule], forgotten: Mask) -> Verdict:
    """Judges documents by their columns under select's `config`; none is a duplicate, or over a share, yet."""
    criteria: list[tuple[str, str, Mask]] = []
    none = np.zeros(len(columns.bytes), np.bool_)
    if config["forgotten"]:
        criteria.append((FORGOTTEN, FORGOTTEN, forgotten))
    if allowed := config["languages"]["allowed"]:
        foreign = ~(columns.sure & columns.language.where(lambda code: code in allowed))
        criteria.append((LANGUAGE, LANGUAGE, foreign))
    criteria += [("limits", f"limits.{name}", failed) for name, failed in _refused(columns, config["limits"])]
    for rule in rules:
        failed = ~rule.keeps(columns.stages[rule.stage][rule.column])
        if rule.languages:
            failed &= columns.language.where(lambda code, rule=rule: code in rule.languages)  # type: ignore[misc]
        criteria.append((rule.set, rule.key, failed))
    if config["cuts"]:
        criteria.append((CUT_AWAY, CUT_AWAY, columns.left == 0))
    off = {"url": not config["duplicates"]["url"], "contained": config["duplicates"]["containment"] is None}
    criteria += [(key, key, none) for rule, key in DUPLICATES.items() if not off.get(rule)]
    if config["limits"]["max_share"]:
        criteria.append(("shares", SHARE, none))
    steps, keys, rows = zip(*criteria, strict=True)
    return Verdict(steps, keys, np.stack(rows))


def tally(verdict: Verdict, columns: Columns) -> dict[str, Any]:
    """Counts of a shard: the funnel after each step, reasons (any failing, and sole), groups before and after.

    Bytes are those of whole documents up to the step that cuts, and in reasons; from there on those that are left.
    """
    size = volume = columns.bytes
    funnel, stay = [], np.ones(len(size), np.bool_)
    for step in dict.fromkeys(verdict.steps):
        own = [i for i, name in enumerate(verdict.steps) if name == step]
        stay &= ~verdict.failed[own].any(axis=0)
        volume = columns.left if step == CUT_AWAY else volume
        funnel.append({"step": step, "documents": int(stay.sum()), "bytes": int(volume[stay].sum())})
    alone = verdict.failed.sum(axis=0) == 1
    names = ("documents", "bytes", "sole_documents", "sole_bytes")
    weights = np.stack([np.ones_like(size), size, alone, size * alone]).astype(np.int64)
    counts = verdict.failed.astype(np.float64) @ weights.T.astype(np.float64)  # exact below 2^53
    reasons = {
        key: dict(zip(names, row, strict=True))
        for key, row in zip(verdict.keys, counts.astype(np.int64).tolist(), strict=True)
    }
    grouped = {**columns.documents, "language": columns.language}
    sums = ("documents_before", "bytes_before", "documents", "bytes")
    weigh = [np.ones_like(size), size, stay.astype(np.int64), columns.left * stay]
    groups = {
        name: {value: dict(zip(sums, held, strict=True)) for value, held in grouped[name].sums(weigh).items()}
        for name in GROUPS
    }
    return {"funnel": funnel, "reasons": reasons, "groups": groups}


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
    verdict: Verdict, document: int, rules: Mapping[str, Rule], columns: Columns, other: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Why a document went: per failed criterion the number that decided and what was asked of it.

    `other` says, by criterion, (column, value, op, threshold) of those that are no rules.
    """
    found = []
    for key, failed in zip(verdict.keys, verdict.failed[:, document], strict=True):
        if failed:
            row = number(rules[key], columns, document) if key in rules else other[key]
            found.append(dict(zip(("rule", "column", "value", "op", "threshold"), (key, *row), strict=True)))
    return found


def number(rule: Rule, columns: Columns, document: int) -> tuple[str, float, str, float]:
    """(column, value, op, threshold) of a rule and a document."""
    return label(rule), float(columns.stages[rule.stage][rule.column][document]), rule.op, rule.threshold


def label(rule: Rule) -> str:
    """What a report calls a rule's column: bare for the text stage, as in the rule itself."""
    return rule.column if rule.stage == "text" else f"{rule.stage}.{rule.column}"


def _refused(columns: Columns, limits: Mapping[str, Any]) -> Iterable[tuple[str, Mask]]:
    """What is asked of every record by itself: values that are refused, licences that are allowed."""
    for name, refused in sorted(limits["refuse"].items()):
        yield name, columns.documents[name].where(lambda value, refused=refused: value in refused)  # type: ignore[misc]
    allow, deny = limits["licences"]["allow"], limits["licences"]["deny"]
    if allow or deny:

        def bad(licence: str | None) -> bool:
            name = licence or "unknown"
            fits = [any(fnmatchcase(name, pattern) for pattern in patterns) for patterns in (allow, deny)]
            return fits[1] or (bool(allow) and not fits[0])

        yield "licences", columns.documents["licence"].where(bad)


def _largest(values: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """The groups by size; the small ones of very many (records may bring domains of their own) as one."""
    ordered = sorted(values.items(), key=_by_bytes)
    held = {value: dict(counts) for value, counts in ordered[:MOST_GROUPS]}
    if rest := [counts for _, counts in ordered[MOST_GROUPS:]]:
        held[f"({len(rest)} others)"] = dict(sum(rest, Counter()))
    return held


def _by_bytes(item: tuple[str, Mapping[str, int]]) -> tuple[int, str]:
    return -item[1]["bytes_before"], item[0]
