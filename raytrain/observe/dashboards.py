"""From the boards to Grafana's JSON: everything that is alike in all panels is added here, once.

The invariant: the files in dashboards/ are what `text_of` returns, and nobody edits them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from raytrain.observe.boards import BLUE, BOARDS, COLUMNS, Board, Panel, Query, Row

CLUSTER = 'cluster=~"$cluster"'
RUN = f'{CLUSTER}, run_id=~"$run"'
SCHEMA_VERSION = 41
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def expand(expr: str) -> str:
    """An expression with its selections written out."""
    return re.sub(r"\{(RUN|CLUSTER)\b", lambda m: "{" + {"RUN": RUN, "CLUSTER": CLUSTER}[m.group(1)], expr)


def source_of(expr: str) -> Literal["raytrain", "ray", "prefect"]:
    """Who must be running for an expression to have data."""
    if re.search(r"\bray_", expr):
        return "ray"
    return "prefect" if "raytrain_flow_runs" in expr or 'job="prefect"' in expr else "raytrain"


def panel_queries() -> Iterator[tuple[str, str, str, str]]:
    """(dashboard, panel, source, expression) of every query; variables are still in it."""
    for board in BOARDS:
        for row in board.rows:
            for panel in row.panels:
                for query in panel.queries:
                    yield board.name, f"{row.title}: {panel.title}", source_of(query.expr), expand(query.expr)


def dashboard(board: Board) -> dict[str, Any]:
    """A board as Grafana's classic JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for row in board.rows:
        panels.append(_row(row, len(panels) + 1, top))
        top, left, lowest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, lowest = top + lowest, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            panels.append(_panel(panel, len(panels) + 1, place))
            left, lowest = left + panel.width, max(lowest, panel.height)
        top += lowest
    others = [other for other in BOARDS if other is not board]
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.about,
        "tags": ["raytrain"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "annotations": {"list": []},
        "links": [_link(other) for other in others],
        "templating": {"list": _variables(board.several)},
        "panels": panels,
    }


def text_of(board: Board) -> str:
    """The file of a board."""
    return json.dumps(dashboard(board), indent=1) + "\n"


def _variables(several: bool) -> list[dict[str, Any]]:
    chosen = {
        "type": "query",
        "datasource": DATASOURCE,
        "refresh": 2,
        "sort": 1,
        "includeAll": several,
        "multi": several,
    }
    chosen |= {"allValue": ".*"} if several else {}
    cluster = "label_values(up, cluster)"
    run = f"label_values(raytrain_run_info{{{CLUSTER}}}, run_id)"
    everything = {"text": ["All"], "value": ["$__all"]}
    queries = [("cluster", "Cluster", cluster, chosen | {"includeAll": True, "multi": True, "allValue": ".*"})]
    queries.append(("run", "Run", run, chosen))
    return [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
        *(
            {
                "name": name,
                "label": label,
                "query": query,
                **how,
                **({"current": everything} if how["includeAll"] else {}),
            }
            for name, label, query, how in queries
        ),
    ]


def _link(board: Board) -> dict[str, Any]:
    return {
        "title": board.title,
        "type": "link",
        "icon": "dashboard",
        "tooltip": board.about,
        "url": f"/d/{board.uid}",
        "tags": [],
        "asDropdown": False,
        "targetBlank": False,
        "includeVars": True,
        "keepTime": True,
    }


def _row(row: Row, number: int, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps = panel.thresholds or ((None, BLUE),)
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0 if panel.unit in ("percentunit", "currencyUSD", "bytes", "s") else None,
        "max": panel.most,
        "color": {"mode": "thresholds" if panel.kind != "timeseries" else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]},
        "custom": _drawing(panel) if panel.kind == "timeseries" else None,
    }
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "gridPos": place,
        "datasource": DATASOURCE,
        "interval": "1m",  # the ledger is flushed and read every ten seconds each: finer rates would be gaps
        "targets": [_target(query, index, panel.kind) for index, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": {k: v for k, v in defaults.items() if v is not None}, "overrides": []},
        "options": _OPTIONS[panel.kind] | ({"textMode": "name"} if panel.title == "State" else {}),
    }
    if panel.kind == "table":
        made["transformations"] = _columns(panel)
    return made


def _drawing(panel: Panel) -> dict[str, Any]:
    drawn: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 25 if panel.stacked else 8, "showPoints": "auto"}
    drawn |= {"spanNulls": False, "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"}}
    drawn["thresholdsStyle"] = {"mode": "line" if len(panel.thresholds) > 1 else "off"}
    return drawn | ({"scaleDistribution": {"type": "log", "log": 10}} if panel.log else {})


def _target(query: Query, index: int, kind: str) -> dict[str, Any]:
    now = kind != "timeseries"
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": expand(query.expr),
        "legendFormat": query.legend,
        "instant": now,
        "range": not now,
        "editorMode": "code",
        "format": "table" if kind == "table" else "time_series",
    }


def _columns(panel: Panel) -> list[dict[str, Any]]:
    """The queries of a table side by side, each value under its query's name; one query alone lists its labels."""
    alone = len(panel.queries) == 1
    names = {} if alone else {f"Value #{chr(ord('A') + i)}": query.legend for i, query in enumerate(panel.queries)}
    hidden = dict.fromkeys(("Time", "__name__", "job", "instance", *(("Value",) if alone else ())), True)
    organize = {"excludeByName": hidden, "renameByName": names, "indexByName": {}}
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]


_LEGEND = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": ["lastNotNull"]}
_LAST = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
_OPTIONS: dict[str, dict[str, Any]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "textMode": "value",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "reduceOptions": _LAST,
    },
    "bargauge": {
        "displayMode": "basic",
        "orientation": "horizontal",
        "valueMode": "color",
        "namePlacement": "auto",
        "showUnfilled": True,
        "sizing": "auto",
        "minVizWidth": 8,
        "minVizHeight": 16,
        "maxVizHeight": 40,
        "legend": {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []},
        "reduceOptions": _LAST,
    },
    "table": {"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
}
