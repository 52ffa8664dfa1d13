"""What the model says and knows: next-token guesses as it learned, samples, held-out text by domain. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from raytrain.observe import charts
from raytrain.observe.charts import Bar
from raytrain.observe.notation import clip, count, mapping, number_or, percent, real, text
from raytrain.observe.page import grid, panel, table
from raytrain.observe.report.section import Facts, entries


def peeks(facts: Facts) -> str:
    peeks = sorted(entries(facts.get("peeks")), key=lambda p: number_or(p.get("step"), 0))
    if len(peeks) > 4:
        peeks = [*peeks[:3], peeks[-1]]
    last = mapping(facts.get("model")).get("steps")
    prompts = list(dict.fromkeys(str(row.get("prompt")) for p in peeks for row in entries(p.get("prompts"))))
    cards = []
    for prompt in prompts:
        steps = []
        for peek in peeks:
            row = next((r for r in entries(peek.get("prompts")) if str(r.get("prompt")) == prompt), None)
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


def samples(facts: Facts) -> str:
    cards = [
        f'<blockquote class="panel"><p><b>{text(s.get("prompt", ""))}</b>'
        f"{text(clip(s.get('text', ''), 2000))}</p></blockquote>"
        for s in entries(facts.get("samples"))
    ]
    return grid("pair", cards)


def evaluation(facts: Facts) -> str:
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
