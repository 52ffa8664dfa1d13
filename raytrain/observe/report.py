"""A run's report: one HTML file that says what was learned, from what, and what it cost. Pure: facts in, page out.

It computes nothing that a producer should have written; it adds up, compares and draws. `facts` is what `collect`
gives; every key may be missing, and the page then says what is not there yet. The file loads nothing from anywhere:
its style and its few lines of script stand in it, and a content security policy forbids the rest. The invariant:
any facts give a page, and no text from a document is ever read as markup.
"""

from __future__ import annotations

import datetime
import json
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from raytrain.observe import charts
from raytrain.observe.charts import (
    MISSING,
    THIN,
    Bar,
    Line,
    Point,
    clip,
    count,
    duration,
    mapping,
    money,
    number_or,
    percent,
    real,
    short,
    significant,
    size,
    text,
)
from raytrain.observe.page import Markup, columns, details, figure, grid, page, panel, table, tile

Facts = Mapping[str, Any]
GROUPS = ("source", "domain", "licence", "origin", "language")
MOST_GROUPS = 14  # names shown of a group; the others are one row
MOST_REJECTED, OPEN_REJECTED, MOST_EVENTS = 40, 8, 200
STATES = {
    "succeeded": ("✓", "good"),
    "running": ("▸", "going"),
    "failed": ("✕", "bad"),
    "partial": ("◧", "paused"),
    "stopped": ("■", "paused"),
    "interrupted": ("!", "bad"),
}
PHASES = {  # phase: its colour, and what it means
    "step": ("one", "optimizer steps that count"),
    "eval": ("three", "validation"),
    "checkpoint_save": ("five", "saving checkpoints"),
    "checkpoint_restore": ("six", "loading a checkpoint"),
    "data_wait": ("four", "waiting for data"),
    "compile": ("seven", "compiling"),
    "setup": ("eight", "starting workers, building the model"),
    "provision": ("nine", "waiting for machines and processes"),
    "rescale": ("ten", "changing the number of workers"),
    "recovery": ("two", "between a failure and the restart"),
    "wasted": ("bad", "steps that had to be taken again"),
    "idle": ("idle", "paid for, and nothing named"),
}


def render(facts: Facts) -> str:
    """The page. Never raises for facts of an unexpected shape: they cost their own section, not the page."""
    drawn = [(s, _draw(s, facts)) for s in SECTIONS]
    links = "".join(f'<a href="#{s.anchor}">{s.anchor.capitalize()}</a>' for s, body in drawn if body)
    missing = [s.absent for s, body in drawn if not body]
    body = "".join(
        f'<section id="{s.anchor}"><h2>{s.title}</h2>{f"<p class=lede>{s.lede}</p>" if s.lede else ""}{body}</section>'
        for s, body in drawn
        if body
    )
    if missing:
        items = "".join(f"<li>{m}</li>" for m in missing)
        body += f'<section id="absent"><h2>Not here yet</h2><ul class="absent">{items}</ul></section>'
    whole = f"{_safely(_header, facts)}<nav>{links}</nav><main>{body}</main>{_footer(facts)}"
    return page(facts.get("run") or "run", whole)


@dataclass(frozen=True)
class Section:
    """A part of the page: `draw` gives its HTML, or nothing while its facts are not there; `absent` then says so."""

    anchor: str
    title: str
    lede: str
    absent: str
    draw: Callable[[Facts], str]


def _draw(section: Section, facts: Facts) -> str:
    return _safely(section.draw, facts)


def _safely(draw: Callable[[Facts], str], facts: Facts) -> str:
    try:
        return draw(facts)
    except Exception as error:  # a report that fails hides a run that did not
        return f'<p class="undrawn">This part could not be drawn: {text(clip(repr(error), 200))}.</p>'


# -- pieces ---------------------------------------------------------------------------------------------------------


