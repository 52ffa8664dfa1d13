"""The documents say what the code says."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import yaml
from typer.main import get_command

from raytrain.cli.app import app

from .conftest import ROOT

DOCS = ROOT / "docs"


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recipe_reference_is_up_to_date() -> None:
    assert (DOCS / "recipes.md").read_text() == generator().page(), "run `python docs/generate.py`"


def test_every_key_of_a_recipe_is_described() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|.*\| ([^|]*) \|$", generator().page(), re.MULTILINE)
    assert len(rows) > 50
    assert not [key for key, meaning in rows if not meaning.strip()]


def test_every_link_between_documents_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_names_every_command_and_no_other() -> None:
    known: Any = get_command(app)
    names = {f"{n} {s}" for n, c in known.commands.items() for s in getattr(c, "commands", {})}
    names |= {n for n, c in known.commands.items() if not getattr(c, "commands", {})}
    block = next(b for b in re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL) if "doctor" in b)
    found = {m for line in block.splitlines() for m in names if re.match(rf"raytrain {m}\b", line)}
    assert found == names
    assert len(block.strip().splitlines()) == len(names)


def test_yaml_in_the_documents_parses() -> None:
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            assert isinstance(yaml.safe_load(block), dict)
