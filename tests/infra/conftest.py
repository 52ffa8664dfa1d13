"""A copy of what describes clusters and services, for planting errors in, and its own `infra/validate.py`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Tree:
    """A copy of the repository's descriptions."""

    root: Path

    def validate(self, *files: str) -> tuple[int, str]:
        """Exit status and output of its validator on these files, or on all."""
        command = [sys.executable, "infra/validate.py", *files]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=300)
        assert not done.stderr or "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The files that git would take, so that nothing of this checkout's own lies beside them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        top = name.split("/")[0]
        if top in ("cluster", "dashboards", "docs", "flows", "infra", "raytrain") or "/" not in name:
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy(ROOT / name, target)
    (tmp_path / "recipes").mkdir(exist_ok=True)
    return Tree(tmp_path)
