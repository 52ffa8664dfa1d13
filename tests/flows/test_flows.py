"""Flows as a person starts them, on a real server, worker and Ray head; and what is left when parts of it die."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytrain.observe.collect import state_of
from raytrain.store import Store
from raytrain.train.progress import read_progress

from ..real.conftest import RECIPE, shown
from .parts import Ground, end, wait_for

pytestmark = pytest.mark.slow
Write = Callable[..., Path]
SHORT = {"train": RECIPE["train"] | {"max_steps": 40}}


def jobs_of(ground: Ground, run: str) -> dict[str, str]:
    return {name.removeprefix(f"raytrain.{run}."): s for name, s in ground.jobs().items() if f".{run}." in name}


def wait_for_step(ground: Ground, run: str, step: int) -> None:
    store = Store(ground.store)
    wait_for(lambda: (read_progress(store, run) or {}).get("step", 0) >= step, f"{run} does not reach step {step}")


def flow_process(ground: Ground) -> psutil.Process:
    """The process that carries the one flow run that works now."""
    found = [p for p in ground.hand.children() if "prefect.flow_engine" in " ".join(cmdline(p))]
    return found[-1]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_pipeline_is_watched_to_its_end_and_never_repeated(ground: Ground, write: Write) -> None:
    path = write("whole", **SHORT)
    done = ground.run("pipeline/local", f"recipe={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("submitted raytrain.whole.select.1", "(ingest)", "step 40/40", "report"):
        assert words in done.stdout
    assert jobs_of(ground, "whole") == dict.fromkeys(
        ("select.1", "tokenize.1", "pretrain.1", "evaluate.1"), "SUCCEEDED"
    )
    assert shown(Path(ground.store.removeprefix("file://")), "whole")["state"] == "succeeded"
    kinds = {a["key"] for a in ground.api("/artifacts/filter", {}) if a["key"]}
    assert kinds >= {"corpus-funnel", "losses", "report", "training", "ray-dashboard"}

    again = ground.run("evaluate/local", f"recipe={path}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "attach to raytrain.whole.evaluate.1 (SUCCEEDED)" in again.stdout
    assert len(jobs_of(ground, "whole")) == 4

    other = ground.run("curate/local", f"recipe={path}", 'overrides=["seed=8"]')
    assert other.returncode == 1
    assert "seed was 7, is 8" in other.stdout
    assert jobs_of(ground, "whole")["select.2"] == "FAILED"
    assert "Retry" not in other.stdout  # what a person must mend is not tried again


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train": {"steps": 5}}, "train.steps"),
        ({"sources": [{"name": "none", "uri": "/no/such/folder"}]}, "no such file or folder"),
    ],
)
def test_a_broken_recipe_ends_with_its_reason(
    ground: Ground, write: Write, change: dict[str, Any], reason: str
) -> None:
    done = ground.run("pipeline/local", f"recipe={write('broken', **change)}")
    assert done.returncode == 1
    assert reason in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    assert not jobs_of(ground, "broken")


def test_cancel_stops_the_job(ground: Ground, write: Write) -> None:
    path = write("cancelled")
    flow_run = ground.start_run("pretrain/local", f"recipe={path}")
    wait_for_step(ground, "cancelled", 20)
    assert ground.call("flow-run", "cancel", flow_run).returncode == 0
    wait_for(lambda: jobs_of(ground, "cancelled")["pretrain.1"] in ("STOPPED", "FAILED"), "the job goes on")
    wait_for(lambda: ground.state(flow_run) == "CANCELLED", "the flow run is not cancelled")
    assert state_of(Store(ground.store), "cancelled") == "stopped"
    assert read_progress(Store(ground.store), "cancelled")["step"] < 300


@pytest.mark.long
def test_a_training_outlives_flow_worker_and_server(ground: Ground, write: Write, undisturbed: Path) -> None:
    """One training; each part is killed in turn, and every time a new flow run finds the same job."""
    path = write("outlives", name="outlives")
    ground.start_run("pretrain/local", f"recipe={path}")
    wait_for_step(ground, "outlives", 10)
    end(flow_process(ground))
    step = read_progress(Store(ground.store), "outlives")["step"]
    wait_for_step(ground, "outlives", step + 10)

    second = ground.start_run("pretrain/local", f"recipe={path}")
    attached = "attach to raytrain.outlives.pretrain.1 (RUNNING)"
    wait_for(lambda: attached in ground.logs(second), "the second flow run does not attach")
    ground.hand.kill()
    step = read_progress(Store(ground.store), "outlives")["step"]
    wait_for_step(ground, "outlives", step + 10)

    ground.server.kill()
    step = read_progress(Store(ground.store), "outlives")["step"]
    wait_for_step(ground, "outlives", step + 10)
    ground.server.start()
    ground.wait_for_server()
    ground.hand.start()

    last = ground.run("pretrain/local", f"recipe={path}")
    assert last.returncode == 0, last.stdout + last.stderr
    assert "attach to raytrain.outlives.pretrain.1" in last.stdout
    assert {k: v for k, v in jobs_of(ground, "outlives").items() if "pretrain" in k} == {"pretrain.1": "SUCCEEDED"}
    found = shown(Path(ground.store.removeprefix("file://")), "outlives")
    assert found["parameter_sha256"] == shown(undisturbed)["parameter_sha256"]
    assert found["attempts"] == 1


def test_a_schedule_has_its_runs(ground: Ground) -> None:
    """The canary of the pins: with another SQLAlchemy deployments work and schedules never fire."""

    def scheduled() -> list[Any]:
        of = {"flows": {"name": {"any_": ["curate"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        return [r for r in ground.api("/flow_runs/filter", of) or [] if r["auto_scheduled"]]

    found = wait_for(scheduled, "no scheduled run")
    assert found[0]["parameters"]["snapshot"] is True


def test_a_deploy_repeated_changes_nothing(ground: Ground) -> None:
    before = {d["id"] for d in ground.api("/deployments/filter", {})}
    done = ground.call("deploy", "--all", "--no-prompt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {d["id"] for d in ground.api("/deployments/filter", {})} == before


def test_new_objects_start_a_curation_and_nothing_new_starts_none(ground: Ground, write: Write, tmp_path: Path) -> None:
    path = write("watched")
    sensor = ground.api("/deployments/name/sensor/local")
    given = {"parameters": {"recipe": str(path)}}

    def curations() -> list[Any]:
        found = ground.api("/flow_runs/filter", {"flows": {"name": {"any_": ["curate"]}}})
        return [r for r in found or [] if r["parameters"].get("recipe") == str(path)]

    assert ground.run("sensor/local", f"recipe={path}").returncode == 0
    first = wait_for(curations, "the first curation")
    wait_for(lambda: ground.state(first[0]["id"]) == "COMPLETED", "the first curation ends")
    again = ground.run("sensor/local", f"recipe={path}")
    assert "nothing new" in again.stdout
    assert len(curations()) == 1

    schedule = sensor["schedules"][0]["id"]
    ground.patch(f"/deployments/{sensor['id']}", given)
    ground.patch(f"/deployments/{sensor['id']}/schedules/{schedule}", {"active": True})
    try:
        time.sleep(1)
        text = {"text": "A new document about penguins, written after all the others. " * 20}
        (tmp_path / "sources" / "faq" / "new.jsonl").write_text(json.dumps(text) + "\n")
        dropped = time.time()
        wait_for(lambda: len(curations()) == 2, "no curation of the new object", seconds=180)
        took = time.time() - dropped
    finally:
        ground.patch(f"/deployments/{sensor['id']}/schedules/{schedule}", {"active": False})
    newest = next(r for r in curations() if r["id"] != first[0]["id"])
    wait_for(lambda: ground.state(newest["id"]) == "COMPLETED", "the second curation ends")
    print(f"curation started {took:.0f} s after the object was there")
