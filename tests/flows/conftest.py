"""One ground for all tests of flows, and a small recipe over real text."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.real.conftest import CORPUS, RECIPE

from .parts import Ground


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A Ray head alone."""
    ground = Ground(tmp_path_factory.mktemp("ground"))
    try:
        ground.ray()
        yield ground
    finally:
        ground.close()


@pytest.fixture(scope="session")
def ground(head: Ground) -> Ground:
    """Ray head, Prefect server, worker, and every flow deployed."""
    head.prefect()
    for pool, kind in (("raytrain-local", "process"), ("raytrain-k8s", "kubernetes")):
        assert head.call("work-pool", "create", pool, "--type", kind).returncode == 0
    deployed = head.call("deploy", "--all", "--no-prompt")
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    head.worker()
    return head


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
