"""Time and money: where every paid second went, and what it cost. Pure."""

from __future__ import annotations

import math

from raytrain.observe import charts
from raytrain.observe.charts import MISSING, Bar, duration, mapping, money, percent, real, text
from raytrain.observe.page import Markup, grid, panel, table
from raytrain.observe.report.figures import progress, total_cost
from raytrain.observe.report.section import Facts

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
