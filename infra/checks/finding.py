"""A finding, where in a file it is, and the programs that find some of them.

The invariant: a check that cannot be carried out is a finding too; nothing passes because its validator is missing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from raytrain.services.programs import search_path

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
REMEDIES = {"promtool": "run infra/get-prometheus.sh", "amtool": "run infra/get-prometheus.sh"}


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong with a file; lines count from 1."""

    path: Path
    line: int
    what: str


class Unreadable(Exception):
    """A file that cannot be parsed, or a program that is not there: the one finding of its check."""

    def __init__(self, what: str, line: int = 1) -> None:
        super().__init__(what)
        self.line = line


def documents(path: Path) -> list[Any]:
    """The YAML documents of a file."""
    try:
        return [d for d in yaml.load_all(path.read_text(), Loader=LOADER) if d is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error)
        raise Unreadable(f"not YAML: {what}", mark.line + 1 if mark else 1) from None


def against(schema: dict[str, Any], value: Any, text: str, document: int = 0) -> Iterable[tuple[int, str]]:
    """Lines and sentences for what a JSON schema does not admit."""
    for error in sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: list(map(str, e.absolute_path))):
        path = list(error.absolute_path)
        unexpected = re.search(r"\('([^']+)' was unexpected", error.message)
        where = [*path, unexpected.group(1)] if unexpected else path
        yield line_of(text, where, document), f"{'.'.join(map(str, path)) or 'top'}: {error.message[:160]}"


def line_of(text: str, path: Sequence[str | int], document: int = 0) -> int:
    """The line of a key in a YAML text, or of the nearest parent that is written there and not merged in."""
    nodes = [n for n in yaml.compose_all(text, Loader=LOADER) if n is not None]
    if document >= len(nodes):
        return 1
    node, line = nodes[document], nodes[document].start_mark.line + 1
    for step in path:
        inner = None
        if isinstance(node, yaml.MappingNode):
            inner = next(((k, v) for k, v in node.value if k.value == str(step)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            inner = (node.value[step], node.value[step])
        if inner is None:
            break
        line, node = inner[0].start_mark.line + 1, inner[1]
    return line


def line_with(text: str, word: str) -> int:
    """The first line that holds a word, 1 where none does."""
    return next((n for n, line in enumerate(text.splitlines(), 1) if word in line), 1)


def program(name: str) -> str:
    """A validator's path: of this environment, else on the PATH."""
    found = shutil.which(name, path=search_path())
    if found is None:
        raise Unreadable(f"{name} is missing, nothing was checked; {REMEDIES.get(name, 'pip install raytrain[dev]')}")
    return found


def run(command: Sequence[str | Path], **options: Any) -> tuple[int, str, str]:
    """Runs a validator to its end: exit status, standard output, standard error."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def load_schema(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded
