"""A driver that dies without a word takes its workers with it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytrain.store import Store
from raytrain.train.progress import read_progress

from .conftest import COMMAND, environment


@pytest.mark.slow
def test_workers_end_with_a_killed_driver(recipe: Callable[..., Path], tmp_path: Path, ended: list[Any]) -> None:
    store, path = tmp_path / "s", recipe(train__max_steps=100_000, train__workers=2)
    driver = subprocess.Popen(
        [*COMMAND, "run", str(path), "--store", str(store)], env=environment(), stderr=subprocess.DEVNULL
    )
    ended.append(driver)
    deadline = time.monotonic() + 120
    while (read_progress(Store(str(store)), "tiny") or {}).get("step", 0) < 1:
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    workers = psutil.Process(driver.pid).children(recursive=True)
    assert len(workers) >= 2
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
