from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ASK = """
import os, sys
from raytrain.store.scratch import process_folder
folder = process_folder(sys.argv[1])
(folder / "file").write_text("x")
print(folder, flush=True)
if sys.argv[2] == "die":
    os.kill(os.getpid(), 9)
if sys.argv[2] == "fork":
    if os.fork() == 0:
        sys.exit()
    os.wait()
    print((folder / "file").exists())
"""


def ask(base: Path, way: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", ASK, str(base), way], capture_output=True, text=True)
    return done.stdout.split()


def test_a_process_takes_its_folder_with_it(tmp_path: Path) -> None:
    (folder,) = ask(tmp_path, "end")
    assert not Path(folder).exists()


def test_the_next_process_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    (folder,) = ask(tmp_path, "die")
    assert (Path(folder) / "file").exists()
    mine = tmp_path / f"raytrain-{os.getuid()}" / str(os.getpid())
    mine.mkdir()
    ask(tmp_path, "end")
    assert not Path(folder).exists()
    assert mine.exists(), "a living process keeps its own"


def test_a_forked_child_leaves_its_parent_s_folder_alone(tmp_path: Path) -> None:
    folder, still_there = ask(tmp_path, "fork")
    assert still_there == "True"
    assert not Path(folder).exists()
