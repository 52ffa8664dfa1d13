"""The services of `raytrain up`, and a small recipe over real text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.parts.stack import Stack, stack
from tests.real.conftest import CORPUS, RECIPE, undisturbed

from .parts import Ground

__all__ = ["stack", "undisturbed"]


@pytest.fixture
def ground(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Everything is up, and this process's environment leads there."""
    stack.up()
    found = Ground(stack)
    for name, value in found.env.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small recipe with top-level keys replaced, over a source folder of its own; returns its path."""

    def go(name: str, **changes: object) -> Path:
        sources = tmp_path / "sources"
        if not sources.exists():
            shutil.copytree(CORPUS / "faq", sources / "faq")
            shutil.copytree(CORPUS / "devil", sources / "devil")
        of = [{**s, "uri": str(sources / s["name"])} for s in RECIPE["sources"]]
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(RECIPE | {"name": name, "sources": of} | changes))
        return path

    return go
