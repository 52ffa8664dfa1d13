"""Where a process keeps files that nobody needs after it: one folder a process, so that the dead are known.

A killed process removes nothing; the next one that asks for its own folder removes those of the dead. The invariant:
a folder is removed only when the process whose number it bears does not live on this machine.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def process_folder(base: str | None = None) -> Path:
    """This process's own folder, below `base` or the machine's temporary folder; removed when the process ends."""
    all_of_ours = Path(base or tempfile.gettempdir()) / f"raytrain-{os.getuid()}"
    mine = all_of_ours / str(os.getpid())
    if not mine.exists():
        all_of_ours.mkdir(mode=0o700, exist_ok=True)
        for old in all_of_ours.iterdir():
            if old.name.isdigit() and not _lives(int(old.name)):
                shutil.rmtree(old, ignore_errors=True)
        mine.mkdir(exist_ok=True)
        atexit.register(_remove, mine, os.getpid())
    return mine


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # a forked child ends with its parent's list of things to do
        shutil.rmtree(folder, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
