"""A copy of what describes clusters and services, for planting errors in, and the validator over it."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "infra"))
validate = importlib.import_module("validate")


@dataclass(frozen=True)
class Tree:
    """A copy of the repository's descriptions."""

    root: Path

    def validate(self, *files: str) -> tuple[bool, str]:
        """Whether these files are in order, or all, and what was said of them."""
        said = list(validate.report(self.root, [self.root / name for name in files]))
        return all(good for good, _ in said), "\n".join(line for _, line in said)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """The files that git would take, so that nothing of this checkout's own lies beside them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if name.split("/")[0] in ("cluster", "dashboards", "docs", "flows", "infra") or "/" not in name:
            if (ROOT / name).is_file():
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, tmp_path / name)
        else:
            (tmp_path / name.split("/")[0]).mkdir(exist_ok=True)
    return Tree(tmp_path)
