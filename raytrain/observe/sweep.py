"""A sweep's report: one HTML page with its points, the law through them, and what they leave open. Pure.

`result` is what a sweep writes to result.json. Nothing is fitted here. The invariant: what the grid does not identify
is said before any figure that rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from raytrain.observe import charts
from raytrain.observe.charts import Line, Point
from raytrain.observe.notation import MISSING, THIN, count, duration, money, percent, short, significant, text
from raytrain.observe.page import Markup, columns, details, figure, grid, page, panel, table, tile
from raytrain.scaling.law import Law

Row = Mapping[str, Any]
STYLES = ("one", "two", "three", "five", "seven", "four", "eight", "nine", "ten", "six")
CURVE = 60  # points of a drawn law
ABOUT = {"A": "size", "B": "tokens", "E": "irreducible loss", "alpha": "exponent of size", "beta": "exponent of tokens"}


def render(result: Row) -> str:
    """The page."""
    done = [row for row in result["points"] if row["status"] == "done"]
    law = result.get("law")
    sections = [
        ("doubts", "What the grid does not say", _doubts(law, result["failed"])),
        ("loss", "Loss and compute", _curves(done, law)),
        ("budgets", "Where the next FLOP goes", _optima(law)),
        ("law", "The law", _law(law)),
        ("trials", "Trials", _trials(result["sweep"], result["points"], law)),
        ("method", "How it was made", _method(result, law)),
    ]
    shown = [s for s in sections if s[2]]
    links = "".join(f'<a href="#{anchor}">{anchor.capitalize()}</a>' for anchor, _, _ in shown)
    body = "".join(f'<section id="{anchor}"><h2>{title}</h2>{inner}</section>' for anchor, title, inner in shown)
    return page(result["sweep"], f"{_header(result, done, law)}<nav>{links}</nav><main>{body}</main>{_footer(law)}")


def _header(result: Row, done: Sequence[Row], law: Row | None) -> str:
    good = result["state"] == "succeeded"
    state = (
        f'<span class="state {"good" if good else "bad"}"><i>{"✓" if good else "✕"}</i>{text(result["state"])}</span>'
    )
    best = min(done, key=lambda row: row["loss"], default=None)
    told = (
        "No trial has finished."
        if best is None
        else (
            f"Best of {len(done)} trials: <b>{best['loss']:.3f} nats a token</b>, "
            f"{best['bits_per_byte']:.3f} bits per byte, at {text(short(best['parameters']))} parameters "
            f"and {text(short(best['tokens']))} tokens."
        )
    )
    verdict = f"<p>{text(law['sentence'])}</p>" if law else "<p>Three finished trials are needed for a law.</p>"
    return (
        f'<header><p class="over">{state}scaling sweep</p><h1>{text(result["sweep"])}</h1>'
        f'<div class="verdict"><p class="headline">{told}</p><div>{verdict}</div></div>'
        f"<dl class=tiles>{''.join(tile(*one) for one in _tiles(done, len(result['points'])))}</dl></header>"
    )


def _tiles(done: Sequence[Row], planned: int) -> list[tuple[str, str, str]]:
    if not done:
        return [("Trials", f"0 of {planned}", "finished")]
    ends = [(min(values), max(values)) for values in ([row[k] for row in done] for k in ("parameters", "tokens"))]
    (small, large), (few, many) = ends
    seconds, usd = math.fsum(row["seconds"] for row in done), math.fsum(row["cost_usd"] for row in done)
    return [
        ("Trials", f"{len(done)} of {planned}", "finished"),
        ("Parameters", f"{short(small)} – {short(large)}", f"a factor of {significant(large / small)}"),
        ("Tokens", f"{short(few)} – {short(many)}", f"a factor of {significant(many / few)}"),
        ("Compute", short(math.fsum(row["flops"] for row in done)), "FLOPs, as the trainer counts"),
        ("Trial time", duration(seconds), "of one worker"),
        ("Cost", money(usd), "a trial's share of its node"),
    ]


def _doubts(law: Row | None, failed: Sequence[Row]) -> str:
    items = [f"<li><b>{text(one['run'])}</b> failed: {text(one['why'])}</li>" for one in failed]
    for finding in law["findings"] if law else ():
        about = f" <span class=chip>{text(', '.join(finding['parameters']))}</span>" if finding["parameters"] else ""
        items.append(f"<li>{text(finding['sentence'])}{about}</li>")
    if not items:
        return ""
    lede = "Read these before any figure below: they follow from the grid, and only a wider grid mends them."
    return f'<p class="lede">{lede}</p><div class="panel"><ul class="plain">{"".join(items)}</ul></div>'


# -- curves ---------------------------------------------------------------------------------------------------------


def _law_of(law: Row) -> Law:
    return Law.of({name: entry["value"] for name, entry in law["parameters"].items()})


def _sizes(done: Sequence[Row]) -> list[tuple[str, str, list[Row]]]:
    """(name, style, rows by rising tokens) of each size."""
    by_size: dict[int, list[Row]] = {}
    for row in sorted(done, key=lambda r: (r["parameters"], r["tokens"])):
        by_size.setdefault(row["parameters"], []).append(row)
    return [(short(n), STYLES[k % len(STYLES)], rows) for k, (n, rows) in enumerate(by_size.items())]


def _curves(done: Sequence[Row], law: Row | None) -> str:
    if not done:
        return ""
    sizes = _sizes(done)
    lines = [_measured(*size) for size in sizes]
    key = [(f"{name} parameters", style, "") for name, style, _ in sizes]
    if law:
        lines += [_fitted(name, style, rows, _law_of(law)) for name, style, rows in sizes]
        lines.append(_frontier(done, _law_of(law)))
        key.append(("least loss by the law", "idle", ""))
    svg = charts.line_chart(lines, label="held-out loss by training compute", height=340, log_x=True)
    told = "dots: trials; curves: the law" if law else "dots: trials"
    whole = figure("Held-out loss, nats a token, by training FLOPs", told, lines, [("", svg)], charts.legend(key))
    return whole + (_residuals(sizes, law) if law else "")


def _measured(name: str, style: str, rows: Sequence[Row]) -> Line:
    return Line(name, [(row["flops"], row["loss"]) for row in rows], f"{style} dots", marks=True)


def _fitted(name: str, style: str, rows: Sequence[Row], law: Law) -> Line:
    first, last = rows[0], rows[-1]
    points = [
        (flops, float(law.loss(first["parameters"], flops / first["flops"] * first["tokens"])))
        for flops in _between(first["flops"], last["flops"])
    ]
    return Line(f"{name}, law", points, style)


def _frontier(done: Sequence[Row], law: Law) -> Line:
    flops = [row["flops"] for row in done]
    points: list[Point] = []
    for budget in _between(min(flops), max(flops)):
        points.append((budget, float(law.loss(*law.optimum(budget)))))
    return Line("least loss", points, "idle dashed")


def _between(low: float, high: float) -> list[float]:
    return [low * (high / low) ** (k / CURVE) for k in range(CURVE + 1)]


def _residuals(sizes: Sequence[tuple[str, str, list[Row]]], law: Row) -> str:
    off = law["points"]["residuals"]

    def one(title: str, x: Any) -> str:
        lines = [
            Line(name, [(x(row), 100 * off[row["run"]]) for row in rows], f"{style} dots", marks=True)
            for name, style, rows in sizes
        ]
        svg = charts.line_chart(lines, label=title, height=150, log_x=True, levels=[("", 0.0)])
        return figure(title, "", lines, [("", svg)])

    drawn = [
        one("Measured over fitted, %, by tokens", lambda row: row["tokens"]),
        one("… by tokens per parameter", lambda row: row["tokens"] / row["parameters"]),
    ]
    return grid("pair", drawn)


# -- tables ---------------------------------------------------------------------------------------------------------


def _optima(law: Row | None) -> str:
    if not law:
        return ""
    rows = [
        (
            Markup(f"{text(short(o['flops']))}<small>{_how_far(o)}</small>"),
            _ranged(o["parameters"], short),
            _ranged(o["tokens"], short),
            _ranged(o["tokens_per_parameter"], significant),
            _ranged(o["loss"], lambda v: significant(v, 4)),
        )
        for o in law["optima"]
    ]
    shown = table(("FLOPs", "parameters", "tokens", "tokens per parameter", "loss"), rows, (0, 1, 2, 3, 4))
    note = (
        "The size and token count of least loss for C = 6 N D, by the law, with 95 % bootstrap intervals below. "
        "Where the intervals span decades, the grid does not answer the question."
    )
    return f'<div class="panel">{shown}<p class="note">{note}</p></div>'


def _how_far(optimum: Row) -> str:
    if optimum["extrapolation"] <= 1 + 1e-9:
        return "the largest trial's"
    far = ", a guess" if optimum["far"] else ""
    return f"{significant(optimum['extrapolation'])} times the largest{far}"


def _ranged(entry: Row, show: Any) -> Markup:
    ends = f"{text(show(entry['low']))} – {text(show(entry['high']))}"
    return Markup(f"{text(show(entry['value']))}<small>{ends}</small>")


def _law(law: Row | None) -> str:
    if not law:
        return ""
    rows = [
        (
            Markup(f"{name}<small>{ABOUT[name]}</small>"),
            significant(entry["value"], 4),
            f"{significant(entry['low'])} – {significant(entry['high'])}",
            "yes" if entry["identified"] else Markup('<span class="chip warning">not identified</span>'),
        )
        for name, entry in law["parameters"].items()
    ]
    a = law["exponent"]
    ends = f"{significant(a['low'])} – {significant(a['high'])}"
    split = Markup("a<small>best size ~ compute^a</small>")
    rows.append((split, significant(a["value"], 4), ends, MISSING))
    shown = table(("parameter", "value", "95 % interval", "identified"), rows, (1, 2))
    return f'<div class="panel"><h3>{text(law["form"])}</h3>{shown}</div>'


def _trials(sweep: str, points: Sequence[Row], law: Row | None) -> str:
    off = law["points"]["residuals"] if law else {}
    rows = [
        (
            Markup(f"<code class=whole>{text(row['run'].removeprefix(sweep + '-'))}</code>"),
            short(row["parameters"]),
            short(row["tokens"]),
            significant(row["tokens"] / row["parameters"]),
            short(row["flops"]),
            significant(row["loss"], 4),
            significant(row["bits_per_byte"], 4),
            f"{100 * off[row['run']]:+.2f}{THIN}%" if row["run"] in off else MISSING,
            f"{row['learning_rate']:.2e}",
            count(row["batch_tokens"]),
            count(row["steps"]),
            duration(row["seconds"]),
            money(row["cost_usd"]),
        )
        for row in points
    ]
    heads = (
        "trial",
        "N",
        "D",
        "D/N",
        "FLOPs",
        "loss",
        "bits/byte",
        "off law",
        "rate",
        "batch",
        "steps",
        "time",
        "cost",
    )
    return f'<div class="panel">{table(heads, rows, range(1, len(heads)))}</div>'


def _method(result: Row, law: Row | None) -> str:
    told = [
        "Every trial trains from scratch to its own horizon with the whole schedule, cooled down; no curve is cut and "
        "no loss from the way is used.",
        "Loss is held-out, on the same documents for every trial, in nats a token; bits per byte beside it does not "
        "depend on the tokenizer.",
        "Learning rate and batch follow the rules of the train section for each trial's own size and tokens; neither "
        "was searched for. One seed.",
    ]
    if law:
        told += [
            f"Fit: {law['fit']}; {percent(law['starts_that_agree'])} of the starts reached the best, objective "
            f"{law['objective']:.3e}. All {law['points']['count']} finished trials count; none was left out.",
            f"Intervals: {count(law['draws']['count'])} case bootstraps, seed {law['seed']}; the draws are in "
            f"draws.npy, sha256 {law['draws']['sha256'][:12]}.",
            "FLOPs of a trial are the trainer's count, attention and head included; budgets are split by C = 6 N D.",
        ]
    items = "".join(f"<li>{text(line)}</li>" for line in told)
    left = panel("Read this way", f'<ul class="plain">{items}</ul>')
    files = [(name, Markup(f"<code>{text(path)}</code>")) for name, path in result["paths"].items()]
    return columns([left, panel("Files", table(("", ""), files))]) + (_hashes(law) if law else "")


def _hashes(law: Row) -> str:
    rows = [("points", law["points"]["sha256"]), ("draws", law["draws"]["sha256"])]
    return details("Checksums", table(("of", "sha256"), [(n, Markup(f"<code>{text(h)}</code>")) for n, h in rows]))


def _footer(law: Row | None) -> str:
    version = f" {text(law['code'])}" if law else ""
    return f"<footer>Made by raytrain{version}; this page loads nothing from the network.</footer>"
