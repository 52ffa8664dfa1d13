"""Charts as inline SVG. Pure: figures in, markup out; no file, no clock, no library.

An SVG here has no viewBox: positions across are percentages, heights and text are in pixels, so that one chart fits
a phone and a desk and its text keeps its size. Only curves live in a nested SVG that stretches. Colours and fonts
are classes of report.css. The invariant: all text that comes from outside passes through `text`, and every
coordinate written is finite and inside the plot.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from raytrain.observe.notation import THIN, clip, count, percent, short, significant, size, text

Point = tuple[float, float]
BUCKETS = 400  # a curve keeps the extremes of so many slices; more than a phone has columns

# -- curves ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A curve: points by rising x; `style` is a class of report.css; `marks` draws each point too."""

    name: str
    points: Sequence[Point]
    style: str = "one"
    marks: bool = False


@dataclass(frozen=True)
class Scale:
    """From values to [0, 1]."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value stands, cut to the ends."""
        if self.log:
            value, low, high = math.log(max(value, self.low)), math.log(self.low), math.log(self.high)
        else:
            low, high = self.low, self.high
        return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5


def downsample(points: Sequence[Point], buckets: int = BUCKETS, log: bool = False) -> list[Point]:
    """At most about 3 x `buckets` points that keep the first, the last, every slice's lowest and highest, and one
    point of each slice that is not finite. `log` slices by the logarithm of x (positive)."""
    if len(points) <= 3 * buckets:
        return list(points)
    place = math.log if log else float
    first, last = place(points[0][0]), place(points[-1][0])
    slices: dict[int, list[Point]] = {}
    for point in points:
        at = int((place(point[0]) - first) / (last - first) * buckets) if last > first else 0
        slices.setdefault(min(at, buckets - 1), []).append(point)
    kept = [points[0]]
    for _, inside in sorted(slices.items()):
        finite = [p for p in inside if math.isfinite(p[1])]
        chosen = {min(finite, key=_second), max(finite, key=_second)} if finite else set()
        broken = next((p for p in inside if not math.isfinite(p[1])), None)
        kept += sorted(chosen | ({broken} if broken else set()), key=lambda p: p[0])
    kept.append(points[-1])
    return [p for k, p in enumerate(kept) if k == 0 or p != kept[k - 1]]


def _second(point: Point) -> float:
    return point[1]


