"""Training with torch alone: neither Ray nor Prefect nor any package that `raytrain[train]` does not bring."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from .conftest import environment, raytrain, same_as

pytestmark = pytest.mark.slow

# Installed by `site` before anything else: a module of a distribution that is not among the allowed ones is absent.
BLOCK = """
import os, sys
FORBIDDEN = set(os.environ["FORBIDDEN_MODULES"].split())
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in FORBIDDEN else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = [Without(f) for f in sys.meta_path]
"""


def closure(extra: str) -> set[str]:
    """The distributions that `raytrain[extra]` installs, by their own metadata, environment markers applied."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    todo: list[tuple[str, frozenset[str]]] = [("raytrain", frozenset({extra}))]
    seen = set()
    while todo:
        name, extras = todo.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if (key, extras) in seen:
            continue
        seen.add((key, extras))
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(key)
        for line in wanted:
            requirement = Requirement(line)
            if any(
                requirement.marker is None or requirement.marker.evaluate({"extra": e})
                for e in extras or frozenset({""})
            ):
                todo.append((requirement.name, frozenset(requirement.extras)))
    return found


def forbidden_modules() -> set[str]:
    allowed = closure("train")
    modules = metadata.packages_distributions()
    names = {m: {re.sub(r"[-_.]+", "-", d).lower() for d in found} for m, found in modules.items()}
    return {m for m, found in names.items() if not found & allowed}


def test_the_train_extra_brings_neither_ray_nor_prefect_nor_pyarrow() -> None:
    forbidden = forbidden_modules()
    assert {"ray", "pyarrow", "numba", "transformers", "pandas"} <= forbidden
    assert not {"torch", "numpy", "tokenizers", "safetensors", "pydantic", "yaml", "raytrain"} & forbidden


def test_torchrun_trains_the_same_model_with_torch_alone(
    recipe: Callable[..., Path], tmp_path: Path, undisturbed: Path
) -> None:
    store, path = tmp_path / "s", recipe()
    done = raytrain("run", path, "--store", store, "--engine", "local", "--until", "tokenize")
    assert done.returncode == 0, done.stderr
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCK)
    surroundings = environment()
    surroundings["PYTHONPATH"] = f"{tmp_path / 'site'}{os.pathsep}{surroundings['PYTHONPATH']}"
    surroundings["FORBIDDEN_MODULES"] = " ".join(forbidden_modules())
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "raytrain.train", str(path), "--store", str(store)]
    trained = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=240)
    assert trained.returncode == 0, trained.stderr[:9000]
    same_as(undisturbed, store)
    again = subprocess.run(command, env=surroundings, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr[-3000:]
    assert "nothing to do" in again.stderr


def test_torchrun_without_tokens_says_what_to_do(recipe: Callable[..., Path], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "raytrain.train", str(recipe()), "--store", str(tmp_path / "s")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "--until tokenize" in done.stderr.strip().splitlines()[-1]
