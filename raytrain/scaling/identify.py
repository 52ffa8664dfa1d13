"""What a fitted law does not say: which of its parameters the points leave open, and why. Pure.

A parameter counts as identified when nothing in the grid's shape forbids it, the starts that reached the best
objective agree on it, it is not on the edge of its box, and its 95% bootstrap interval is narrow. Findings carry a code
for machines and a sentence for people. The thresholds are conventions and stand below by name. The invariant: a
parameter is either in `identified` or named by at least one finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from raytrain.scaling.fit import Fit, Points
from raytrain.scaling.law import FLOPS_PER_PARAMETER_TOKEN, NAMES, Array

INTERVAL = (2.5, 97.5)  # percent
SAME_SHARE = 1.1  # a range below this ratio is one value
WIDE_EXPONENT = 0.1  # alpha, beta: an interval this wide spans the literature's differences
WIDE_RATIO = 10.0  # A, B: high over low
WIDE_E = 0.1  # E: width of the interval as a share of the lowest loss
FLAT = {"A": 0.5, "B": 0.5, "E": 0.05, "alpha": 0.02, "beta": 0.02}  # range over starts that agree on the objective
FEW_POINTS = 8
FEW_STARTS = 0.1
MOSTLY_EMBEDDING = 0.2
_TERMS = {"A": ("A", "alpha"), "alpha": ("A", "alpha"), "B": ("B", "beta"), "beta": ("B", "beta")}


@dataclass(frozen=True)
class Finding:
    """A reason for doubt: `parameters` are those it leaves open, none when it weakens the whole fit."""

    code: str
    parameters: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """What the points settle, and what they do not."""

    identified: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def open(self) -> tuple[str, ...]:
        """Parameters that are not identified."""
        return tuple(name for name in NAMES if name not in self.identified)

    @property
    def sentence(self) -> str:
        """Both halves in words."""
        if not self.open:
            return "The grid identifies all five parameters of the law."
        if not self.identified:
            return f"The grid identifies no parameter of the law: not {_listed(self.open)}."
        return f"The grid identifies {_listed(self.identified)}; it does not identify {_listed(self.open)}."


def interval(values: Array) -> tuple[float, float]:
    """The 95% percentile interval of bootstrap figures."""
    low, high = np.percentile(values, INTERVAL)
    return float(low), float(high)


def identify(points: Points, fit: Fit, embedding_share: Sequence[float] = ()) -> Verdict:
    """Judges a fit by the points it was made from; `embedding_share` is that of each point's parameters."""
    findings = [*_shape(points), *_search(fit), *_width(points, fit), *_range(points, fit)]
    if len(embedding_share) and max(embedding_share) > MOSTLY_EMBEDDING:
        findings.append(
            Finding(
                "mostly_embedding",
                (),
                f"Up to {max(embedding_share):.0%} of a model's parameters are embeddings, so N by all parameters and "
                "N without embeddings would give different exponents.",
            )
        )
    doubted = {name for finding in findings for name in finding.parameters}
    return Verdict(tuple(name for name in NAMES if name not in doubted), tuple(findings))


def _shape(points: Points) -> list[Finding]:
    """What no amount of data in this shape of grid could tell."""
    sizes, counts = _ratio(points.parameters), _ratio(points.tokens)
    if sizes < SAME_SHARE and counts < SAME_SHARE:
        return [Finding("one_cell", NAMES, "All points have one size and one token count.")]
    if sizes < SAME_SHARE:
        told = "All models have one size: A, alpha and E only ever appear as one sum."
        return [Finding("one_size", ("A", "E", "alpha"), told)]
    if counts < SAME_SHARE:
        told = "All models saw as many tokens: B, beta and E only ever appear as one sum."
        return [Finding("one_token_count", ("B", "E", "beta"), told)]
    x, y = np.log(points.parameters), np.log(points.tokens)
    beside = y - np.polyval(np.polyfit(x, y, 1), x)
    if np.ptp(beside) < np.log(SAME_SHARE):
        told = "Tokens follow size at a constant ratio or power: what size does cannot be told from what tokens do."
        return [Finding("constant_ratio", ("A", "B", "alpha", "beta"), told)]
    return []


