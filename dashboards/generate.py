"""Writes the dashboards' JSON from raytrain.observe.boards: `python dashboards/generate.py`."""

from __future__ import annotations

from pathlib import Path

from raytrain.observe.boards import BOARDS
from raytrain.observe.dashboards import text_of

if __name__ == "__main__":
    for board in BOARDS:
        path = Path(__file__).parent / f"{board.name}.json"
        path.write_text(text_of(board), encoding="utf-8")
        print(f"{path} written")
