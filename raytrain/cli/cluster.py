"""The commands that start and stop the services of a machine: up, down, status."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
