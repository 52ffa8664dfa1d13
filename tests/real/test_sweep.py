"""A sweep's points are the same whatever carries its trials, and whoever was killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pyarrow.parquet as pq
import pytest

from raytrain.ledger import read_events
from raytrain.store import Store
from raytrain.train.progress import read_progress

from .conftest import RECIPE, ROOT, Started, last_json, raytrain

pytestmark = pytest.mark.slow
Start = Callable[..., Started]
GRID: dict[str, Any] = {"depths": [1, 2], "tokens": [4096, 32768], "concurrency": 2}
TRIALS = ["small-sweep-d1-t4096", "small-sweep-d1-t32768", "small-sweep-d2-t4096", "small-sweep-d2-t32768"]
LARGEST = TRIALS[-1]  # starts first


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import yaml

    path = tmp_path_factory.mktemp("sweep") / "small.yaml"
    path.write_text(yaml.safe_dump(RECIPE | {"sweep": GRID}))
    return path


@pytest.fixture(scope="module")
def undisturbed(path: Path) -> Path:
    """A store with a finished sweep that nothing disturbed: the local engine."""
    store = path.parent / "store"
    found = last_json(raytrain("sweep", path, "--store", store, "--engine", "local", "--json"))
    jsonschema.validate(found, json.loads((ROOT / "docs/schemas/sweep.json").read_text()))
    assert [row["run"] for row in found["points"]] == TRIALS
    return store


@pytest.fixture
def tokens_only(undisturbed: Path, tmp_path: Path) -> Path:
    """A store in which the recipe's tokens are made and the sweep has not begun."""

    def later(folder: str, names: list[str]) -> set[str]:
        return {n for n in names if n in ("models", "sweeps") or n.startswith("small-sweep")}

    return Path(shutil.copytree(undisturbed, tmp_path / "store", ignore=later))


def points(store: Path) -> list[dict[str, Any]]:
    """The rows of points.parquet without what the clock decides."""
    rows = pq.read_table(store / "sweeps/small-sweep/points.parquet").to_pylist()
    return [{k: v for k, v in row.items() if k not in ("seconds", "cost_usd")} for row in rows]


def same_as(undisturbed: Path, store: Path) -> None:
    assert points(store) == points(undisturbed)
    assert [row["run"] for row in points(store)] == TRIALS
    assert len(list((store / "models").iterdir())) == len(TRIALS)
    laws = [json.loads((s / "sweeps/small-sweep/law.json").read_text()) for s in (undisturbed, store)]
    assert laws[0]["parameters"] == laws[1]["parameters"]
    state = json.loads((store / "sweeps/small-sweep/state.json").read_text())
    assert state["trials"] == {"done": 4, "running": 0, "failed": 0, "planned": 0}
    assert state["best_loss"] == min(row["loss"] for row in points(store))


def worker_of(store: Path, trial: str) -> int:
    """The process that trains a trial."""
    state = read_progress(Store(str(store)), trial)
    assert state is not None
    return int(state["leg"].split("-")[0])


def resumed_from(store: Path, trial: str) -> list[int]:
    """The steps at which processes of a trial took it up."""
    return [e["step"] for e in read_events(Store(str(store)), trial) if e["kind"] == "restore"]


def test_a_killed_trial_is_neither_lost_nor_counted_twice(
    path: Path, tokens_only: Path, undisturbed: Path, start: Start
) -> None:
    sweep = start("sweep", path, "--store", tokens_only)
    sweep.wait_for_step(tokens_only, 40, LARGEST)
    os.kill(worker_of(tokens_only, LARGEST), signal.SIGKILL)
    assert sweep.end(600) == 0, sweep.output()
    same_as(undisturbed, tokens_only)
    first, second = resumed_from(tokens_only, LARGEST)
    assert first == 0 < second


@pytest.mark.long
def test_the_same_command_goes_on_after_the_driver_was_killed(
    path: Path, tokens_only: Path, undisturbed: Path, start: Start
) -> None:
    sweep = start("sweep", path, "--store", tokens_only)
    sweep.wait_for_step(tokens_only, 40, LARGEST)
    everybody = [sweep.process.pid, *sweep.descendants()]
    refused = raytrain("sweep", path, "--store", tokens_only)
    assert refused.returncode == 1 and "is being written by process" in refused.stderr, refused.stderr
    for pid in everybody:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    sweep.process.wait()
    done = [trial for trial in TRIALS if ended_well(tokens_only, trial)]
    again = raytrain("sweep", path, "--store", tokens_only)
    assert again.returncode == 0, again.stderr
    same_as(undisturbed, tokens_only)
    for trial in done:
        assert {e["attempt"] for e in read_events(Store(str(tokens_only)), trial)} == {1}


def ended_well(store: Path, trial: str) -> bool:
    """Whether a trial's process closed its books, which it does after its model."""
    return any(event["kind"] == "node_down" for event in read_events(Store(str(store)), trial))


def test_a_finished_sweep_is_not_repeated_and_its_name_means_one_grid(path: Path, undisturbed: Path) -> None:
    before = sorted((undisturbed / "runs").rglob("*"))
    again = raytrain("sweep", path, "--store", undisturbed, "--json")
    assert "nothing to do" in again.stderr and last_json(again)["state"] == "succeeded"
    assert sorted((undisturbed / "runs").rglob("*")) == before
    other = raytrain("sweep", path, "--store", undisturbed, "--set", "sweep.tokens=[4096, 16384]")
    assert other.returncode == 1
    assert other.stderr.strip().splitlines()[-1].startswith("error: --name: sweep 'small-sweep'")
    assert "grid was" in other.stderr
    taken = raytrain("sweep", path, "--store", undisturbed, "--name", "small")
    assert taken.returncode == 1 and "is the recipe's own run" in taken.stderr


def test_a_plan_uses_what_the_store_knows_and_writes_nothing(path: Path, undisturbed: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")}
    plan = last_json(raytrain("plan", path, "--store", undisturbed, "--usd", "1", "--json"))
    jsonschema.validate(plan, json.loads((ROOT / "docs/schemas/plan.json").read_text()))
    assert plan["data"]["source"] == "artifacts of run 'small'" and plan["data"]["assumed"] is None
    assert plan["data"]["tokens"]["low"] == plan["data"]["tokens"]["high"]
    law = json.loads((undisturbed / "sweeps/small-sweep/law.json").read_text())
    assert plan["expected"]["law"] == "small-sweep"
    times = 6 * plan["model"]["parameters"] * plan["training"]["tokens"] / law["points"]["largest_flops"]
    assert plan["expected"]["extrapolation"] == pytest.approx(times)
    codes = {warning["code"] for warning in plan["warnings"]}
    assert ("far_extrapolation" in codes) == (times > 10) and "law_not_identified" in codes
    assert plan["budget"]["by_law"]["far"] is True
    assert {p: p.stat().st_mtime_ns for p in undisturbed.rglob("*")} == before
    unknown = raytrain("plan", path, "--store", undisturbed, "--law", "nobody")
    assert unknown.returncode == 1 and "there are small-sweep" in unknown.stderr
