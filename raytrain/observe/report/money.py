"""Time and money: where every paid second went, and what it cost. Pure."""

from __future__ import annotations

import math

from raytrain.observe import charts
from raytrain.observe.charts import Bar
from raytrain.observe.notation import (
    MISSING,
    THIN,
    duration,
    mapping,
    money,
    number_or,
    percent,
    real,
    significant,
    size,
    text,
)
from raytrain.observe.page import Markup, grid, panel, table
from raytrain.observe.report.figures import progress, total_cost
from raytrain.observe.report.section import Facts, entries

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


def time(facts: Facts) -> str:
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
    return grid("pair", [left, f"<div>{panel('Bill', bill(facts))}{panel('Nodes', by_node)}</div>"])


def work(facts: Facts) -> str:
    """The steps that made the data: text that went through, CPU seconds, speed, dollars; and dollars per kept token."""
    made = mapping(facts.get("artifacts"))
    rows, total, spent = [], 0.0, 0.0
    for name, volume in text_through(facts).items():
        found = mapping(made.get(name))
        busy, usd = real(found.get("cpu_seconds")), real(found.get("cost_usd"))
        total, spent = total + (busy or 0.0), spent + (usd or 0.0)
        speed = f"{significant(volume / busy / 1e6)}{THIN}MB" if volume and busy else MISSING
        took = duration(found.get("seconds"))
        rows.append((name, size(volume or None), duration(busy), speed, took, money(usd)))
    heads = ("step", "text", "CPU time", "a CPU second", "elapsed", "cost")
    shown = table(heads, rows, (1, 2, 3, 4, 5), "costs")
    words = f"{duration(total)} of work on shards, {money(spent)}"
    return (
        panel("Steps of the data", shown, words) + panel("Price of what is kept", _price(facts, spent)) if rows else ""
    )


def text_through(facts: Facts) -> dict[str, float]:
    """The bytes of text that went into each step of the data that was carried out, in order; 0 where not known."""
    funnel = {
        str(row.get("step")): number_or(row.get("bytes"), 0)
        for row in entries(mapping(facts.get("corpus")).get("funnel"))
    }
    found = mapping(facts.get("ingest"))
    read = number_or(found.get("read_bytes"), funnel.get("read", 0))
    normalised = number_or(found.get("bytes"), funnel.get("normalised", 0))
    into = {"ingest": read, "baseline": None, "tokenizer": None, "tokenize": funnel.get("kept", 0)}
    return {
        name: volume
        for name in mapping(facts.get("artifacts"))
        if name not in ("pretrain", "evaluate") and (volume := into.get(name, normalised)) is not None
    }


def _price(facts: Facts, spent: float) -> str:
    """Dollars for what is left to train on. Tokens are counted where they were made."""
    kept = (entries(mapping(facts.get("corpus")).get("funnel")) or [{}])[-1]
    tokens = real(mapping(facts.get("tokens")).get("train_tokens"))
    rows = [
        (name, money(spent / amount * per))
        for name, amount, per in (
            ("per million kept tokens", tokens, 1e6),
            ("per kept gigabyte", real(kept.get("bytes")), 1e9),
            ("per million kept documents", real(kept.get("documents")), 1e6),
        )
        if amount and spent
    ]
    return table(("data steps only", "US dollars"), rows, (1,))


def bill(facts: Facts) -> str:
    books = mapping(facts.get("account"))
    price, (_, tokens) = mapping(books.get("price")), progress(facts)
    total = total_cost(facts)
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
