"""A small recipe over real text, and the `raytrain` command as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from raytrain.store import Store
from raytrain.train.progress import read_progress

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "recipes" / "quickstart"
COMMAND = [sys.executable, "-c", "from raytrain.cli import main; main()"]

RECIPE: dict[str, Any] = {
    "name": "small",
    "seed": 7,
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
    "model": {"depth": 2, "width": 64, "context": 64},
    "train": {"workers": 2, "max_steps": 300, "batch_sequences": 16, "microbatches": 8, "checkpoint_every": 20},
    "evaluate": {"choices": 8, "sample_tokens": 8, "prompts": ["The first"]},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes the recipe with top-level keys replaced; returns its path."""

    def write(**changes: Any) -> Path:
        path = tmp_path / f"{changes.get('name', 'small')}.yaml"
        path.write_text(yaml.safe_dump(RECIPE | changes))
        return path

    return write


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished run that nothing disturbed: the local engine, one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    store = folder / "store"
    done = raytrain("run", path, "--store", store, "--engine", "local", "--set", "train.workers=1")
    assert done.returncode == 0, done.stderr
    return store


def same_as(undisturbed: Path, store: Path) -> None:
    """Every artifact of the run has the bytes that it has in the undisturbed store, the model's parameters first."""
    expected, found = shown(undisturbed), shown(store)
    assert found["parameter_sha256"] == expected["parameter_sha256"]
    assert found["val_bits_per_byte"] == expected["val_bits_per_byte"]
    assert found["artifacts"] == expected["artifacts"]
    assert found["state"] == "succeeded"
    assert sum(found["phases"].values()) == pytest.approx(found["elapsed_seconds"])


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "RAYTRAIN_"))}
    return kept | {"PYTHONPATH": str(ROOT)}


def raytrain(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], env=environment(), capture_output=True, text=True, timeout=300, **options
    )


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def shown(store: Path, run: str = "small") -> dict[str, Any]:
    return last_json(raytrain("show", run, "--store", store, "--json"))


class Started:
    """A `raytrain run` in the background, in a process group of its own."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for_step(self, store: Path, step: int, run: str = "small", seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state = read_progress(Store(str(store)), run)
            if state is not None and state.get("step", 0) >= step:
                return
            assert self.process.poll() is None, self.output()
            time.sleep(0.1)
        raise TimeoutError(self.output())

    def output(self) -> str:
        if self.process.poll() is None:
            self.process.kill()
        return self.process.communicate()[0]

    def end(self, seconds: float = 240) -> int:
        return self.process.wait(seconds)

    def descendants(self) -> list[int]:
        """All processes below this one that are alive, by /proc."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found, todo = [], [self.process.pid]
        while todo:
            below = children.get(todo.pop(), [])
            found += below
            todo += below
        return found

    def workers(self) -> list[int]:
        """Ray Train's worker processes of this run."""
        found = []
        for pid in self.descendants():
            try:
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "RayTrainWorker" in line or "TrainWorker" in line:
                found.append(pid)
        return found


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Starts runs; whatever is left of them afterwards is ended, by pid."""
    started: list[Started] = []

    def go(*arguments: str | Path) -> Started:
        started.append(Started(*arguments))
        return started[-1]

    yield go
    for one in started:
        for pid in [*one.descendants(), one.process.pid]:
            try:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        one.process.wait()
