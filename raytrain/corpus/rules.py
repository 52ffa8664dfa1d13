"""Rules as data: a name, a column of numbers, a comparison. Which documents a rule set keeps, and why not.

The sets lie in rules/*.yaml with their papers; a recipe may move thresholds, drop rules and bring its own file.
The invariant: a rule never sees the text, so that a changed threshold costs one pass over small columns.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.config import parse_yaml
from raytrain.corpus.kernels.columns import SPLITTER
from raytrain.corpus.section import CorpusSection
from raytrain.corpus.stages import language, text
from raytrain.corpus.stages.stage import Stage, read_stages
from raytrain.errors import UserError
from raytrain.store.uri import read_text

FOLDER = Path(__file__).with_name("rules")
EXPRESSION = re.compile(r"^\s*(?:(\w+)\.)?(\w+)\s*(>=|<=|==|!=|>|<)\s*([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*$")
SHIPPED = (text.STAGE, language.STAGE)  # whose columns a rule may name without more ado
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

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "languages": list(self.languages)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Rule:
        return cls(**{**held, "languages": tuple(held["languages"])})


def rules_of(corpus: CorpusSection) -> list[Rule]:
    """The rules of a recipe's corpus section, in order; last what evaluation sets ask for, where they are not cut."""
    rules, asked = load(corpus.rules, corpus.overrides, stages_of(corpus)), corpus.decontaminate
    if asked.sets and asked.action == "drop":
        rules.append(Rule("decontamination", "overlap", "overlap", "<", asked.overlap, stage="contamination"))
    return rules


def stages_of(corpus: CorpusSection) -> list[Stage]:
    """The stages whose columns the rules may name: shipped ones, then the user's in the recipe's order."""
    return [*SHIPPED, *read_stages(corpus.stages)]


def stages_needed(rules: Iterable[Rule]) -> list[str]:
    """The names of the stages whose columns the rules ask for, each once, in the order of the rules."""
    return list(dict.fromkeys(rule.stage for rule in rules))


def load(sets: Iterable[str], overrides: Mapping[str, float | None], stages: Sequence[Stage] = SHIPPED) -> list[Rule]:
    """The rules of the sets in order, thresholds moved or rules dropped (None) by `overrides`."""
    rules = [rule for name in sets for rule in read_set(name, stages)]
    known = {rule.key for rule in rules}
    for key in overrides:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known)) or 'none'}"
            raise UserError(f"corpus.overrides: no rule is called {key!r}; {hint}")
    moved: list[Rule] = []
    for rule in rules:
        threshold = overrides.get(rule.key, rule.threshold)
        if threshold is not None:
            moved.append(replace(rule, threshold=float(threshold)))
    return moved


def read_set(name: str, stages: Sequence[Stage] = SHIPPED) -> list[Rule]:
    """The rules of a shipped set, or of a YAML file whose path ends in .yaml."""
    path = name if name.endswith((".yaml", ".yml")) else f"{FOLDER}/{name}.yaml"
    try:
        document = parse_yaml(read_text(path), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"corpus.rules: {name!r} cannot be read: {error}") from None
    splitter = document.get("splitter")
    if splitter != SPLITTER:
        raise UserError(f"{path}: splitter is {splitter!r}; thresholds here are for {SPLITTER!r}, say so in the file")
    rules, languages = document.get("rules"), document.get("languages", {})
    if not isinstance(rules, dict) or not rules or set(document) - {"splitter", "rules", "languages"}:
        raise UserError(f"{path}: a rule set is `splitter: {SPLITTER}` and `rules:` with lines `name: column >= 0.1`")
    if not isinstance(languages, dict) or not all(isinstance(codes, list) for codes in languages.values()):
        raise UserError(f"{path}: languages: give the rules that hold for some languages only, as `name: [en]`")
    if set(languages) - set(rules):
        raise UserError(f"{path}: languages: no rule is called {min(set(languages) - set(rules))!r}")
    columns = {stage.name: stage.columns_out for stage in stages}
    return [_rule(path, key, value, tuple(languages.get(key, ())), columns) for key, value in rules.items()]


def failures(rules: Sequence[Rule], columns: Mapping[str, NDArray[Any]], languages: Sequence[str]) -> NDArray[np.bool_]:
    """[rules, documents]: which document each rule rejects, given each document's language. NaN is rejected."""
    failed = np.zeros((len(rules), len(languages)), np.bool_)
    for i, rule in enumerate(rules):
        failed[i] = ~rule.keeps(columns[rule.column])
        if rule.languages:
            failed[i] &= np.array([code in rule.languages for code in languages], np.bool_)
    return failed


def _rule(
    path: str, name: Any, expression: Any, languages: tuple[str, ...], columns: Mapping[str, Sequence[str]]
) -> Rule:
    match = EXPRESSION.match(str(expression))
    if not match or not re.match(r"^[a-z0-9_]+$", str(name)):
        raise UserError(f"{path}: {name}: {expression!r} is not of the form `column >= number`")
    stage, column, op, threshold = match.groups()
    stage = stage or text.STAGE.name
    for what, value, known in (("stage", stage, columns), ("column", column, columns.get(stage, ()))):
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise UserError(f"{path}: {name}: no {what} is called {value!r}; {hint}")
    return Rule(Path(path).stem, str(name), column, op, float(threshold), languages, stage)