def _rows(value: Any) -> list[Facts]:
    """The mappings of a list, and nothing of anything else."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, Sequence) else []


def _hash(value: object) -> Markup:
    return Markup(f'<code title="{text(value)}">{text(str(value)[:12])}</code>') if value else Markup(MISSING)


# -- header ---------------------------------------------------------------------------------------------------------


def _header(facts: Facts) -> str:
    state = str(facts.get("state") or "unknown")
    glyph, kind = STATES.get(state, ("·", "paused"))
    created = real(facts.get("created"))
    when = ""
    if created is not None and 0 <= created < 4e9:
        when = datetime.datetime.fromtimestamp(created, datetime.UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    version = f"raytrain {facts['version']}" if facts.get("version") else ""
    small = " · ".join(text(part) for part in (when, version) if part)
    tiles = "".join(tile(*one) for one in _tiles(facts) if one[1] != MISSING)
    sha = mapping(facts.get("model")).get("parameter_sha256")
    seal = f'<p class="seal">parameters sha256 <code>{text(sha)}</code></p>' if sha else ""
    return (
        f'<header><p class="over"><span class="state {kind}"><i>{glyph}</i>{text(state)}</span>{small}</p>'
        f"<h1>{text(facts.get('run') or 'unnamed run')}</h1>"
        f'<div class="verdict"><div><p class="headline">{_headline(facts)}</p>{seal}</div>{_comparison(facts)}</div>'
        f"{f'<dl class=tiles>{tiles}</dl>' if tiles else ''}</header>"
    )


def _headline(facts: Facts) -> str:
    """The verdict in one sentence, as HTML."""
    score, rivals = _scores(facts)
    curve = _rows(facts.get("curve"))
    if score is not None:
        beaten = [f"{percent(abs(1 - score / v))} {'below' if score < v else 'above'} {name}" for name, v in rivals]
        against = f", {_listed(beaten)}" if beaten else ""
        return f"Held-out text in <b>{score:.3f} bits per byte</b>{text(against)}."
    if curve:
        last, goal = curve[-1], mapping(mapping(facts.get("recipe")).get("train")).get("max_steps")
        of = f" of {count(goal)}" if real(goal) else ""
        return text(f"Step {count(last.get('step'))}{of}, training loss {significant(last.get('loss'), 4)}.")
    kept = _rows(mapping(facts.get("corpus")).get("funnel"))
    if kept:
        last = kept[-1]
        return text(
            f"{count(last.get('documents'))} documents kept, {size(last.get('bytes'))}. Training has not begun."
        )
    return "Nothing has been measured yet."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _scores(facts: Facts) -> tuple[float | None, list[tuple[str, float]]]:
    """The model's held-out bits per byte, and the plain compressors' that are known, by name."""
    found = mapping(facts.get("evaluation"))
    score = real(found.get("val_bits_per_byte"))
    if score is None:
        full = [v for v in _rows(facts.get("validation")) if v.get("full")]
        score = real(full[-1].get("bits_per_byte")) if full else None
    known = (("xz", found.get("xz_bits_per_byte")), ("PPMd", found.get("ppmd_bits_per_byte")))
    return score, [(name, v) for name, value in known if (v := real(value)) is not None and v > 0]


def _comparison(facts: Facts) -> str:
    score, rivals = _scores(facts)
    found = mapping(facts.get("evaluation"))
    rows = [Bar("this model", score, f"{score:.3f}")] if score is not None else []
    names = {"xz": "xz -9e", "PPMd": "PPMd, order 6"}
    rows += [Bar(names[name], value, f"{value:.3f}", "idle") for name, value in rivals]
    given = real(found.get("xz_given_train_bits_per_byte"))
    if given is not None:
        rows.append(Bar("xz -9e after the training text", given, f"{given:.3f}", "idle"))
    if not rows:
        return ""
    note = "Bits per byte of held-out text; less is better. The model's own size is not counted."
    return f'<div class="comparison">{charts.bars(rows, label="bits per byte")}<p class="note">{note}</p></div>'


def _tiles(facts: Facts) -> list[tuple[str, str, str]]:
    """(name, value, note) of each figure that the header shows."""
    books, model = mapping(facts.get("account")), mapping(facts.get("model"))
    curve = _curve(facts)
    step, tokens = _progress(facts)
    seconds = math.fsum(p.seconds for p in curve)
    speed = curve[-1].tokens / seconds if curve and seconds > 0 else None
    usage = math.fsum(p.mfu * p.seconds for p in curve) / seconds if seconds > 0 else None
    nodes, attempts = len(mapping(books.get("nodes"))), number_or(books.get("attempts"), 0)
    paid = real(books.get("elapsed_seconds")) or None
    where = f"node time, {nodes} node{'s' * (nodes != 1)}, {attempts:.0f} attempt{'s' * (attempts != 1)}"
    cost = _cost(facts)
    per = f"{money(cost / tokens * 1e6)} per M tokens" if cost is not None and tokens else ""
    return [
        ("Tokens per second", short(speed), "over all steps"),
        ("Model FLOPs used", percent(usage) if usage else MISSING, "of the hardware's peak (MFU)"),
        ("Cost", money(cost), per),
        ("Goodput", percent(books.get("goodput")) if paid else MISSING, "of the paid time"),
        ("Elapsed", duration(paid), where),
        ("Trained on", short(tokens or None, ""), f"tokens in {count(step)} steps"),
        ("Parameters", short(model.get("parameters")), _shape(facts)),
    ]


def _cost(facts: Facts) -> float | None:
    """Dollars for everything: training by the ledger, and the other steps."""
    books = mapping(facts.get("account"))
    parts = [v for k in ("cost_usd", "data_cost_usd") if (v := real(books.get(k))) is not None]
    paid = real(books.get("elapsed_seconds")) or real(books.get("data_cost_usd"))
    return math.fsum(parts) if parts and paid else None


def _progress(facts: Facts) -> tuple[float, float]:
    """Steps and tokens of the surviving history."""
    model, curve = mapping(facts.get("model")), _rows(facts.get("curve"))
    last = curve[-1] if curve else {}
    return (
        number_or(model.get("steps"), number_or(last.get("step"), 0)),
        number_or(model.get("tokens"), number_or(last.get("tokens"), 0)),
    )


def _shape(facts: Facts) -> str:
    shape = mapping(mapping(facts.get("recipe")).get("model"))
    parts = [
        f"{shape['depth']} layers" if shape.get("depth") else "",
        f"width {shape['width']}" if shape.get("width") else "",
    ]
    return ", ".join(p for p in parts if p)


# -- training -------------------------------------------------------------------------------------------------------


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


def _curve(facts: Facts) -> list[Step]:
    points: list[Step] = []
    before = 0.0
    for row in _rows(facts.get("curve")):
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


def _training(facts: Facts) -> str:
    curve = _curve(facts)
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
    rows = [r for r in _rows(facts.get("validation")) if real(r.get("step")) is not None]
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
    _, rivals = _scores(facts)
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


# -- what it says ---------------------------------------------------------------------------------------------------


def _peeks(facts: Facts) -> str:
    peeks = sorted(_rows(facts.get("peeks")), key=lambda p: number_or(p.get("step"), 0))
    if len(peeks) > 4:
        peeks = [*peeks[:3], peeks[-1]]
    last = mapping(facts.get("model")).get("steps")
    prompts = list(dict.fromkeys(str(row.get("prompt")) for p in peeks for row in _rows(p.get("prompts"))))
    cards = []
    for prompt in prompts:
        steps = []
        for peek in peeks:
            row = next((r for r in _rows(peek.get("prompts")) if str(r.get("prompt")) == prompt), None)
            step = number_or(peek.get("step"), 0)
            name = "untrained" if step == 0 else f"step {count(step)}" + (", end" if step == last else "")
            guesses = "".join(_guess(pair) for pair in (row or {}).get("next") or ())
            steps.append(f"<div><h4>{text(name)}</h4><ol>{guesses}</ol></div>")
        cards.append(
            f'<div class="panel peek"><h3>{text(prompt)} <em>…</em></h3>'
            f'<div class="columns">{"".join(steps)}</div></div>'
        )
    return grid("pair", cards)


def _guess(pair: Any) -> str:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        return ""
    chance = number_or(pair[1], 0.0)
    width = f"{min(1.0, max(0.0, chance)) * 100:.1f}%"
    return f'<li><i style="width:{width}"></i><code>{_token(pair[0])}</code><b>{text(percent(chance))}</b></li>'


def _token(value: object) -> str:
    """A token with its white space visible."""
    marks = str(value).replace(" ", "\u2423").replace("\n", "\u21b5").replace("\t", "\u21e5")
    return text(marks) if marks else "<small>nothing</small>"


def _samples(facts: Facts) -> str:
    cards = [
        f'<blockquote class="panel"><p><b>{text(s.get("prompt", ""))}</b>'
        f"{text(clip(s.get('text', ''), 2000))}</p></blockquote>"
        for s in _rows(facts.get("samples"))
    ]
    return grid("pair", cards)


def _evaluation(facts: Facts) -> str:
    found = mapping(facts.get("evaluation"))
    domains = [(str(k), v) for k, value in mapping(found.get("domains")).items() if (v := real(value)) is not None]
    domains.sort(key=lambda item: item[1])
    by_domain = charts.bars([Bar(k, v, f"{v:.3f}") for k, v in domains], label="bits per byte by domain")
    panels = [panel("Bits per byte by domain", by_domain, "less is better"), _choice(mapping(found.get("choice")))]
    return grid("pair", panels)


def _choice(task: Facts) -> str:
    asked, accuracy = real(task.get("asked")), real(task.get("accuracy"))
    if not asked or accuracy is None:
        return ""
    low, high = (list(task.get("interval") or ()) + [accuracy, accuracy])[:2]
    chance = number_or(task.get("chance"), 0.25)
    words = f"{count(task.get('correct'))} of {count(asked)} right: {percent(accuracy)}"
    picture = charts.interval(accuracy, number_or(low, accuracy), number_or(high, accuracy), chance, label=words)
    rows = [
        (name, count(d.get("asked")), percent(d.get("accuracy")))
        for name, value in mapping(task.get("by_domain")).items()
        if real((d := mapping(value)).get("asked"))
    ]
    note = (
        "The first part of a held-out document, and four continuations from the same domain: how often the "
        "document's own is the likeliest. The band is Wilson's 95 % interval."
    )
    by_domain = table(("domain", "asked", "right"), rows, (1, 2))
    return panel(
        "Continuation task", f'<p class="figure">{text(words)}</p>{picture}<p class="note">{note}</p>{by_domain}'
    )


# -- data -----------------------------------------------------------------------------------------------------------


def _funnel(facts: Facts) -> str:
    corpus = mapping(facts.get("corpus"))
    rows = [
        (str(r.get("step")), number_or(r.get("documents"), 0), number_or(r.get("bytes"), 0))
        for r in _rows(corpus.get("funnel"))
    ]
    if not rows:
        return ""
    picture = charts.waterfall(rows, label="documents and bytes left after each step")
    kept = rows[-1][1] / rows[0][1] if rows[0][1] else 0
    key = charts.legend([("documents", "one", ""), ("bytes", "two", ""), ("lost in the step", "hatched", "")])
    drawn = panel("What is left after each step", key + picture, f"{percent(kept)} of documents kept")
    return drawn + columns([_split(corpus), _quarantine(facts), _tokens(facts)])


def _split(corpus: Facts) -> str:
    rows = []
    for name, value in mapping(corpus.get("split")).items():
        part = mapping(value)
        rows.append(
            (
                name,
                count(part.get("documents")),
                size(part.get("bytes")),
                count(len(mapping(part.get("sources"))) or None),
            )
        )
    return panel(
        "Split", table(("part", "documents", "bytes", "sources"), rows, (1, 2, 3)), "by clusters of near-duplicates"
    )


def _quarantine(facts: Facts) -> str:
    corpus, ingest = mapping(facts.get("corpus")), mapping(facts.get("ingest"))
    found = mapping(corpus.get("quarantined") or corpus.get("quarantine") or ingest.get("quarantined"))
    where = {name: mapping(mapping(v).get("quarantined")) for name, v in mapping(ingest.get("sources")).items()}
    rows = [
        (reason, count(n), ", ".join(f"{s} {count(v[reason])}" for s, v in where.items() if v.get(reason)))
        for reason, n in sorted(found.items(), key=lambda item: -number_or(item[1], 0))
    ]
    note = (
        f'<p class="note">{count(corpus["repaired"])} documents with broken characters were repaired.</p>'
        if real(corpus.get("repaired"))
        else ""
    )
    heads = ("reason", "records", "sources") if where else ("reason", "records")
    shown = table(heads, [row[: len(heads)] for row in rows], (1,)) or "<p>Every record could be read.</p>"
    return panel("Quarantine", shown + note, "records that could not be read") if found or note else ""


def _tokens(facts: Facts) -> str:
    tokens = mapping(facts.get("tokens"))
    total, volume = real(tokens.get("train_tokens")), real(tokens.get("train_bytes"))
    if not total:
        return ""
    coder, held = mapping(tokens.get("tokenizer")), mapping(tokens.get("validation"))
    by_domain: dict[str, float] = {}
    for group in _rows(tokens.get("groups")):
        name = str(group.get("domain"))
        by_domain[name] = by_domain.get(name, 0) + number_or(group.get("tokens"), 0)
    ranked = sorted(by_domain.items(), key=lambda item: -item[1])
    drawn = charts.bars([Bar(k, v, f"{short(v)} · {percent(v / total)}") for k, v in ranked], label="tokens by domain")
    per = f"{significant(volume / total)} bytes per token" if volume else ""
    words = f"{short(total)} for training, {short(held.get('tokens'))} held out; "
    words += f"vocabulary {count(coder.get('vocab_size'))}"
    sha = f'<p class="note">tokenizer sha256 {_hash(coder.get("sha256"))}</p>' if coder.get("sha256") else ""
    return panel("Tokens", f'<p class="figure">{text(words)}</p>{drawn}{sha}', per)


def _reasons(facts: Facts) -> str:
    found = mapping(mapping(facts.get("corpus")).get("reasons"))
    counted = [
        (str(k), number_or(v.get("documents"), 0), number_or(v.get("sole_documents", v.get("sole")), 0), v.get("bytes"))
        for k, v in found.items()
        if isinstance(v, Mapping)
    ]
    counted.sort(key=lambda r: -r[1])
    most = max((r[1] for r in counted), default=0)
    rows = [
        (
            Markup(text(name).replace("_", "_<wbr>").replace(".", ".<wbr>")),
            count(n),
            count(sole),
            size(volume) if real(volume) is not None else MISSING,
            Markup(_twofold(n, sole, most)),
        )
        for name, n, sole, volume in counted
        if n
    ]
    idle = [name for name, n, _, _ in counted if not n]
    never = f'<p class="note">Never used: {text(", ".join(idle))}.</p>' if idle else ""
    counts = table(("reason", "documents", "sole", "bytes", ""), rows, (1, 2, 3), "last-aside")
    return f'<div class="panel reasons">{counts}{never}</div>' if counted else ""


def _twofold(whole: float, part: float, most: float) -> str:
    """A bar of `whole` with `part` of it solid, on a scale up to `most`."""
    a, b = (f"{100 * v / most:.1f}%" if most else "0%" for v in (whole, part))
    return f'<span class="twofold" aria-hidden="true"><i style="width:{a}"></i><i style="width:{b}"></i></span>'


def _groups(facts: Facts) -> str:
    corpus = mapping(facts.get("corpus"))
    grouped, before, after = (mapping(corpus.get(k)) for k in ("groups", "before", "after"))
    panels = []
    for name in [*GROUPS, *(k for k in grouped if k not in GROUPS)]:
        rows: dict[str, tuple[float, float]] = {}
        for value, held in mapping(grouped.get(name)).items():
            rows[str(value)] = (
                number_or(mapping(held).get("bytes_before"), 0),
                number_or(mapping(held).get("bytes"), 0),
            )
        for side, given in enumerate((before, after)):
            for value, held in mapping(given.get(name)).items():
                was = rows.get(str(value), (0.0, 0.0))
                volume = number_or(mapping(held).get("bytes"), 0)
                rows[str(value)] = (volume, was[1]) if side == 0 else (was[0], volume)
        panels.append(panel(name.capitalize(), charts.shares(_ratios(rows), label=f"shares of bytes by {name}")))
    key = charts.legend([("before", "before", ""), ("after", "one", "")])
    return key + columns(panels) if any(panels) else ""


def _ratios(rows: Mapping[str, tuple[float, float]]) -> list[tuple[str, float, float]]:
    """Sizes before and after as shares of their totals, the largest first, the smallest together."""
    totals = [math.fsum(v[i] for v in rows.values()) or 1.0 for i in (0, 1)]
    ranked = sorted(rows.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    if len(ranked) > MOST_GROUPS + 1:
        others = ranked[MOST_GROUPS:]
        merged = (math.fsum(v[0] for _, v in others), math.fsum(v[1] for _, v in others))
        ranked = [*ranked[:MOST_GROUPS], (f"{len(others)} others", merged)]
    return [(name, v[0] / totals[0], v[1] / totals[1]) for name, v in ranked]


def _rejected(facts: Facts) -> str:
    drawn = [_rejected_one(row) for row in _rows(facts.get("rejected"))[:MOST_REJECTED]]
    more = drawn[OPEN_REJECTED:]
    return "".join(drawn[:OPEN_REJECTED]) + (details(f"{len(more)} more", "".join(more)) if more else "")


def _rejected_one(row: Facts) -> str:
    given = row.get("reasons")
    reasons = [str(r) for r in given] if isinstance(given, Sequence) and not isinstance(given, str) else []
    chips = "".join(f'<span class="chip">{text(r)}</span>' for r in reasons[:2])
    chips += f'<span class="chip">+{len(reasons) - 2}</span>' if len(reasons) > 2 else ""
    why = [
        f"{n.get('rule')}: {n.get('column')} is {significant(n.get('value'))}, "
        f"asked {n.get('op')} {significant(n.get('threshold'))}"
        for n in _rows(row.get("numbers"))
    ]
    told = "".join(f"<li>{text(w)}</li>" for w in why or reasons)
    ids = " · ".join(text(row[k]) for k in ("source", "domain", "licence", "doc_id") if row.get(k))
    start = " ".join(clip(row.get("text") or "", 90).split())
    return (
        f'<details class="rejected"><summary><span class="start">{text(start) or "<em>no text</em>"}</span>'
        f"{chips}</summary>"
        f'<p class="note">{ids}</p>{f"<ul>{told}</ul>" if told else ""}'
        f"<pre>{text(clip(row.get('text') or '', 4000))}</pre></details>"
    )


# -- money and origin -----------------------------------------------------------------------------------------------


def _time(facts: Facts) -> str:
    books = mapping(facts.get("account"))
    phases = {
        str(k): v for k, value in mapping(books.get("phases")).items() if (v := real(value)) is not None and v > 0
    }
    total = math.fsum(phases.values())
    if not total:
        return ""
    order = [*(p for p in PHASES if p in phases), *(p for p in phases if p not in PHASES)]
    spent = real(books.get("cost_usd"))
    parts = [Bar(p, phases[p], duration(phases[p]), PHASES.get(p, ("idle", ""))[0]) for p in order]
    rows = [
        (
            Markup(
                f'<i class="key {text(p.style)}"></i>{text(p.name.replace("_", " "))}'
                f"<small>{text(PHASES.get(p.name, ('', ''))[1])}</small>"
            ),
            p.shown,
            percent(p.value / total),
            money(spent * p.value / total) if spent is not None else MISSING,
        )
        for p in parts
    ]
    nodes = mapping(books.get("nodes"))
    by_node = table(("node", "up"), [(n, duration(s)) for n, s in nodes.items()], (1,)) if len(nodes) > 1 else ""
    bar = charts.stacked_bar(parts, label="paid time by phase")
    left = panel("Paid time by phase", bar + table(("phase", "time", "share", "cost"), rows, (1, 2, 3), "last-aside"))
    return grid("pair", [left, f"<div>{panel('Bill', _bill(facts))}{panel('Nodes', by_node)}</div>"])


def _bill(facts: Facts) -> str:
    books = mapping(facts.get("account"))
    price, (_, tokens) = mapping(books.get("price")), _progress(facts)
    total = _cost(facts)
    rows: list[tuple[object, str]] = [("training", money(books.get("cost_usd")))]
    if real(books.get("data_cost_usd")) is not None:
        rows.append(("data and evaluation", money(books["data_cost_usd"])))
    rows.append((Markup("<b>total</b>"), money(total)))
    if total is not None and tokens:
        rows.append(("per million tokens", money(total / tokens * 1e6)))
    if real(price.get("usd_per_hour")) is not None:
        named = ", ".join(dict.fromkeys(str(price[k]) for k in ("instance", "market", "source") if price.get(k)))
        rows.append((Markup(f"one node for an hour<small>{text(named)}</small>"), money(price["usd_per_hour"])))
    return table(("cost", "US dollars"), rows, (1,))


def _lineage(facts: Facts) -> str:
    made = {str(k): v for k, v in mapping(facts.get("artifacts")).items() if isinstance(v, Mapping)}
    names = {str(v.get("id")): k for k, v in made.items()}
    parents = {
        k: [names.get(str(p), str(role)) for role, p in mapping(v.get("parents")).items()] for k, v in made.items()
    }
    order = charts.in_order(parents)
    place = {name: i for i, name in enumerate(order)}
    edges = [(place[p], place[k]) for k in order for p in parents[k] if p in place and p != k]
    nodes = [
        charts.Node(
            k,
            str(made[k].get("id") or "")[:12],
            f"from {', '.join(parents[k])}" if parents[k] else "",
            (
                " · ".join(
                    (f"{short(made[k].get('rows'))} row{'s' * (made[k].get('rows') != 1)}", size(made[k].get("bytes")))
                ),
                " · ".join(
                    v for v in (duration(made[k].get("seconds")), money(made[k].get("cost_usd"))) if v != MISSING
                ),
            ),
        )
        for k in order
    ]
    if not nodes:
        return ""
    rows = [
        (
            k,
            Markup(f"<code>{text(made[k].get('prefix') or '')}</code>"),
            _hash(made[k].get("sha256")),
            ", ".join(parents[k]),
        )
        for k in order
    ]
    full = details("Prefixes, checksums and parents", table(("step", "prefix", "sha256", "from"), rows))
    return f'<div class="panel">{charts.lineage(nodes, edges, label="which step read what")}</div>{full}'


def _recipe(facts: Facts) -> str:
    recipe = facts.get("recipe")
    if not isinstance(recipe, Mapping) or not recipe:
        return ""
    plain = json.loads(json.dumps(recipe, default=str))
    body = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    bound = f", bound as {facts['recipe_hash']}" if facts.get("recipe_hash") else ""
    return details(f"The recipe as it was resolved{bound}", f"<pre>{text(body)}</pre>")


def _events(facts: Facts) -> str:
    events = _rows(facts.get("events"))
    times = [t for e in events if (t := real(e.get("ts"))) is not None]
    zero = min(times, default=0.0)
    if len(events) > MOST_EVENTS:
        events = [*events[: MOST_EVENTS // 2], *events[-MOST_EVENTS // 2 :]]
    rows = [
        (
            f"+{duration(e['ts'] - zero)}" if real(e.get("ts")) is not None else MISSING,
            Markup(
                f'<span class="chip {text(str(e.get("kind")).replace(" ", "-"))}">'
                f"{text(str(e.get('kind')).replace('_', ' '))}</span>"
            ),
            count(e.get("step")),
            clip(e.get("text") or "", 300),
        )
        for e in events
    ]
    shown = table(("after", "what", "step", ""), rows, (0, 2), "flowing")
    return details(f"{count(len(times))} events", shown) if len(rows) > 12 else shown


def _footer(facts: Facts) -> str:
    version = f" {text(facts['version'])}" if facts.get("version") else ""
    code = f" ({text(clip(facts['code'], 40))})" if facts.get("code") else ""
    return (
        f"<footer>Made by raytrain{version}{code} from the run's ledger and artifacts. Every figure can be traced to "
        "an artifact above; this page loads nothing from the network.</footer>"
    )


SECTIONS: tuple[Section, ...] = (
    Section("training", "Training", "", "The loss curve starts with the first optimizer step.", _training),
    Section(
        "peeks",
        "What comes next?",
        "The five likeliest next tokens after a prompt, as the model learned.",
        "Next-token guesses are noted before training, at a tenth and at the end.",
        _peeks,
    ),
    Section(
        "samples",
        "Samples",
        "Written by the finished model; the prompt is set in bold.",
        "Samples are written when the model is finished.",
        _samples,
    ),
    Section(
        "evaluation",
        "Evaluation",
        "The finished model on documents that it has never seen.",
        "Domains and the continuation task come with the evaluation of the finished model.",
        _evaluation,
    ),
    Section("data", "Data", "", "The data funnel comes with the corpus, at the step select.", _funnel),
    Section(
        "reasons",
        "Why documents went",
        "A document may fail for many reasons; “sole” counts those that nothing else would have removed, which is what "
        "dropping the rule would bring back.",
        "Reasons come with the corpus.",
        _reasons,
    ),
    Section(
        "shares",
        "Shares before and after",
        "By bytes: what was read, and what is left to train on.",
        "Shares by source, domain, licence and language come with the corpus.",
        _groups,
    ),
    Section(
        "rejected",
        "Rejected documents",
        "A sample by hash, the same every time. Open one to see the number that decided.",
        "No rejected document was kept for show.",
        _rejected,
    ),
    Section(
        "time",
        "Time and money",
        "Every second of every paid node, in exactly one phase.",
        "Time and cost come with the first entries of the ledger.",
        _time,
    ),
    Section(
        "lineage",
        "Lineage",
        "Each step read artifacts and left one; its id is the hash of what went in.",
        "No step has left an artifact.",
        _lineage,
    ),
    Section("recipe", "Recipe", "", "The recipe is not known.", _recipe),
    Section("events", "Events", "", "Nothing notable has happened.", _events),
)
