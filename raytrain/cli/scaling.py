"""The commands that plan a run and sweep over sizes."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
