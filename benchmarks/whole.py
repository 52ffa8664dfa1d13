"""The data half cold and whole: one `raytrain run --until tokenize` over gigabytes, every process of it counted.

CPU seconds come from /proc of everything that the command started, directly or not, sampled until it ends; a process
that lives less than the sampling period may be missed, which is far below a percent here. Nothing is warm but the
machine's file cache: an empty store, new processes and, the first time, kernels that must be compiled. The invariant:
whatever starts because of the command is counted, Ray's own processes too.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from frame_cost import cpu_seconds, descendants

from raytrain.store import Store, open_artifact

SAMPLE_SECONDS = 0.1
EDITED_WORDS = 0.15
PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Spent:
    """What a command cost, all its processes together."""

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_megabytes: dict[str, float] = field(default_factory=dict)
    """The most memory that one process of a kind held, by the kind's name."""


def run_counted(command: list[str], environment: dict[str, str], log: Path) -> Spent:
    """Runs a command to its end. Raises RuntimeError with the end of its log when it fails."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans stay below this process
    others = set(descendants(os.getpid()))
    seen: dict[int, float] = {}
    spent = Spent()
    start = time.monotonic()
    with log.open("wb") as out:
        child = subprocess.Popen(command, env=os.environ | environment, stdout=out, stderr=out)
        while child.poll() is None:
            _look(set(descendants(os.getpid())) - others, seen, spent)
            time.sleep(SAMPLE_SECONDS)
    spent.wall_seconds = time.monotonic() - start
    spent.cpu_seconds = sum(seen.values())
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{log.read_text()[-3000:]}")
    return spent


def _look(processes: set[int], seen: dict[int, float], spent: Spent) -> None:
    for pid in processes:
        folder = Path(f"/proc/{pid}")
        try:
            seen[pid] = cpu_seconds(folder / "stat")
            status = (folder / "status").read_text()
        except OSError:
            continue
        peak = next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)
        name = status.partition("\n")[0].removeprefix("Name:").strip().partition("::")[0]
        spent.peak_megabytes[name] = round(max(spent.peak_megabytes.get(name, 0.0), peak), 1)


def edited(text: str, draw: np.random.Generator) -> str:
    """The text with its letters rotated in 15 % of its words: other shingles, the same shape for every rule."""
    data = np.frombuffer(text.encode(), np.uint8).copy()
    lower = data | 0x20
    letter = (lower >= ord("a")) & (lower <= ord("z")) & (data < 128)
    starts = letter & ~np.concatenate(([False], letter[:-1]))
    word = np.cumsum(starts) - 1
    chosen = draw.random(int(starts.sum()) + 1) < EDITED_WORDS
    change = letter & chosen[np.maximum(word, 0)]
    data[change] = (lower[change] - ord("a") + 13) % 26 + (data[change] & 0xE0) + 1
    return data.tobytes().decode()


def replicated(corpus: Path, target: Path, megabytes: float) -> float:
    """Copies of a corpus until their text reaches so many megabytes, each copy but the first edited anew.

    Two copies of a document share about a quarter of their word 5-grams, far below any threshold for duplicates.
    Returns the megabytes of text that lie there.
    """
    note = target / "MEGABYTES"
    if note.exists() and float(note.read_text()) >= megabytes:
        return float(note.read_text())
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    written, copy = 0, 0
    while written < megabytes * 1e6:
        for path in sorted(corpus.glob("*.jsonl")):
            draw = np.random.default_rng([copy, *path.name.encode()])
            with (target / f"copy-{copy:02d}-{path.name}").open("w", encoding="utf-8") as out:
                for record in _records(path):
                    text = edited(record["text"], draw) if copy else record["text"]
                    written += len(text.encode())
                    out.write(json.dumps({**record, "text": text}, ensure_ascii=False) + "\n")
        copy += 1
    note.write_text(str(written / 1e6))
    return written / 1e6


def _records(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def run_whole(texts: Path, work: Path, tokenizer: Path, engine: str, kernels: Path | None = None) -> dict[str, Any]:
    """Ingest to token shards by the command line, from an empty store; figures of the run and of its artifacts.

    `kernels` is a folder of kernels that an earlier run compiled; without it they are compiled and counted.
    """
    folder = work / f"whole-{engine}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = {
        "name": "whole",
        "engine": engine,
        "sources": [{"name": "bench", "uri": f"{texts}/*.jsonl", "language": "en"}],
        "corpus": {
            "languages": {"identify": False, "allowed": []},  # the peer is told a language, too
            "split": {"validation_fraction": 0, "min_validation_documents": 10, "min_validation_bytes": 1000},
        },
        "tokenizer": {"file": str(tokenizer)},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-c", "from raytrain.cli import main; main()", "run", str(folder / "recipe.yaml")]
    command += ["--until", "tokenize", "--store", str(folder / "store")]
    spent = run_counted(command, {"NUMBA_CACHE_DIR": str(kernels or folder / "kernels")}, folder / "log")
    store = Store(str(folder / "store"))
    lineage = json.loads(store.get("runs/whole/lineage.json"))
    made = {name: open_artifact(store, prefix) for name, prefix in lineage.items()}
    steps = {
        name: {key: round(float(found.manifest["cost"][key]), 2) for key in ("seconds", "cpu_seconds")}
        for name, found in made.items()
        if found is not None
    }
    corpus = made["select"]
    assert corpus is not None
    read, kept = corpus.facts["funnel"][0], corpus.facts["funnel"][-1]
    result = {
        "engine": engine,
        "kernels": "compiled before" if kernels else "compiled in the run",
        "megabytes": read["bytes"] / 1e6,
        "documents": read["documents"],
        "cpu_seconds": round(spent.cpu_seconds, 1),
        "wall_seconds": round(spent.wall_seconds, 1),
        "peak_megabytes": dict(sorted(spent.peak_megabytes.items(), key=lambda item: -item[1])[:6]),
        "kept": {"documents": kept["documents"], "megabytes": kept["bytes"] / 1e6},
        "steps": steps,
    }
    shutil.rmtree(folder / "store")
    return result
