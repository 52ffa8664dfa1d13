"""Figures of a run that several parts of the report show: its scores, its cost, its progress, its curve. Pure.

The invariant: a figure means the same wherever it stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raytrain.observe.notation import mapping, number_or, real
from raytrain.observe.report.section import Facts, entries


def scores(facts: Facts) -> tuple[float | None, list[tuple[str, float]]]:
    """The model's held-out bits per byte, and the plain compressors' that are known, by name."""
    found = mapping(facts.get("evaluation"))
    score = real(found.get("val_bits_per_byte"))
    if score is None:
        full = [v for v in entries(facts.get("validation")) if v.get("full")]
        score = real(full[-1].get("bits_per_byte")) if full else None
    known = (("xz", found.get("xz_bits_per_byte")), ("PPMd", found.get("ppmd_bits_per_byte")))
    return score, [(name, v) for name, value in known if (v := real(value)) is not None and v > 0]


def total_cost(facts: Facts) -> float | None:
    """Dollars for everything: training by the ledger, and the other steps."""
    books = mapping(facts.get("account"))
    parts = [v for k in ("cost_usd", "data_cost_usd") if (v := real(books.get(k))) is not None]
    paid = real(books.get("elapsed_seconds")) or real(books.get("data_cost_usd"))
    return math.fsum(parts) if parts and paid else None


def progress(facts: Facts) -> tuple[float, float]:
    """Steps and tokens of the surviving history."""
    model, curve = mapping(facts.get("model")), entries(facts.get("curve"))
    last = curve[-1] if curve else {}
    return (
        number_or(model.get("steps"), number_or(last.get("step"), 0)),
        number_or(model.get("tokens"), number_or(last.get("tokens"), 0)),
    )


@dataclass(frozen=True)
class Step:
    """A point of the curve; a figure that was not noted is NaN, seconds and MFU are 0."""

    step: float
    tokens: float
    loss: float
    learning_rate: float
    grad_norm: float
    speed: float
    mfu: float
    seconds: float
    workers: float


def curve_of(facts: Facts) -> list[Step]:
    points: list[Step] = []
    before = 0.0
    for row in entries(facts.get("curve")):
        tokens, seconds = number_or(row.get("tokens"), before), number_or(row.get("seconds"), 0.0)
        speed = real(row.get("tokens_per_second"))
        if speed is None:
            speed = (tokens - before) / seconds if seconds > 0 else math.nan
        loss, rate, norm = (number_or(row.get(k), math.nan) for k in ("loss", "learning_rate", "grad_norm"))
        mfu, workers = number_or(row.get("mfu"), 0.0), number_or(row.get("workers"), math.nan)
        step = real(row.get("step"))
        if step is not None:
            points.append(Step(step, tokens, loss, rate, norm, speed, mfu, seconds, workers))
        before = tokens
    return points