def smooth(points: Sequence[Point]) -> list[Point]:
    """The mean over a fiftieth of the points around each, which does not lag behind a falling curve as a moving
    average does. Near the start the window shrinks on both sides, at the end on the right only; points that are not
    finite are left out."""
    finite = [p for p in points if math.isfinite(p[1])]
    sums = [0.0, *accumulate(y for _, y in finite)]
    half, last = max(1, len(finite) // 100), len(finite) - 1
    result = []
    for k, (x, _) in enumerate(finite):
        low, high = max(0, k - half), min(last, k + min(half, k))
        result.append((x, (sums[high + 1] - sums[low]) / (high + 1 - low)))
    return result


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values within [low, high]: multiples of 1, 2 or 5 times a power of ten, at most `most` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5, 10, 20):
        step = factor * power
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [k * step for k in range(first, last + 1)]
    return [low, high]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within [low, high], with 2 and 5 between where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 3 else (1,)
    return [f * 10.0**p for p in powers for f in factors if low * 0.999 <= f * 10.0**p <= high * 1.001]


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    height: int = 200,
    from_zero: bool = False,
    log_x: bool = False,
    levels: Sequence[tuple[str, float]] = (),
    x_note: Callable[[float], str] | None = None,
    y_format: Callable[[float], str] | None = None,
) -> str:
    """Curves over a common x. `label` says to those who cannot see it what it shows; `levels` are named horizontal
    lines; `x_note` gives a second line under each x tick. Empty text when no point is finite."""
    lines = [Line(n.name, _usable(n.points, log_x), n.style, n.marks) for n in lines]
    finite = [p for n in lines for p in n.points if math.isfinite(p[1])]
    if not finite:
        return ""
    xs = [x for x, _ in finite]
    x = Scale(min(xs), max(xs), log_x)
    y = _room([v for _, v in finite] + [v for _, v in levels], from_zero)
    parts = [_y_axis(y, y_format, 3 + height // 100), _x_axis(x, 7 if height > 200 else 4, x_note)]
    for name, value in levels:
        at = _pc(1 - y.at(value))
        parts.append(f'<line class="level" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="note end" x="100%" y="{at}" dy="-5">{text(name)}</text>')
    curves = "".join(f'<path class="line {text(n.style)}" d="{_path(n.points, x, y)}"/>' for n in lines)
    parts.append(
        '<svg class="area" width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f"{curves}</svg>"
    )
    for n in lines:
        if n.marks or len(n.points) == 1:
            parts += [_mark(p, x, y, n.style) for p in n.points if math.isfinite(p[1])]
    parts.append('<line class="cross" x1="0" x2="0" y1="0" y2="100%"/>')
    return (
        f'<svg class="plot" role="img" aria-label="{text(label)}" style="height:{height}px" '
        f'data-low="{x.low!r}" data-high="{x.high!r}" data-log="{int(log_x)}">{"".join(parts)}</svg>'
    )


def tip_data(lines: Sequence[Line], x_name: str = "step") -> str:
    """What the pointer shows, as JSON for a quoted attribute: `{"x": name, "lines": [{name, style, x, y}]}`."""
    data = [
        {"name": n.name, "style": n.style, "x": [p[0] for p in kept], "y": [float(f"{p[1]:.5g}") for p in kept]}
        for n in lines
        if (kept := [p for p in downsample(n.points) if math.isfinite(p[1])])
    ]
    return text(json.dumps({"x": x_name, "lines": data}, separators=(",", ":")))


def legend(entries: Iterable[tuple[str, str, str]]) -> str:
    """What each colour means: (name, style, figure or nothing)."""
    items = "".join(
        f'<li><i class="key {text(style)}"></i>{text(name)}{f" <b>{text(figure)}</b>" if figure else ""}</li>'
        for name, style, figure in entries
    )
    return f'<ul class="legend">{items}</ul>' if items else ""


def _usable(points: Sequence[Point], log: bool) -> list[Point]:
    """The points to draw: finite x (positive on a logarithmic axis), few enough."""
    return downsample([p for p in points if math.isfinite(p[0]) and (not log or p[0] > 0)], log=log)


def _room(values: Sequence[float], from_zero: bool) -> Scale:
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Scale(low if from_zero and low == 0 else low - margin, high + margin)


def axis_labels(values: Sequence[float]) -> list[str]:
    """The values of an axis with as many decimals as their distance needs, and the same for all."""
    step = min((b - a for a, b in pairwise(values)), default=abs(values[0]) if values else 0.0)
    if not step or max(map(abs, values)) >= 100_000:
        return [round_short(v) for v in values]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals > 4:
        return [significant(v, 2) for v in values]
    return [f"{v:,.{decimals if v else 0}f}".replace(",", THIN) for v in values]


def round_short(value: object) -> str:
    """`short` without the zeros that a round number needs not."""
    return re.sub(r"\.?0+(?=\D*$)", "", found) if "." in (found := short(value)) else found


def _y_axis(y: Scale, show: Callable[[float], str] | None, most: int) -> str:
    rows, values = [], ticks(y.low, y.high, most)
    for value, label in zip(values, axis_labels(values) if show is None else map(show, values), strict=True):
        at = _pc(1 - y.at(value))
        rows.append(f'<line class="grid" x1="0" x2="100%" y1="{at}" y2="{at}"/>')
        rows.append(f'<text class="tick end" x="-8" y="{at}" dy=".32em">{text(label)}</text>')
    return "".join(rows)


def _x_axis(x: Scale, most: int, note: Callable[[float], str] | None) -> str:
    """Ticks along the bottom; every other label is `odd`, which a narrow screen leaves out."""
    rows = ['<line class="base" x1="0" x2="100%" y1="100%" y2="100%"/>']
    values = log_ticks(x.low, x.high) if x.log else ticks(x.low, x.high, most)
    for k, (value, label) in enumerate(zip(reversed(values), reversed(axis_labels(values)), strict=True)):
        at, odd = _pc(x.at(value)), " odd" if k % 2 and len(values) > 4 else ""
        rows.append(f'<line class="base" x1="{at}" x2="{at}" y1="100%" y2="100%" transform="translate(0 4)"/>')
        rows.append(f'<text class="tick middle{odd}" x="{at}" y="100%" dy="18">{text(label)}</text>')
        if note is not None:
            rows.append(f'<text class="tick middle faint{odd}" x="{at}" y="100%" dy="32">{text(note(value))}</text>')
    return "".join(rows)


def _path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    """Path data in thousandths; a point that is not finite breaks the curve."""
    parts, pen = [], "M"
    for a, b in points:
        if not math.isfinite(b):
            pen = "M"
            continue
        parts.append(f"{pen}{x.at(a) * 1000:.1f} {(1 - y.at(b)) * 1000:.1f}")
        pen = "L"
    return "".join(parts)


def _mark(point: Point, x: Scale, y: Scale, style: str) -> str:
    return f'<circle class="mark {text(style)}" cx="{_pc(x.at(point[0]))}" cy="{_pc(1 - y.at(point[1]))}" r="3"/>'


def _pc(ratio: float) -> str:
    return f"{min(1.0, max(0.0, ratio)) * 100:.2f}%"


# -- bars -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bar:
    """A named length; `shown` is its figure as text."""

    name: str
    value: float
    shown: str
    style: str = "one"


def bars(rows: Sequence[Bar], *, label: str, top: float | None = None) -> str:
    """Horizontal bars from zero, one under another: name and figure above, the bar below. Empty text without rows."""
    if not rows:
        return ""
    most = top if top is not None else max(max(r.value for r in rows), 0.0)
    parts = []
    for k, row in enumerate(rows):
        y = 38 * k
        width = _pc(row.value / most if most > 0 else 0)
        parts.append(
            f'<text class="name" x="0" y="{y + 13}">{text(clip(row.name, 30))}</text>'
            f'<text class="figure end" x="100%" y="{y + 13}">{text(row.shown)}</text>'
            f'<rect class="rest" x="0" y="{y + 20}" width="100%" height="8" rx="2"/>'
            f'<rect class="fill {text(row.style)}" x="0" y="{y + 20}" width="{width}" height="8" rx="2">'
            f"<title>{text(row.name)}: {text(row.shown)}</title></rect>"
        )
    return _rows(parts, 38 * len(rows) - 8, label)


def shares(rows: Sequence[tuple[str, float, float]], *, label: str) -> str:
    """Before and after, as ratios of their own totals: (name, before, after). The upper bar is before."""
    if not rows:
        return ""
    most = max(max(b, a) for _, b, a in rows) or 1.0
    parts = []
    for k, (name, before, after) in enumerate(rows):
        y = 42 * k
        figures = f"{percent(before)} → {percent(after)}"
        parts.append(
            f'<text class="name" x="0" y="{y + 13}">{text(clip(name, 24))}</text>'
            f'<text class="figure end" x="100%" y="{y + 13}">{text(figures)}</text>'
            f'<rect class="fill before" x="0" y="{y + 19}" width="{_pc(before / most)}" height="5" rx="1.5"/>'
            f'<rect class="fill one" x="0" y="{y + 26}" width="{_pc(after / most)}" height="5" rx="1.5">'
            f"<title>{text(name)}: {text(figures)}</title></rect>"
        )
    return _rows(parts, 42 * len(rows) - 10, label)


def waterfall(rows: Sequence[tuple[str, float, float]], *, label: str, notes: Sequence[str] = ()) -> str:
    """What is left after each step: (name, documents, bytes), as the upper and the lower bar of a row.

    The first row is the whole; what a row lost against the one above is hatched. A row that grew shows no loss.
    `notes` are further figures, one a row, for which a phone has no room.
    """
    if not rows:
        return ""
    most = (max(r[1] for r in rows) or 1.0, max(r[2] for r in rows) or 1.0)
    parts = []
    for k, (name, documents, volume) in enumerate(rows):
        y = 50 * k
        lost = rows[k - 1][1] - documents if k else 0.0
        change = f"  −{count(lost)}" if lost > 0 else ""
        figures = f"{count(documents)} · {size(volume)}"
        note = f'<tspan class="roomy"> · {text(notes[k])}</tspan>' if k < len(notes) else ""
        parts.append(
            f'<text class="name" x="0" y="{y + 13}">{text(clip(name, 22))}<tspan class="lost">{change}</tspan></text>'
            f'<text class="figure end" x="100%" y="{y + 13}">{text(figures)}{note}</text>'
        )
        _, documents_before, volume_before = rows[max(0, k - 1)]
        parts.append(_fallen(documents / most[0], documents_before / most[0], y + 19, 10, "one"))
        parts.append(_fallen(volume / most[1], volume_before / most[1], y + 32, 5, "two"))
    hatch = (
        '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect class="hatch" width="2" height="5"/></pattern></defs>'
    )
    return _rows([hatch, *parts], 50 * len(rows) - 12, label)


def _fallen(now: float, before: float, y: int, thick: int, style: str) -> str:
    bar = f'<rect class="fill {style}" x="0" y="{y}" width="{_pc(now)}" height="{thick}"/>'
    if before > now:
        bar += f'<rect fill="url(#hatch)" x="{_pc(now)}" y="{y}" width="{_pc(before - now)}" height="{thick}"/>'
    return bar


@dataclass(frozen=True)
class Threshold:
    """A rule's number on a histogram: `op` says which side of it is kept."""

    name: str
    op: str
    value: float


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    thresholds: Sequence[Threshold] = (),
    *,
    label: str,
    height: int = 96,
    log: bool = False,
) -> str:
    """Counts between each two of ascending `edges`, every bin as wide as the next whatever it spans; what a threshold
    rejects lies in shade. `log` draws log(1 + count). Empty text where edges and counts do not fit each other."""
    if len(edges) != len(counts) + 1 or not counts or any(b <= a for a, b in pairwise(edges)):
        return ""
    heights = [math.log1p(n) if log else n for n in counts]
    most, step = max(heights) or 1.0, 1000 / len(counts)
    parts = []
    for rejected in thresholds:
        at = _along(edges, rejected.value)
        low, high = (0.0, at) if rejected.op in (">=", ">") else (at, 1.0)
        if rejected.op not in ("==", "!="):
            parts.append(
                f'<rect class="rejects" x="{_pc(low)}" y="0" width="{_pc(high - low)}" height="{height}">'
                f"<title>{text(rejected.name)} asks {text(condition(rejected))}</title></rect>"
            )
    bins = "".join(
        f"M{k * step:.1f} 1000V{1000 - 1000 * tall / most:.1f}h{step * 0.9:.1f}V1000z" for k, tall in enumerate(heights)
    )
    parts.append(
        f'<svg width="100%" height="{height}" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f'<path class="fill one" d="{bins}"/></svg>'
    )
    for line in thresholds:
        x = _pc(_along(edges, line.value))
        parts.append(f'<line class="threshold" x1="{x}" x2="{x}" y1="0" y2="{height}"/>')
    parts.append(f'<line class="base" x1="0" x2="100%" y1="{height}" y2="{height}"/>')
    for k, place in enumerate(("", " middle", " end")):
        value = edges[k * len(counts) // 2]
        parts.append(f'<text class="tick{place}" x="{50 * k}%" y="{height + 15}">{text(round_short(value))}</text>')
    return _rows(parts, height + 20, label)


def condition(threshold: Threshold) -> str:
    """What a rule asks for, as people write it."""
    sign = {">=": "≥", "<=": "≤", "!=": "≠", "==": "="}.get(threshold.op, threshold.op)
    return f"{sign} {significant(threshold.value)}"


def _along(edges: Sequence[float], value: float) -> float:
    """Where a value stands on an axis of bins of equal width, in [0, 1]."""
    k = min(max(bisect_right(edges, value) - 1, 0), len(edges) - 2)
    inside = min(1.0, max(0.0, (value - edges[k]) / (edges[k + 1] - edges[k])))
    return (k + inside) / (len(edges) - 1)


def stacked_bar(parts: Sequence[Bar], *, label: str) -> str:
    """One bar of all parts side by side, in the order given; parts that are not positive are left out."""
    shown = [p for p in parts if p.value > 0]
    total = math.fsum(p.value for p in shown)
    at, drawn = 0.0, []
    for part in shown:
        width = part.value / total
        drawn.append(
            f'<rect class="fill {text(part.style)}" x="{_pc(at)}" y="0" width="{_pc(width)}" height="28">'
            f"<title>{text(part.name)}: {text(part.shown)} ({text(percent(width))})</title></rect>"
        )
        at += width
    return _rows(drawn, 28, label) if drawn else ""


def interval(value: float, low: float, high: float, chance: float, *, label: str) -> str:
    """A proportion with its interval on [0, 1], beside what guessing gives."""
    return _rows(
        [
            '<line class="base" x1="0" x2="100%" y1="22" y2="22"/>',
            f'<rect class="fill one soft" x="{_pc(low)}" y="14" width="{_pc(high - low)}" height="16" rx="3"/>',
            f'<line class="level" x1="{_pc(chance)}" x2="{_pc(chance)}" y1="6" y2="38"/>',
            f'<circle class="mark one" cx="{_pc(value)}" cy="22" r="6"/>',
            f'<text class="tick middle" x="{_pc(chance)}" y="52">chance {text(percent(chance))}</text>',
            '<text class="tick" x="0" y="52">0</text>',
            f'<text class="tick end" x="100%" y="52">100{THIN}%</text>',
        ],
        56,
        label,
    )


def _rows(parts: Sequence[str], height: int, label: str) -> str:
    return f'<svg class="rows" role="img" aria-label="{text(label)}" style="height:{height}px">{"".join(parts)}</svg>'


# -- lineage --------------------------------------------------------------------------------------------------------

_RAIL, _ROW = 40, 48  # pixels: where the dots stand, height of a row


@dataclass(frozen=True)
class Node:
    """A row of the lineage: what it is called, small print below, words where there is room, figures on the right."""

    name: str
    small: str
    middle: str = ""
    right: tuple[str, str] = ("", "")


def lineage(nodes: Sequence[Node], edges: Iterable[tuple[int, int]], *, label: str) -> str:
    """An arc diagram: nodes on a rail in the order given, edges (parent, child) as arcs to the left of it."""
    if not nodes:
        return ""
    parts = []
    for parent, child in sorted(set(edges)):
        top, bottom = sorted((parent, child))
        y0, y1 = top * _ROW + 18, bottom * _ROW + 18
        # Longer arcs reach further out, and none reaches the edge.
        bend = 0 if bottom - top == 1 else _RAIL * (1 - 1 / (1 + 0.35 * (bottom - top))) * 1.25
        parts.append(
            f'<path class="edge" d="M{_RAIL} {y0}C{_RAIL - bend:.1f} {y0} {_RAIL - bend:.1f} {y1} {_RAIL} {y1}"/>'
        )
    for k, node in enumerate(nodes):
        y = k * _ROW
        parts.append(
            f'<circle class="node" cx="{_RAIL}" cy="{y + 18}" r="5"/>'
            f'<text class="name strong" x="{_RAIL + 16}" y="{y + 16}">{text(clip(node.name, 20))}</text>'
            f'<text class="mono" x="{_RAIL + 16}" y="{y + 32}">{text(clip(node.small, 16))}</text>'
            f'<text class="figure roomy" x="34%" y="{y + 16}">{text(clip(node.middle, 60))}</text>'
            f'<text class="figure end" x="100%" y="{y + 16}">{text(node.right[0])}</text>'
            f'<text class="tick end" x="100%" y="{y + 32}">{text(node.right[1])}</text>'
        )
    return _rows(parts, len(nodes) * _ROW - 6, label)


def in_order(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """Names so that parents come before children, otherwise in the order given; names in a cycle come last."""
    rest, placed = dict(parents), dict[str, None]()
    while rest:
        ready = [n for n, above in rest.items() if all(p in placed or p not in parents for p in above)]
        for name in ready[:1] or list(rest):
            placed[name] = None
            del rest[name]
    return list(placed)
