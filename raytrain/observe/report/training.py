"""Training as it went: the loss, validation, and the small charts of what else moved with the steps. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

from raytrain.observe import charts
from raytrain.observe.charts import Line, Point
from raytrain.observe.notation import MISSING, THIN, count, number_or, real, significant
from raytrain.observe.page import figure, grid
from raytrain.observe.report.figures import Step, curve_of, scores
from raytrain.observe.report.section import Facts, entries


def training(facts: Facts) -> str:
    curve = curve_of(facts)
    if not curve:
        return ""
    large = grid("wide", [_loss_chart(curve), _validation_chart(facts, curve)])
    return large + grid("small", _multiples(curve)) + _skipped(curve)


def _tokens_at(curve: Sequence[Step]) -> Callable[[float], str]:
    """How many tokens a step comes after, for the second line of an axis."""
    steps = [p.step for p in curve]

    def note(step: float) -> str:
        near = curve[min(len(curve) - 1, bisect_left(steps, step))]
        return charts.round_short(near.tokens * step / near.step if near.step else 0)

    return note


def _loss_chart(curve: Sequence[Step]) -> str:
    raw = [(p.step, p.loss) for p in curve]
    smoothed = charts.smooth(raw)
    lines = [Line("each step", raw, "one faint"), Line("smoothed", smoothed, "one")]
    note = _tokens_at(curve)
    label = f"training loss from {significant(raw[0][1])} to {significant(smoothed[-1][1] if smoothed else math.nan)}"
    late = raw[len(raw) // 10 :]
    views = [
        ("linear", charts.line_chart(lines, label=label, height=260, x_note=note)),
        (
            "log steps",
            charts.line_chart(lines, label=label, height=260, x_note=note, log_x=True) if len(raw) > 9 else "",
        ),
        (
            "without the first tenth",
            charts.line_chart(
                [Line("each step", late, "one faint"), Line("smoothed", smoothed[-len(late) :], "one")],
                label=label,
                height=260,
                x_note=note,
            )
            if len(raw) > 50
            else "",
        ),
    ]
    last = significant(smoothed[-1][1], 4) if smoothed else MISSING
    key = charts.legend([("each step", "one faint", ""), ("smoothed", "one", last)])
    return figure("Training loss", "nats per token, by step and tokens", lines, views, key)


def _validation_chart(facts: Facts, curve: Sequence[Step]) -> str:
    rows = [r for r in entries(facts.get("validation")) if real(r.get("step")) is not None]
    series = {
        full: sorted(
            (float(r["step"]), number_or(r.get("bits_per_byte"), math.nan)) for r in rows if bool(r.get("full")) is full
        )
        for full in (False, True)
    }
    lines = [
        Line("on a sample", series[False], "two", marks=True),
        Line("on all held-out text", series[True], "three big", marks=True),
    ]
    lines = [n for n in lines if n.points]
    if not lines:
        return ""
    _, rivals = scores(facts)
    svg = charts.line_chart(
        lines, label="bits per byte on held-out text", height=260, levels=rivals, x_note=_tokens_at(curve)
    )
    key = charts.legend((n.name, n.style, significant(n.points[-1][1], 4)) for n in lines)
    return figure("Validation", "bits per byte", lines, [("linear", svg)], key)


def _multiples(curve: Sequence[Step]) -> list[str]:
    """The small charts: learning rate, gradient norm, speed, and what else changed."""

    def points(value: Callable[[Step], float]) -> list[Point]:
        return [(p.step, value(p)) for p in curve]

    def one(title: str, unit: str, raw: list[Point], steady: bool, show: Callable[[float], str] | None = None) -> str:
        fine = [y for _, y in raw if math.isfinite(y)]
        if not fine or not any(fine):
            return ""
        lines = [Line(title.lower(), raw, "one")]
        if not steady and len(raw) > 20:
            lines = [Line("each step", raw, "one faint"), Line("smoothed", charts.smooth(raw), "one")]
        svg = charts.line_chart(lines, label=f"{title}, {unit}", height=130, from_zero=True, y_format=show)
        return figure(title, unit, lines, [("linear", svg)])

    workers = points(lambda p: p.workers)
    figures = [
        one("Learning rate", "by step", points(lambda p: p.learning_rate), True),
        one("Gradient norm", "before clipping", points(lambda p: p.grad_norm), False),
        one("Throughput", "tokens per second", points(lambda p: p.speed), False, charts.round_short),
        one("Model FLOPs used", "MFU, share of peak", points(lambda p: p.mfu), False, _whole_percent),
    ]
    if len({w for _, w in workers if math.isfinite(w)}) > 1:
        figures[-1:] = [one("Workers", "at each step", workers, True)]
    return figures


def _whole_percent(ratio: float) -> str:
    return f"{ratio * 100:.3g}{THIN}%"


def _skipped(curve: Sequence[Step]) -> str:
    broken = [p.step for p in curve if not math.isfinite(p.loss)]
    if not broken:
        return ""
    which = ", ".join(count(s) for s in broken[:8]) + (" …" if len(broken) > 8 else "")
    words = f"The loss was not finite at {count(len(broken))} steps ({which}); the curve has a gap there."
    return f'<p class="note">{words}</p>'