def _search(fit: Fit) -> list[Finding]:
    """What the search for the best law shows about its neighbourhood."""
    found = []
    for name in fit.at_bound:
        told = f"{name} lies on the edge of what is searched: the points would rather have it beyond"
        # A term's factor and exponent stand or fall together; without a floor the exponents mean something else.
        after = NAMES if name == "E" else _TERMS[name]
        told += ", and the exponents are those of a law without a floor." if name == "E" else "."
        found.append(Finding(f"at_bound_{name}", after, told))
    flat = tuple(name for name in NAMES if fit.spread[name] > FLAT[name])
    if flat:
        told = f"Laws that fit equally well differ in {_listed(flat)}."
        found.append(Finding("flat", flat, told))
    if fit.agreement < FEW_STARTS:
        told = f"Only {fit.agreement:.0%} of the starts reached the best fit: there may be a better one."
        found.append(Finding("few_starts_agree", NAMES, told))
    return found


def _width(points: Points, fit: Fit) -> list[Finding]:
    """Intervals too wide to be called knowledge."""
    tests: dict[str, Callable[[float, float], bool]] = {
        "A": lambda low, high: high > WIDE_RATIO * low,
        "B": lambda low, high: high > WIDE_RATIO * low,
        "E": lambda low, high: high - low > WIDE_E * float(points.loss.min()),
        "alpha": lambda low, high: high - low > WIDE_EXPONENT,
        "beta": lambda low, high: high - low > WIDE_EXPONENT,
    }
    found = []
    for name, column in zip(NAMES, fit.draws.T, strict=True):
        low, high = interval(column)
        if tests[name](low, high):
            told = f"{name} may lie anywhere from {_short(low)} to {_short(high)} (95%)."
            found.append(Finding(f"wide_{name}", (name,), told))
    return found


def _range(points: Points, fit: Fit) -> list[Finding]:
    """Limits of the grid that weaken every conclusion."""
    found = []

    def doubt(code: str, sentence: str) -> None:
        found.append(Finding(code, (), sentence))

    if len(points) < FEW_POINTS:
        doubt("few_points", f"{len(points)} points for five parameters: the intervals themselves are rough.")
    for code, what, values in (
        ("narrow_sizes", "Sizes", points.parameters),
        ("narrow_tokens", "Token counts", points.tokens),
    ):
        if SAME_SHARE <= _ratio(values) < 10:
            doubt(code, f"{what} span a factor of {_ratio(values):.1f}, less than a decade.")
    ratio = points.tokens / points.parameters
    if _ratio(ratio) < 4:
        doubt("narrow_ratio", f"Tokens per parameter span a factor of {_ratio(ratio):.1f} only.")
    flops = FLOPS_PER_PARAMETER_TOKEN * points.parameters * points.tokens
    for what, best, values in zip(
        ("parameters", "tokens"), fit.law.optimum(float(flops.max())), (points.parameters, points.tokens), strict=True
    ):
        low, high = float(values.min()), float(values.max())
        if not low <= float(best) <= high:
            doubt(
                f"optimum_outside_{what}",
                f"The law would spend the largest budget on {_short(float(best))} {what}, outside the grid's "
                f"{_short(low)} to {_short(high)}: the grid does not bracket the best split.",
            )
    return found


def _ratio(values: Array) -> float:
    return float(values.max() / values.min())


def _short(value: float) -> str:
    """Three significant digits, thousands by their prefix."""
    for power, prefix in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if 10**power <= value < 10 ** (power + 3):
            return f"{value / 10**power:.3g} {prefix}"
    return f"{value:.3g}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
