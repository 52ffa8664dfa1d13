"""From raw records to a corpus: what was left after each step, why the rest went, and what that did to the shares.

Pure. The invariant: a figure that was not measured is not shown, and an estimate is called one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from raytrain.observe import charts
from raytrain.observe.charts import Bar
from raytrain.observe.notation import (
    MISSING,
    THIN,
    count,
    mapping,
    number_or,
    percent,
    real,
    short,
    significant,
    size,
    text,
)
from raytrain.observe.page import Markup, columns, details, figure, grid, panel, table
from raytrain.observe.report.section import Facts, entries, hashed

GROUPS = ("source", "domain", "licence", "origin", "language")
OPEN_HISTOGRAMS = 8
MOST_GROUPS = 14  # names shown of a group; the others are one row


def funnel(facts: Facts) -> str:
    corpus = mapping(facts.get("corpus"))
    steps = [
        (str(r.get("step")), number_or(r.get("documents"), 0), number_or(r.get("bytes"), 0))
        for r in entries(corpus.get("funnel"))
    ]
    if not steps:
        return ""
    tokens = _tokens_left(facts)
    notes = [f"≈{THIN}{short(n)} tokens" for n in tokens]
    picture = charts.waterfall(steps, label="documents and bytes left after each step", notes=notes)
    kept = steps[-1][1] / steps[0][1] if steps[0][1] else 0
    key = charts.legend([("documents", "one", ""), ("bytes", "two", ""), ("lost in the step", "hatched", "")])
    drawn = panel("What is left after each step", key + picture, f"{percent(kept)} of documents kept")
    return drawn + _exact(steps, tokens) + columns([_split(corpus), _quarantine(facts), _cuts(corpus), _tokens(facts)])


def _tokens_left(facts: Facts) -> list[float]:
    """Tokens after each step: as counted, else by the bytes that a token of this corpus takes. Nothing if unknown."""
    funnel, tokens = entries(mapping(facts.get("corpus")).get("funnel")), mapping(facts.get("tokens"))
    counted = [n for row in funnel if (n := real(row.get("tokens"))) is not None]
    if len(counted) == len(funnel):
        return counted
    total, volume = real(tokens.get("train_tokens")), real(tokens.get("train_bytes"))
    return [number_or(row.get("bytes"), 0) * total / volume for row in funnel] if total and volume else []


def _exact(steps: Sequence[tuple[str, float, float]], tokens: Sequence[float]) -> str:
    """The waterfall's figures; tokens are estimated from bytes."""
    heads = ("step", "documents", "bytes", "tokens, about")[: 4 if tokens else 3]
    shown = [
        (name, count(documents), count(volume), *([short(tokens[k])] if tokens else []))
        for k, (name, documents, volume) in enumerate(steps)
    ]
    return details("The same as a table", table(heads, shown, (1, 2, 3)))


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


def _cuts(corpus: Facts) -> str:
    """Spans that were cut out of texts that stay."""
    rows = [
        (reason, count(mapping(held).get("documents")), size(mapping(held).get("bytes")))
        for reason, held in mapping(corpus.get("cuts")).items()
    ]
    return panel("Cut away", table(("reason", "documents", "bytes"), rows, (1, 2)), "spans, out of texts that stay")


def _tokens(facts: Facts) -> str:
    tokens = mapping(facts.get("tokens"))
    total, volume = real(tokens.get("train_tokens")), real(tokens.get("train_bytes"))
    if not total:
        return ""
    coder, held = mapping(tokens.get("tokenizer")), mapping(tokens.get("validation"))
    by_domain: dict[str, float] = {}
    for group in entries(tokens.get("groups")):
        name = str(group.get("domain"))
        by_domain[name] = by_domain.get(name, 0) + number_or(group.get("tokens"), 0)
    ranked = sorted(by_domain.items(), key=lambda item: -item[1])
    drawn = charts.bars([Bar(k, v, f"{short(v)} · {percent(v / total)}") for k, v in ranked], label="tokens by domain")
    per = f"{significant(volume / total)} bytes per token" if volume else ""
    words = f"{short(total)} for training, {short(held.get('tokens'))} held out; "
    words += f"vocabulary {count(coder.get('vocab_size'))}"
    sha = f'<p class="note">tokenizer sha256 {hashed(coder.get("sha256"))}</p>' if coder.get("sha256") else ""
    return panel("Tokens", f'<p class="figure">{text(words)}</p>{drawn}{sha}', per)


def reasons(facts: Facts) -> str:
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


def thresholds(facts: Facts) -> str:
    """Histograms of the numbers that rules decide by, those that remove most first."""
    corpus = mapping(facts.get("corpus"))
    removed = mapping(corpus.get("reasons"))
    ranked = []
    for name, value in mapping(corpus.get("histograms")).items():
        found = mapping(value)
        rules = [str(t.get("rule")) for t in entries(found.get("thresholds"))]
        gone = math.fsum(number_or(mapping(removed.get(rule)).get("documents"), 0) for rule in rules)
        drawn = _histogram(str(name), found, gone)
        if drawn:
            ranked.append((-gone, str(name), drawn))
    ranked.sort()
    first, rest = ([one[2] for one in part] for part in (ranked[:OPEN_HISTOGRAMS], ranked[OPEN_HISTOGRAMS:]))
    return grid("small", first) + (details(f"{len(rest)} more", grid("small", rest)) if rest else "")


def _histogram(name: str, found: Facts, gone: float) -> str:
    edges, documents = (
        [v for one in held if (v := real(one)) is not None] if isinstance(held := found.get(key), Sequence) else []
        for key in ("edges", "documents")
    )
    limits = [
        charts.Threshold(str(t.get("rule")), str(t.get("op")), number_or(t.get("threshold"), 0.0))
        for t in entries(found.get("thresholds"))
    ]
    label = f"documents by {name}"
    views = [
        (view, charts.histogram(edges, documents, limits, label=label, log=view == "log")) for view in ("linear", "log")
    ]
    items = "".join(f"<li>{text(t.name)} {text(charts.condition(t))}</li>" for t in limits)
    note = f"{count(gone)} rejected" if limits else ""
    return figure(name.replace("_", " "), note, [], views, f'<ul class="limits">{items}</ul>' if items else "")


def groups(facts: Facts) -> str:
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
