"""Checks what lies in this folder, with nothing running: `python dashboards/check.py`.

`check_dashboards` and `check_rules` return what is wrong, one line each; an empty list is good news. Dashboards are
held against Grafana's own types (grafana-foundation-sdk is generated from Grafana's schema), against the metric
catalogue and against rules of our own; alert rules against promtool and the catalogue. Both need promtool.
"""

from __future__ import annotations

import enum
import json
import re
import subprocess
import sys
import tempfile
import typing
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from raytrain.errors import UserError
from raytrain.observe.boards import BOARDS
from raytrain.observe.catalogue import SERIES
from raytrain.observe.dashboards import text_of
from raytrain.services import programs

HERE = Path(__file__).parent
OTHERS = re.compile(r"(ray|prefect|python|process)_\w+|up|ALERTS")
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset", "inf"}
FLOW = re.compile(r"\b(rate|irate|increase)\s*\(\s*([a-zA-Z_:][\w:]*)")


# -- queries --------------------------------------------------------------------------------------------------------


def metrics_in(expr: str) -> set[str]:
    """The metrics that an expression reads."""
    bare = re.sub(r'"(\\.|[^"])*"', '""', expr)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    names = re.finditer(r"(?<![\w:.$])([a-zA-Z_:][\w:]*)\s*(\()?", bare)
    return {m.group(1) for m in names if not m.group(2) and m.group(1) not in WORDS}


def _query_problems(expr: str, recorded: set[str]) -> Iterator[str]:
    for name in sorted(metrics_in(expr)):
        if name not in SERIES and name not in recorded and not OTHERS.fullmatch(name):
            yield f"{name} is not in the metric catalogue"
    for function, name in FLOW.findall(expr):
        if name in SERIES and SERIES[name].kind in ("gauge", "info"):
            yield f"{function}() of {name}, which is no counter"


