"""Rules as data: a name, a column of numbers, a comparison. Which documents a rule set keeps, and why not.

The sets lie in rules/*.yaml with their papers; a recipe may move thresholds, drop rules, write rules of its own in
three lines or bring a file. A set says whose words its thresholds count:

    splitter: whitespace               # of kernels/splitters.py
    rules:                             # what is kept
      long_enough: word_count >= 200
      sure: language.language_score >= 0.8
    languages: {long_enough: [en]}     # rules that hold for these languages only
    by_language:                       # rules with a threshold of each language's own
      de: {dup_lines: dup_line_ratio <= 0.263}

The invariant: a rule never sees the text, so that a changed threshold costs one pass over small columns.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.config import parse_yaml
from raytrain.corpus.kernels.columns import SPLITTERS
from raytrain.corpus.section import CorpusSection, Override
from raytrain.corpus.stages import language, text
from raytrain.corpus.stages.stage import Stage, read_stages
from raytrain.errors import UserError
from raytrain.store.uri import read_text

FOLDER = Path(__file__).with_name("rules")
EXPRESSION = re.compile(r"^\s*(?:(\w+)\.)?(\w+)\s*(>=|<=|==|!=|>|<)\s*([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*$")
RULE_NAME = re.compile(r"^[a-z0-9_]+$")
KEYS = {"splitter", "rules", "languages", "by_language"}
SHIPPED = (*text.STAGES, language.STAGE)  # whose columns a rule may name without more ado
COMPARE: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Rule:
    """Keeps a document if `stage.column op threshold`, or if it is in none of `languages` (none given: all)."""

    set: str
    name: str
    column: str
    op: str
    threshold: float
    languages: tuple[str, ...] = ()
    stage: str = text.STAGE.name

    @property
    def key(self) -> str:
        """How overrides and reports call it."""
        return f"{self.set}.{self.name}"

    def keeps(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(COMPARE[self.op](values, self.threshold), np.bool_)

    def loosened_by(self, threshold: float | None) -> bool:
        """Whether another threshold (None: no rule at all) may keep what this one drops."""
        if threshold is None:
            return True
        if self.op in ("==", "!="):
            return threshold != self.threshold
        return threshold < self.threshold if self.op in (">", ">=") else threshold > self.threshold

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "languages": list(self.languages)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Rule:
        return cls(**{**held, "languages": tuple(held["languages"])})


def rules_of(corpus: CorpusSection) -> list[Rule]:
    """The rules of a recipe's corpus section, in order; last what evaluation sets ask for, where they are not cut."""
    rules, asked = load(corpus.rules, corpus.overrides, stages_of(corpus)), corpus.decontaminate
    if asked.sets and asked.action == "drop":
        last = Rule("decontamination", "overlap", "overlap", "<", asked.overlap, stage="contamination")
        if last.key in {rule.key for rule in rules}:
            raise UserError(f"corpus.rules: {last.key!r} is the rule of corpus.decontaminate; rename your set")
        rules.append(last)
    return rules


def stages_of(corpus: CorpusSection) -> list[Stage]:
    """The stages whose columns the rules may name: shipped ones, then the user's in the recipe's order."""
    return [*SHIPPED, *read_stages(corpus.stages)]


def stages_needed(rules: Iterable[Rule]) -> list[str]:
    """The names of the stages whose columns the rules ask for, each once, in the order of the rules."""
    return list(dict.fromkeys(rule.stage for rule in rules))


def load(
    sets: Iterable[str | Mapping[str, Any]],
    overrides: Mapping[str, float | Override | None],
    stages: Sequence[Stage] = SHIPPED,
) -> list[Rule]:
    """The rules of the sets in order, thresholds moved or rules dropped (None) by `overrides`.

    Raises a UserError for two rules of one name, for an override of no rule, and for one that loosens a rule without a
    reason.
    """
    rules = [rule for held in sets for rule in read_set(held, stages)]
    known: set[str] = set()
    for rule in rules:
        if rule.key in known:
            raise UserError(f"corpus.rules: two rules are called {rule.key!r}; rename one, or name its set only once")
        known.add(rule.key)
    for key in overrides:
        if key not in known:
            raise UserError(f"corpus.overrides: no rule is called {key!r}; {_hint(key, sorted(known))}")
    moved: list[Rule] = []
    for rule in rules:
        said = overrides.get(rule.key, rule.threshold)
        threshold, reason = (said.threshold, said.reason) if isinstance(said, Override) else (said, "")
        if rule.loosened_by(threshold) and not reason:
            what = "drops the rule" if threshold is None else f"{threshold:g} keeps more than {rule.threshold:g} does"
            wanted = f"{{threshold: {'null' if threshold is None else f'{threshold:g}'}, reason: ...}}"
            raise UserError(f"corpus.overrides: {rule.key}: {what}; say why: {wanted}")
        if threshold is not None:
            moved.append(replace(rule, threshold=float(threshold)))
    return moved


