"""Where it all came from: artifacts and their parents, the recipe, what happened on the way. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

import yaml

from raytrain.observe import charts
from raytrain.observe.notation import MISSING, clip, count, duration, mapping, money, real, short, size, text
from raytrain.observe.page import Markup, details, table
from raytrain.observe.report.section import Facts, entries, hashed

MOST_EVENTS = 200


def lineage(facts: Facts) -> str:
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
            hashed(made[k].get("sha256")),
            ", ".join(parents[k]),
        )
        for k in order
    ]
    full = details("Prefixes, checksums and parents", table(("step", "prefix", "sha256", "from"), rows))
    return f'<div class="panel">{charts.lineage(nodes, edges, label="which step read what")}</div>{full}'


def recipe(facts: Facts) -> str:
    recipe = facts.get("recipe")
    if not isinstance(recipe, Mapping) or not recipe:
        return ""
    plain = json.loads(json.dumps(recipe, default=str))
    body = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    bound = f", bound as {facts['recipe_hash']}" if facts.get("recipe_hash") else ""
    return details(f"The recipe as it was resolved{bound}", f"<pre>{text(body)}</pre>")


def events(facts: Facts) -> str:
    events = entries(facts.get("events"))
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


def footer(facts: Facts) -> str:
    version = f" {text(facts['version'])}" if facts.get("version") else ""
    code = f" ({text(clip(facts['code'], 40))})" if facts.get("code") else ""
    return (
        f"<footer>Made by raytrain{version}{code} from the run's ledger and artifacts. Every figure can be traced to "
        "an artifact above; this page loads nothing from the network.</footer>"
    )