def _syntax_problems(exprs: list[str]) -> Iterator[str]:
    """What promtool says of expressions, the variables filled in."""
    values = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "6h", "$cluster": ".*", "$run": ".*"}
    rules = []
    for index, expr in enumerate(exprs):
        for name, value in values.items():
            expr = expr.replace(name, value)
        rules.append({"record": f"checked:{index}", "expr": expr})
    said = _promtool("check", "rules", text=yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    for line in said:
        if match := re.search(r"checked:(\d+).*?could not parse expression: (.*)", line):
            yield f"{exprs[int(match.group(1))]!r}: {match.group(2)}"


def _promtool(*arguments: str, text: str | None = None, folder: Path = HERE) -> list[str]:
    """promtool's complaints, none when all is well."""
    with tempfile.TemporaryDirectory() as scratch:
        more = []
        if text is not None:
            more = [str(Path(scratch) / "rules.yml")]
            Path(more[0]).write_text(text)
        command = [str(programs.find("promtool")), *arguments, *more]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    return (
        [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()] if done.returncode else []
    )


# -- dashboards -----------------------------------------------------------------------------------------------------


def check_dashboards(folder: Path = HERE) -> list[str]:
    """What is wrong with the dashboards of a folder."""
    problems = []
    for board in BOARDS:
        path = folder / f"{board.name}.json"
        if not path.exists():
            problems.append(f"{path.name}: missing; run python dashboards/generate.py")
        elif path.read_text() != text_of(board):
            problems.append(f"{path.name}: is not what python dashboards/generate.py writes")
    for path in sorted(folder.glob("*.json")):
        try:
            dashboard = json.loads(path.read_text())
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
            continue
        problems += [f"{path.name}: {problem}" for problem in lint(dashboard)]
    return problems


def lint(dashboard: dict[str, Any]) -> list[str]:
    """What is wrong with one dashboard."""
    problems = list(type_problems(dashboard))
    if problems:
        return problems  # the rest reads what it expects to find
    problems += _board_problems(dashboard)
    panels = [p for p in dashboard["panels"] if p["type"] != "row"]
    for panel in panels:
        problems += [f"panel {panel.get('title')!r}: {problem}" for problem in _panel_problems(panel)]
    return problems + list(_syntax_problems([t["expr"] for p in panels for t in p.get("targets", ())]))


def _board_problems(dashboard: dict[str, Any]) -> Iterator[str]:
    for key in ("uid", "title", "description", "tags"):
        if not dashboard.get(key):
            yield f"no {key}"
    if not 39 <= dashboard["schemaVersion"] <= 41:
        yield f"schemaVersion {dashboard['schemaVersion']}: Grafana 11 to 13 take 39 to 41"
    if dashboard.get("editable", True):
        yield "editable: the file is the truth, not what somebody saves"
    names = [v["name"] for v in dashboard["templating"].get("list") or ()]
    for name in ("datasource", "cluster", "run"):
        if name not in names:
            yield f"no variable ${name}"
    ids = Counter(p.get("id") for p in dashboard["panels"])
    yield from (f"{n} panels have the id {i}" for i, n in ids.items() if n > 1 or i is None)
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        place, title = panel["gridPos"], str(panel.get("title"))
        if place["x"] + place["w"] > 24:
            yield f"panel {title!r} reaches over the edge"
        cells = [
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        over = {taken[cell] for cell in cells if cell in taken}
        yield from (f"panel {title!r} lies over {other!r}" for other in sorted(over))
        taken |= dict.fromkeys(cells, title)


def _panel_problems(panel: dict[str, Any]) -> Iterator[str]:
    for key in ("title", "description"):
        if not panel.get(key):
            yield f"no {key}"
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        yield "does not use the variable ${datasource}"
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not defaults.get("unit"):
        yield "no unit"
    elif defaults["unit"] not in _units():
        yield f"unit {defaults['unit']!r} is none of Grafana's"
    if not defaults.get("thresholds"):
        yield "no thresholds"
    if panel["type"] == "timeseries" and not panel.get("options", {}).get("legend", {}).get("showLegend"):
        yield "no legend"
    targets = panel.get("targets") or ()
    if not targets:
        yield "no query"
    refs = Counter(t.get("refId") for t in targets)
    yield from (f"{n} queries are called {r!r}" for r, n in refs.items() if n > 1 or not r)
    for target in targets:
        expr = target["expr"]
        yield from _query_problems(expr, set())
        if not target.get("legendFormat"):
            yield f"{expr!r} has no legend"
        selectors = re.findall(r"([a-zA-Z_:][\w:]*)(\{[^}]*\})?", re.sub(r'"[^"]*"', '""', expr))
        known = metrics_in(expr)
        for name, selector in selectors:
            if name in known and 'cluster=~""' not in selector:
                yield f"{name} is not limited to $cluster"
        if FLOW.search(expr) and "[$__rate_interval]" not in expr:
            yield f"{expr!r} has a window of its own, not $__rate_interval"


def _units() -> set[str]:
    from grafana_foundation_sdk.models import units

    return {value for name, value in vars(units).items() if name[0].isupper() and isinstance(value, str)}


def type_problems(dashboard: dict[str, Any]) -> Iterator[str]:
    """Where a dashboard is not of the types that Grafana's schema gives: unknown keys, missing ones, wrong values."""
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.models import dashboard as models

    plugins.register_default_plugins()
    try:
        built = models.Dashboard.from_json(dashboard)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"cannot be read as a dashboard of Grafana's: {type(error).__name__}: {error}"
        return
    yield from _lost(dashboard, _plain(built), "")
    yield from _wrong(built, "")


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return _plain(value.to_json())
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _lost(given: Any, kept: Any, path: str) -> Iterator[str]:
    """Keys that Grafana's types do not know are gone after one turn through them."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            if key not in kept and value is not None:
                yield f"{path}{key}: Grafana knows no such key"
            elif key in kept:
                yield from _lost(value, kept[key], f"{path}{key}.")
    elif isinstance(given, list) and isinstance(kept, list):
        for index, (a, b) in enumerate(zip(given, kept, strict=False)):
            yield from _lost(a, b, f"{path}{index}.")


def _wrong(value: Any, path: str) -> Iterator[str]:
    """Attributes whose values are not of the types that they declare."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _wrong(item, f"{path}{index}.")
    elif hasattr(value, "to_json"):
        for name, declared in _types(type(value)).items():
            held = getattr(value, name, None)
            if not _fits(held, declared):
                yield f"{path}{name}: {held!r} is not {getattr(declared, '__name__', declared)}"
            else:
                yield from _wrong(held, f"{path}{name}.")


def _types(model: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(model, vars(sys.modules[model.__module__]))
    except (NameError, TypeError):
        return {}


def _fits(value: Any, declared: Any) -> bool:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Union:
        return any(_fits(value, a) for a in arguments)
    if origin is list:
        return isinstance(value, list) and all(_fits(v, arguments[0]) for v in value)
    if origin is dict:
        return isinstance(value, dict) and all(_fits(v, arguments[1]) for v in value.values())
    if origin is typing.Literal:
        return value in arguments
    if not isinstance(declared, type) or declared is object:
        return True
    if issubclass(declared, enum.Enum):
        return value in {member.value for member in declared}
    if hasattr(declared, "from_json") and isinstance(value, dict):  # the SDK leaves some parts as they came
        return set(value) <= set(_plain(declared.from_json(value))) and not list(_wrong(declared.from_json(value), ""))
    if declared is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, declared) and (declared is not int or not isinstance(value, bool))


# -- rules ----------------------------------------------------------------------------------------------------------


def check_rules(folder: Path = HERE) -> list[str]:
    """What is wrong with rules.yml and its tests; `docs/operations.md` is looked for beside the folder."""
    try:
        rules = yaml.safe_load((folder / "rules.yml").read_text())
        tests = yaml.safe_load((folder / "rules_test.yml").read_text())
    except (OSError, yaml.YAMLError) as error:
        return [f"rules: {' '.join(str(error).split())}"]
    problems = [f"rules.yml: {line}" for line in _promtool("check", "rules", "rules.yml", folder=folder)]
    if problems:
        return problems
    problems += [f"rules_test.yml: {line}" for line in _promtool("test", "rules", "rules_test.yml", folder=folder)]
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in every if "record" in rule}
    text = (HERE.parent / "docs" / "operations.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", text, re.MULTILINE)}
    for rule in every:
        name = rule.get("record") or rule["alert"]
        problems += [f"{name}: {problem}" for problem in _query_problems(rule["expr"], recorded)]
        if "alert" in rule:
            problems += [f"{name}: {problem}" for problem in _alert_problems(rule, tests, anchors)]
    return problems


def _alert_problems(rule: dict[str, Any], tests: dict[str, Any], anchors: set[str]) -> Iterator[str]:
    if rule.get("labels", {}).get("severity") not in ("page", "warning"):
        yield "severity is neither page nor warning"
    notes = rule.get("annotations", {})
    if not notes.get("summary"):
        yield "no summary"
    page, _, anchor = notes.get("runbook_url", "").partition("#")
    if page != "docs/operations.md" or anchor not in anchors:
        yield f"runbook_url {notes.get('runbook_url')!r} leads nowhere"
    cases = [c for t in tests["tests"] for c in t.get("alert_rule_test", ()) if c["alertname"] == rule["alert"]]
    if not any(c.get("exp_alerts") for c in cases):
        yield "no test in which it fires"
    if all(c.get("exp_alerts") for c in cases):
        yield "no test in which it stays silent"


def main() -> int:
    """Prints what is wrong; 1 when anything is."""
    try:
        problems = check_dashboards() + check_rules()
    except UserError as error:
        problems = [str(error)]
    print("\n".join(problems) or f"{len(BOARDS)} dashboards and the alert rules are in order")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
