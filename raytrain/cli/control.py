"""The commands that act on a run from afar: stop, logs, attach."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
