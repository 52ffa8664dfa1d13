"""From a sweep's points to what `law.json` says: the law, its intervals, what it leaves open, the best use of a budget.

Producers write, `observe` draws: nothing here is text for a page but the findings' sentences. The invariant: equal
points, seed and draws give equal figures.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

import raytrain
from raytrain.config import digest
from raytrain.scaling.fit import DELTA, STARTS, Fit, Points, fit
from raytrain.scaling.identify import identify, interval
from raytrain.scaling.law import FLOPS_PER_PARAMETER_TOKEN, Array, Law

FORM = "L = E + A / N^alpha + B / D^beta"
BUDGETS = (1.0, 10.0, 100.0)  # times the largest of the grid
FAR = 10.0  # beyond so many times the largest budget a figure is a guess


def study(rows: Sequence[Mapping[str, Any]], *, seed: int, draws: int) -> tuple[dict[str, Any], bytes]:
    """(law.json, draws.npy) of finished points: rows with run, parameters, non_embedding_parameters, tokens, loss.

    N counts all parameters. Raises ValueError for fewer than three rows.
    """
    points = Points.of([(r["parameters"], r["tokens"], r["loss"]) for r in rows])
    found = fit(points, seed=seed, draws=draws)
    shares = [1 - r["non_embedding_parameters"] / r["parameters"] for r in rows]
    verdict = identify(points, found, shares)
    stored = _npy(found.draws)
    largest = float((FLOPS_PER_PARAMETER_TOKEN * points.parameters * points.tokens).max())
    body = {
        "form": FORM,
        "fit": f"least Huber loss (delta {DELTA:g}) of log L, {STARTS} starts; N counts all parameters",
        "parameters": {
            name: {"value": value, **_bounds(column), "identified": name in verdict.identified}
            for (name, value), column in zip(found.law.as_dict().items(), found.draws.T, strict=True)
        },
        "exponent": {"value": float(found.law.exponent), **_bounds(found.drawn().exponent)},
        "objective": found.objective,
        "starts_that_agree": found.agreement,
        "draws": {"count": draws, "sha256": hashlib.sha256(stored).hexdigest(), "object": "draws.npy"},
        "identified": list(verdict.identified),
        "not_identified": list(verdict.open),
        "sentence": verdict.sentence,
        "findings": [asdict(finding) for finding in verdict.findings],
        "optima": [optimum(found.law, found.drawn(), largest * times, largest) for times in BUDGETS],
        "points": {
            "count": len(points),
            "sha256": digest([[r["run"], r["parameters"], r["tokens"], r["loss"]] for r in rows], 64),
            "parameters": _ends(points.parameters),
            "tokens": _ends(points.tokens),
            "tokens_per_parameter": _ends(points.tokens / points.parameters),
            "largest_flops": largest,
            "residuals": _residuals(points, found, rows),
        },
        "seed": seed,
        "code": raytrain.__version__,
    }
    return body, stored


def optimum(law: Law, drawn: Law, flops: float, largest: float) -> dict[str, Any]:
    """The best use of a budget of C = 6 N D FLOPs, with 95% intervals. `largest` is the grid's largest budget."""
    parameters, tokens = law.optimum(flops)
    sizes, counts = drawn.optimum(flops)
    return {
        "flops": flops,
        "parameters": {"value": float(parameters), **_bounds(sizes)},
        "tokens": {"value": float(tokens), **_bounds(counts)},
        "tokens_per_parameter": {"value": float(tokens / parameters), **_bounds(counts / sizes)},
        "loss": {"value": float(law.loss(parameters, tokens)), **_bounds(drawn.loss(sizes, counts))},
        "extrapolation": flops / largest,
        "far": flops > FAR * largest * (1 + 1e-9),
    }


def expect(body: Mapping[str, Any], draws: bytes, parameters: float, tokens: float) -> dict[str, Any]:
    """The loss that a stored law foretells, with its 95% interval and how far beyond the grid it is asked."""
    law = Law.of({name: entry["value"] for name, entry in body["parameters"].items()})
    drawn = Law(*np.load(io.BytesIO(draws), allow_pickle=False).T)
    times = FLOPS_PER_PARAMETER_TOKEN * parameters * tokens / body["points"]["largest_flops"]
    return {
        "loss": {"value": float(law.loss(parameters, tokens)), **_bounds(drawn.loss(parameters, tokens))},
        "extrapolation": times,
        "far": times > FAR,
    }


def best_split(body: Mapping[str, Any], draws: bytes, flops: float) -> dict[str, Any]:
    """`optimum` of a stored law."""
    law = Law.of({name: entry["value"] for name, entry in body["parameters"].items()})
    drawn = Law(*np.load(io.BytesIO(draws), allow_pickle=False).T)
    return optimum(law, drawn, flops, body["points"]["largest_flops"])


def _residuals(points: Points, found: Fit, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Loss over fitted loss, less one, by run."""
    ratio = points.loss / found.law.loss(points.parameters, points.tokens) - 1
    return {str(row["run"]): float(value) for row, value in zip(rows, ratio, strict=True)}


def _bounds(values: Array) -> dict[str, float]:
    low, high = interval(values)
    return {"low": low, "high": high}


def _ends(values: Array) -> list[float]:
    return [float(values.min()), float(values.max())]


def _npy(values: Array) -> bytes:
    sink = io.BytesIO()
    np.save(sink, values, allow_pickle=False)
    return sink.getvalue()