def read_set(held: str | Mapping[str, Any], stages: Sequence[Stage] = SHIPPED) -> list[Rule]:
    """The rules of a shipped set, of a YAML file whose path ends in .yaml, or of sets written in the recipe itself."""
    if not isinstance(held, str):
        return [rule for name, said in held.items() for rule in _rules(f"corpus.rules: {name}", name, said, stages)]
    path = held if held.endswith((".yaml", ".yml")) else f"{FOLDER}/{held}.yaml"
    try:
        document = parse_yaml(read_text(path), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"corpus.rules: {held!r} cannot be read: {error}") from None
    if "splitter" not in document:
        raise UserError(f"{path}: no splitter; say by whose words it counts: splitter: {' or '.join(SPLITTERS)}")
    return _rules(path, Path(path).stem, document, stages)


def _rules(place: str, name: str, document: Any, stages: Sequence[Stage]) -> list[Rule]:
    """The rules of one set, whose document is a mapping of KEYS or, in a recipe, of its rules alone."""
    if isinstance(document, dict) and document and not set(document) & {"rules", "by_language"}:
        document = {"rules": document}
    if not isinstance(document, dict) or set(document) - KEYS:
        raise UserError(f"{place}: a rule set has the keys {', '.join(sorted(KEYS))}; rules are `name: column >= 0.1`")
    splitter = document.get("splitter", SPLITTERS[0])
    if splitter not in SPLITTERS:
        raise UserError(f"{place}: splitter is {splitter!r}; there are {', '.join(SPLITTERS)}")
    rules, languages, own = (document.get(key) or {} for key in ("rules", "languages", "by_language"))
    if not isinstance(rules, dict) or not (rules or own):
        raise UserError(f"{place}: a rule set is `splitter:` and `rules:` with lines `name: column >= 0.1`")
    if not isinstance(languages, dict) or not all(isinstance(codes, list) for codes in languages.values()):
        raise UserError(f"{place}: languages: give the rules that hold for some languages only, as `name: [en]`")
    if set(languages) - set(rules):
        raise UserError(f"{place}: languages: no rule is called {min(set(languages) - set(rules))!r}")
    if not isinstance(own, dict) or not all(isinstance(held, dict) for held in own.values()):
        raise UserError(f"{place}: by_language: give rules by language, as `de: {{name: column >= 0.1}}`")
    default = text.stage_of(splitter).name
    found = [
        _rule(place, name, key, said, tuple(languages.get(key, ())), default, stages) for key, said in rules.items()
    ]
    for code, held in own.items():
        found += [
            _rule(place, name, f"{key}_{code}", said, (str(code),), default, stages) for key, said in held.items()
        ]
    return found


def _rule(
    place: str, set_: str, name: Any, said: Any, languages: tuple[str, ...], default: str, stages: Sequence[Stage]
) -> Rule:
    match = EXPRESSION.match(str(said))
    if not match or not RULE_NAME.match(str(name)):
        raise UserError(f"{place}: {name}: {said!r} is not of the form `column >= number`")
    stage, column, op, threshold = match.groups()
    if not math.isfinite(float(threshold)):
        raise UserError(f"{place}: {name}: {threshold} is beyond every number; give a finite threshold")
    stage = stage or default
    columns = {held.name: held.columns_out for held in stages}
    for what, value, known in (("stage", stage, columns), ("column", column, columns.get(stage, ()))):
        if value not in known:
            raise UserError(f"{place}: {name}: no {what} is called {value!r}; {_hint(value, list(known))}")
    return Rule(set_, str(name), column, op, float(threshold), languages, stage)


def _hint(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
