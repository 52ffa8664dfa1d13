"""The house stands: nothing imports upward, and the two frameworks stay behind their walls."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "raytrain"
FLOORS = {
    "errors": 0,
    "config": 0,
    "store": 0,
    "ledger": 0,
    "corpus": 1,
    "tokens": 1,
    "model": 1,
    "evalsets": 1,
    "train": 2,
    "evaluate": 3,
    "observe": 3,
    "scaling": 3,
    "engine": 4,
    "services": 4,
    "recipe": 5,
    "pipeline": 5,
    "runs": 5,
    "step": 5,
    "sweep": 5,
    "forecast": 5,
    "candidate": 5,
    "cli": 5,
}
WALLS = {"ray": "engine", "prefect": None}
GROUND_IS_LIGHT = {"torch", "ray", "prefect", "pyarrow", "numba"}


def rooms() -> list[tuple[str, Path]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        room = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if room != "__init__":
            found.append(("cli" if path.name == "__main__.py" else room, path))
    return found


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules imported anywhere in a file, and whether at import time."""
    tree = ast.parse(path.read_text())
    top = {id(n) for n in tree.body}
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names]
        found += [(name, id(node) in top) for name in names]
    return found


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda v: str(v) if isinstance(v, str) else v.stem)
def test_nothing_imports_upward(room: str, path: Path) -> None:
    assert room in FLOORS, f"{path} is in a room without a floor"
    for name, _ in imports(path):
        parts = name.split(".")
        if parts[0] == "raytrain" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS[parts[1]] <= FLOORS[room], f"{path} imports {name}, which stands above it"


@pytest.mark.parametrize(("room", "path"), rooms(), ids=lambda v: str(v) if isinstance(v, str) else v.stem)
def test_frameworks_stay_behind_their_walls(room: str, path: Path) -> None:
    for name, _ in imports(path):
        framework = name.split(".")[0]
        if framework in WALLS:
            assert room == WALLS[framework], f"{path} imports {framework}"


@pytest.mark.parametrize(
    ("room", "path"),
    [r for r in rooms() if FLOORS.get(r[0]) == 0],
    ids=lambda v: str(v) if isinstance(v, str) else v.stem,
)
def test_the_ground_is_light(room: str, path: Path) -> None:
    heavy = [name for name, at_import in imports(path) if at_import and name.split(".")[0] in GROUND_IS_LIGHT]
    assert not heavy
