"""A recipe of seconds over real text, a run of it that is finished, and `raytrain` as a person meets it."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "recipes" / "quickstart"
COMMAND = [sys.executable, "-c", "from raytrain.cli import main; main()"]
STEPS, BATCH = 20, 8

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "seed": 7,
    "engine": "local",
    "sources": [
        {"name": "faq", "uri": str(CORPUS / "faq"), "domain": "faq", "licence": "LicenseRef-Debian-FAQ"},
        {"name": "devil", "uri": str(CORPUS / "devil"), "domain": "dictionary", "licence": "public-domain"},
    ],
    "corpus": {
        "target_shard_bytes": 100_000,
        "max_document_bytes": 100_000,
        "split": {"min_validation_documents": 10, "min_validation_bytes": 10_000},
    },
    "tokenizer": {"vocab_size": 512},
    "model": {"depth": 1, "width": 64, "context": 64},
    "train": {"max_steps": STEPS, "batch_sequences": BATCH, "microbatches": 4, "precision": "fp32"},
    "evaluate": {"choices": 8, "sample_tokens": 8, "prompts": ["The first"]},
}


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a command that failed for a reason the user can mend."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.code == 1, self.err
        assert "Traceback" not in self.err
        assert sum(line.startswith("error:") for line in lines) == 1, self.err
        assert lines[-1].startswith("error:"), self.err
        return lines[-1]

    @property
    def at_once(self) -> str:
        """The same, when nothing else was said: the reason could be known before any work."""
        line = self.error
        assert self.err.strip() == line
        assert self.out == ""
        return line

    @property
    def json(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return dict(json.loads(self.out.splitlines()[-1]))


Call = Callable[..., Said]


def environment(**more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYTRAIN_"))}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def raytrain(*arguments: object, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Said:
    """A command in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(**(env or {})),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """A command in this process, which spares its start."""
    from raytrain.cli import main

    for name in [n for n in os.environ if n.startswith(("RAY_", "RAYTRAIN_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["raytrain", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return run


def changed(**changes: Any) -> dict[str, Any]:
    """The recipe with changes: `train__max_steps=3` reaches into a section."""
    recipe = copy.deepcopy(RECIPE)
    for path, value in changes.items():
        *sections, key = path.split("__")
        node = recipe
        for section in sections:
            node = node.setdefault(section, {})
        node[key] = value
    return recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe (see `changed`) and returns its path."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(changed(**changes)))
        return path

    return write


@dataclass(frozen=True)
class Finished:
    """A run that is done, and what was said on the way."""

    store: Path
    recipe: Path
    said: Said
    run: str = "tiny"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A finished run. Look, and leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    store = folder / "store"
    said = raytrain("run", path, "--store", store, "--json")
    assert said.code == 0, said.err
    return Finished(store, path, said)


def listing(store: Path) -> dict[str, tuple[int, int]]:
    """Every file of a folder with its size and the time of its last change."""
    return {
        str(p.relative_to(store)): (p.stat().st_size, p.stat().st_mtime_ns) for p in store.rglob("*") if p.is_file()
    }


def check_whole(store: Path) -> list[str]:
    """Whatever a store holds is whole: manifests and records parse, and what they name is there, bit for bit.

    Returns the steps that have an artifact.
    """
    steps = []
    for path in store.rglob("*.json"):
        json.loads(path.read_bytes())
    for path in store.rglob("MANIFEST.json"):
        manifest = json.loads(path.read_bytes())
        if "shards" not in manifest:
            continue
        steps.append(manifest["step"])
        for shard in manifest["shards"]:
            for entry in shard["objects"].values():
                data = (store / entry["key"]).read_bytes()
                assert len(data) == entry["bytes"]
                assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert not list(store.rglob("*.part"))
    return sorted(steps)


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes put here are ended after the test, by pid."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
