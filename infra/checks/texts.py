"""Dockerfiles, shell and batch scripts, SkyPilot tasks, Prefect's deployments, and the style of every YAML file."""

from __future__ import annotations

import ast
import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checks.finding import Finding, Unreadable, against, documents, line_of, load_schema, program, run

INFRA = Path(__file__).parents[1]
SBATCH = """
account array begin comment constraint cpus-per-gpu cpus-per-task dependency error exclude exclusive export gpus
gpus-per-node gpus-per-task gres hint hold job-name kill-on-invalid-dep licenses mail-type mail-user mem mem-per-cpu
mem-per-gpu nice no-requeue nodelist nodes ntasks ntasks-per-gpu ntasks-per-node open-mode output partition power
prefer priority qos requeue reservation signal threads-per-core time time-min tmp wait wckey
""".split()
DEPLOYMENT = """
name version version_type tags description schedule schedules concurrency_limit triggers flow_name entrypoint
parameters enforce_parameter_schema pull build push work_pool
""".split()
SCHEDULE = "cron interval rrule anchor_date timezone active slug parameters day_or catchup replaces".split()


def yaml_style(path: Path) -> Iterator[Finding]:
    from yamllint import linter
    from yamllint.config import YamlLintConfig

    settings = YamlLintConfig(file=str(INFRA / "yamllint.yaml"))
    for problem in linter.run(path.read_text(), settings, str(path)):
        yield Finding(path, problem.line, f"{problem.rule or 'syntax'}: {problem.desc}")


def dockerfile(path: Path) -> Iterator[Finding]:
    """Hadolint; that what is copied is there; and that the image does not run as root."""
    _, out, err = run([program("hadolint"), "--no-color", "--format", "json", path])
    if err.strip():
        raise Unreadable(err.strip()[:300])
    for problem in json.loads(out or "[]"):
        yield Finding(path, problem["line"], f"{problem['code']}: {problem['message']}")
    root, user = _repository(path), ""
    for n, line in enumerate(path.read_text().splitlines(), 1):
        instruction, _, rest = line.partition(" ")
        if instruction == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                if not (root / source).exists():
                    yield Finding(path, n, f"COPY: {source} is not in the repository")
        if instruction == "FROM":
            user = ""
        if instruction == "USER":
            user = rest.strip()
    if user.split(":")[0] in ("", "root", "0"):
        yield Finding(path, 1, "USER: the image runs as root")


def shell(path: Path) -> Iterator[Finding]:
    status, _, err = run([program("bash"), "-n", path])
    if status:
        found = re.search(r"line (\d+): (.*)", err)
        yield Finding(path, int(found.group(1)) if found else 1, found.group(2) if found else err.strip())


def sbatch(path: Path) -> Iterator[Finding]:
    """A batch script, with the directives that Slurm knows and where Slurm reads them: before the first command."""
    yield from shell(path)
    text, begun = path.read_text(), False
    for n, line in enumerate(text.splitlines(), 1):
        if line.startswith("#SBATCH"):
            option = re.match(r"#SBATCH\s+--([\w-]+)(=\S.*)?$", line)
            if begun:
                yield Finding(path, n, "a directive after the first command: Slurm does not read it")
            elif option is None:
                yield Finding(path, n, "not a directive: write #SBATCH --option=value")
            elif option.group(1) not in SBATCH:
                yield Finding(path, n, f"--{option.group(1)} is not an option of sbatch")
        elif line.strip() and not line.startswith("#"):
            begun = True


def sky(path: Path) -> Iterator[Finding]:
    text = path.read_text()
    (task,) = documents(path) or [{}]
    for line, what in against(load_schema(INFRA / "schemas" / "sky-task.json"), task, text):
        yield Finding(path, line, what)
    for key in ("setup", "run"):
        status, _, err = run(["bash", "-n"], input=task.get(key, ""))
        if status:
            yield Finding(path, line_of(text, [key]), f"{key}: {' '.join(err.split())}")


def prefect(path: Path) -> Iterator[Finding]:
    """Every entrypoint is a flow, every parameter one of its own, every key one that Prefect reads."""
    text = path.read_text()
    (config,) = documents(path)
    for key in sorted(
        config.keys() - {"name", "prefect-version", "build", "push", "pull", "definitions", "deployments"}
    ):
        yield Finding(path, line_of(text, [key]), f"{key}: not a key of prefect.yaml")
    for n, deployment in enumerate(config.get("deployments", [])):
        where: list[str | int] = ["deployments", n]
        for key in sorted(deployment.keys() - set(DEPLOYMENT)):
            yield Finding(path, line_of(text, [*where, key]), f"{key}: not a key of a deployment")
        entrypoint = deployment.get("entrypoint", "")
        parameters = _parameters(path.parent, entrypoint)
        if parameters is None:
            yield Finding(path, line_of(text, [*where, "entrypoint"]), f"{entrypoint}: no such flow")
            continue
        for key in sorted(deployment.get("parameters", {}).keys() - parameters):
            yield Finding(path, line_of(text, [*where, "parameters", key]), f"{key}: {entrypoint} takes no such thing")
        for schedule in deployment.get("schedules", []):
            yield from _schedule(path, text, [*where, "schedules"], schedule, parameters)


def _schedule(
    path: Path, text: str, where: list[str | int], schedule: dict[str, Any], parameters: set[str]
) -> Iterator[Finding]:
    from cronsim import CronSim, CronSimError

    line = line_of(text, where)
    for key in sorted(schedule.keys() - set(SCHEDULE)):
        yield Finding(path, line, f"schedules: {key} is not a key of a schedule")
    for key in sorted(schedule.get("parameters", {}).keys() - parameters):
        yield Finding(path, line, f"schedules: the flow takes no {key!r}")
    if "cron" in schedule:
        try:
            CronSim(schedule["cron"], datetime.datetime(2026, 1, 1))
        except CronSimError as error:
            yield Finding(path, line, f"schedules: cron {schedule['cron']!r}: {error}")


def _parameters(root: Path, entrypoint: str) -> set[str] | None:
    """The parameters of a flow, by reading its source; None where there is none."""
    file, _, name = entrypoint.partition(":")
    if not (root / file).is_file():
        return None
    for node in ast.parse((root / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            decorators = {ast.unparse(d).split("(")[0].rpartition(".")[2] for d in node.decorator_list}
            return {a.arg for a in [*node.args.args, *node.args.kwonlyargs]} if "flow" in decorators else None
    return None


def _repository(path: Path) -> Path:
    return path.resolve().parents[2]
