"""The commands that serve and write metrics."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
