"""The top of the report: how the run ended, its verdict in one sentence, and the figures that matter. Pure."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

from raytrain.observe import charts
from raytrain.observe.charts import Bar
from raytrain.observe.notation import (
    MISSING,
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
from raytrain.observe.page import tile
from raytrain.observe.report.figures import curve_of, progress, scores, total_cost
from raytrain.observe.report.section import Facts, entries

STATES = {
    "succeeded": ("✓", "good"),
    "running": ("▸", "going"),
    "failed": ("✕", "bad"),
    "partial": ("◧", "paused"),
    "stopped": ("■", "paused"),
    "interrupted": ("!", "bad"),
}


def header(facts: Facts) -> str:
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
    score, rivals = scores(facts)
    curve = entries(facts.get("curve"))
    if score is not None:
        beaten = [f"{percent(abs(1 - score / v))} {'below' if score < v else 'above'} {name}" for name, v in rivals]
        against = f", {_listed(beaten)}" if beaten else ""
        return f"Held-out text in <b>{score:.3f} bits per byte</b>{text(against)}."
    if curve:
        last, goal = curve[-1], mapping(mapping(facts.get("recipe")).get("train")).get("max_steps")
        of = f" of {count(goal)}" if real(goal) else ""
        return text(f"Step {count(last.get('step'))}{of}, training loss {significant(last.get('loss'), 4)}.")
    kept = entries(mapping(facts.get("corpus")).get("funnel"))
    if kept:
        last = kept[-1]
        return text(
            f"{count(last.get('documents'))} documents kept, {size(last.get('bytes'))}. Training has not begun."
        )
    return "Nothing has been measured yet."


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _comparison(facts: Facts) -> str:
    score, rivals = scores(facts)
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
    curve = curve_of(facts)
    if not curve and entries(mapping(facts.get("corpus")).get("funnel")):
        return _corpus_tiles(facts)
    step, tokens = progress(facts)
    seconds = math.fsum(p.seconds for p in curve)
    speed = curve[-1].tokens / seconds if curve and seconds > 0 else None
    usage = math.fsum(p.mfu * p.seconds for p in curve) / seconds if seconds > 0 else None
    nodes, attempts = len(mapping(books.get("nodes"))), number_or(books.get("attempts"), 0)
    paid = real(books.get("elapsed_seconds")) or None
    where = f"node time, {nodes} node{'s' * (nodes != 1)}, {attempts:.0f} attempt{'s' * (attempts != 1)}"
    cost = total_cost(facts)
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


def _corpus_tiles(facts: Facts) -> list[tuple[str, str, str]]:
    """The same for a run that has only made its corpus so far."""
    steps = entries(mapping(facts.get("corpus")).get("funnel"))
    first, kept = steps[0], steps[-1]
    tokens = real(mapping(facts.get("tokens")).get("train_tokens"))
    made = mapping(facts.get("artifacts"))
    busy = math.fsum(number_or(mapping(one).get("cpu_seconds"), 0) for one in made.values())
    cost = total_cost(facts)
    return [
        ("Documents", count(kept.get("documents")), f"of {count(first.get('documents'))}"),
        ("Text", size(kept.get("bytes")), f"of {size(first.get('bytes'))}"),
        ("Tokens to train on", short(tokens), "validation apart"),
        ("CPU time", duration(busy or None), "of work on shards"),
        ("Cost", money(cost), f"{money(cost / tokens * 1e6)} per M tokens" if cost and tokens else ""),
    ]


def _shape(facts: Facts) -> str:
    shape = mapping(mapping(facts.get("recipe")).get("model"))
    parts = [
        f"{shape['depth']} layers" if shape.get("depth") else "",
        f"width {shape['width']}" if shape.get("width") else "",
    ]
    return ", ".join(p for p in parts if p)
