"""What pages are made of: the file around them, tables, panels, charts with captions. Pure: figures in, markup out.

The invariant: a page loads nothing from anywhere, and text that is not Markup is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from importlib.resources import files

from raytrain.observe import charts
from raytrain.observe.charts import Line
from raytrain.observe.notation import text


class Markup(str):
    """Text that is HTML already."""


def page(title: object, body: str) -> str:
    """The whole file: style and script stand in it, and a content security policy forbids the rest."""
    style, script = _asset("report.css"), _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{text(title)} · raytrain</title><style>{style}</style></head>"
        f'<body>{body}<div id="tip" hidden></div><script>{script}</script></body></html>\n'
    )


def _asset(name: str) -> str:
    return (files("raytrain.observe") / name).read_text(encoding="utf-8")


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], numeric: Iterable[int] = (), kind: str = "") -> str:
    """A table; cells are escaped unless they are Markup, those of `numeric` columns stand to the right. `kind` is a
    class of report.css that says how it fits a phone."""
    right = set(numeric)

    def cell(tag: str, index: int, value: object) -> str:
        inner = value if isinstance(value, Markup) else text(value)
        return f"<{tag}{' class=n' if index in right else ''}>{inner}</{tag}>"

    head = "".join(cell("th", i, h) for i, h in enumerate(heads))
    body = "".join(f"<tr>{''.join(cell('td', i, v) for i, v in enumerate(row))}</tr>" for row in rows)
    if not body:
        return ""
    return f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(title: str, note: str, lines: Sequence[Line], views: Sequence[tuple[str, str]], key: str = "") -> str:
    """A chart with its title, its figure at the right, and a button for each of its views (name, SVG)."""
    views = [(name, svg) for name, svg in views if svg]
    if not views:
        return ""
    buttons = "".join(
        f'<button type="button" aria-pressed="{"false" if k else "true"}">{text(name)}</button>'
        for k, (name, _) in enumerate(views)
    )
    switch = f'<div class="switch" role="group" aria-label="scale">{buttons}</div>' if len(views) > 1 else ""
    boxes = "".join(f'<div class="view"{" hidden" if k else ""}>{svg}</div>' for k, (_, svg) in enumerate(views))
    return (
        f'<figure class="chart" data-tip="{charts.tip_data(lines)}"><figcaption><b>{text(title)}</b>'
        f'<span class="note">{text(note)}</span></figcaption><div class="keys">{key}{switch}</div>{boxes}</figure>'
    )


def panel(title: str, body: str, note: str = "") -> str:
    small = f'<span class="note">{text(note)}</span>' if note else ""
    return f'<div class="panel"><h3>{text(title)}{small}</h3>{body}</div>' if body else ""


def details(summary: str, body: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{body}</details>"


def grid(kind: str, parts: Iterable[str]) -> str:
    inner = "".join(parts)
    return f'<div class="grid {kind}">{inner}</div>' if inner else ""


def columns(parts: Iterable[str]) -> str:
    """Panels of unequal height, one under another in as many columns as there is room for."""
    inner = "".join(parts)
    return f'<div class="masonry">{inner}</div>' if inner else ""


def tile(name: str, value: str, note: str) -> str:
    return f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(note)}</small></dd></div>"
