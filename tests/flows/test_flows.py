"""Flows as a person starts them, over the services of `raytrain up`; and what is left when parts of it die."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raytrain.observe.collect import collect, state_of
from raytrain.observe.collect import show as short
from raytrain.store import Store
from raytrain.store import attempt as attempts
from raytrain.train.progress import read_progress
from tests.real.conftest import RECIPE, raytrain, shown

from .parts import ROOT, Ground, end, wait_for

pytestmark = pytest.mark.slow
Write = Callable[..., Path]
SHORT = {"train": RECIPE["train"] | {"max_steps": 40}}
LASTING = {"train": RECIPE["train"] | {"max_steps": 2000}}  # a training that outlasts what is done to it
ENDLESS = {"train": RECIPE["train"] | {"max_steps": 100_000}}


@pytest.fixture
def store(ground: Ground) -> Store:
    return Store(ground.env["RAYTRAIN_STORE"])


def step_of(store: Store, run: str) -> int:
    return int((read_progress(store, run) or {}).get("step", 0))


def wait_for_step(store: Store, run: str, step: int) -> None:
    wait_for(lambda: step_of(store, run) >= step, f"{run} does not reach step {step}")


def test_a_pipeline_is_watched_to_its_end_and_never_repeated(ground: Ground, write: Write, store: Store) -> None:
    path = write("whole", **SHORT)
    done = ground.run("pipeline/local", f"recipe={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("submitted raytrain.whole.select.1", "(ingest)", "step 40/40"):
        assert words in done.stdout
    all_done = dict.fromkeys(("select.1", "tokenize.1", "pretrain.1", "evaluate.1"), "SUCCEEDED")
    assert ground.jobs("whole") == all_done
    assert state_of(store, "whole") == "succeeded"
    kinds = {a["key"] for a in ground.api("/artifacts/filter", {}) if a["key"]}
    assert kinds >= {"corpus-funnel", "losses", "report", "training", "ray-dashboard", "metrics"}

    again = ground.run("evaluate/local", f"recipe={path}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "attach to raytrain.whole.evaluate.1 (SUCCEEDED)" in again.stdout
    assert ground.jobs("whole") == all_done

    other = ground.run("curate/local", f"recipe={path}", 'overrides=["seed=8"]')
    assert other.returncode == 1
    assert "seed was 7, is 8" in other.stdout
    assert "Retry" not in other.stdout  # what a person must mend is not tried again
    assert ground.jobs("whole") == all_done | {"select.2": "FAILED"}


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
    assert not ground.jobs("broken")


def test_cancel_stops_the_job(ground: Ground, write: Write, store: Store) -> None:
    path = write("cancelled", **ENDLESS)
    flow_run = ground.start_run("pretrain/local", f"recipe={path}")
    wait_for_step(store, "cancelled", 20)
    assert ground.call("flow-run", "cancel", flow_run).returncode == 0
    wait_for(lambda: ground.jobs("cancelled")["pretrain.1"] in ("STOPPED", "FAILED"), "the job goes on")
    wait_for(lambda: ground.state(flow_run) == "CANCELLED", "the flow run is not cancelled")
    assert state_of(store, "cancelled") == "stopped"


@pytest.mark.long
def test_a_training_outlives_flow_worker_and_server(ground: Ground, write: Write, store: Store, tmp_path: Path) -> None:
    """One training; each part is killed in turn, and every time a new flow run finds the same job."""
    path = write("outlives", **LASTING)
    undisturbed = tmp_path / "undisturbed"
    alone = raytrain("run", path, "--store", undisturbed, "--engine", "local", "--set", "train.workers=1")
    assert alone.returncode == 0, alone.stderr
    ground.start_run("pretrain/local", f"recipe={path}")
    wait_for_step(store, "outlives", 10)
    end(ground.flow_process())
    wait_for_step(store, "outlives", step_of(store, "outlives") + 10)

    second = ground.start_run("pretrain/local", f"recipe={path}")
    attached = "attach to raytrain.outlives.pretrain.1 (RUNNING)"
    wait_for(lambda: attached in ground.logs(second), "the second flow run does not attach")
    ground.kill("worker")
    wait_for_step(store, "outlives", step_of(store, "outlives") + 10)

    ground.kill("prefect")
    wait_for_step(store, "outlives", step_of(store, "outlives") + 10)
    ground.stack.up()

    last = ground.run("pretrain/local", f"recipe={path}")
    assert last.returncode == 0, last.stdout + last.stderr
    assert "attach to raytrain.outlives.pretrain.1" in last.stdout
    assert ground.jobs("outlives") == {"pretrain.1": "SUCCEEDED"}
    found = short(collect(store, "outlives"))
    assert found["parameter_sha256"] == shown(undisturbed, "outlives")["parameter_sha256"]
    assert found["attempts"] == 1


@pytest.mark.long
def test_a_driver_that_died_is_followed_by_the_next_job(
    ground: Ground, write: Write, store: Store, undisturbed: Path
) -> None:
    path = write("driverless")
    flow_run = ground.start_run("pretrain/local", f"recipe={path}")
    wait_for_step(store, "driverless", 30)
    end(psutil.Process(attempts.read_claim(store, "driverless", 1).pid))
    wait_for(lambda: ground.state(flow_run) == "COMPLETED", "the flow run does not complete")
    assert ground.jobs("driverless") == {"pretrain.1": "FAILED", "pretrain.2": "SUCCEEDED"}
    found = short(collect(store, "driverless"))
    assert found["parameter_sha256"] == shown(undisturbed)["parameter_sha256"]
    assert found["attempts"] == 2


@pytest.mark.long
def test_a_sweep_is_a_flow_too(ground: Ground, write: Write, store: Store) -> None:
    path = write("swept", sweep={"depths": [1, 2], "tokens": [4096, 32768]})
    done = ground.run("sweep/local", f"recipe={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ground.jobs("swept-sweep") == {"sweep.1": "SUCCEEDED"}
    assert store.exists("sweeps/swept-sweep/law.json")
    again = ground.run("sweep/local", f"recipe={path}")
    assert "attach to raytrain.swept-sweep.sweep.1 (SUCCEEDED)" in again.stdout


def test_a_schedule_has_its_runs(ground: Ground) -> None:
    """The canary of the pins: with another SQLAlchemy deployments work and schedules never fire."""

    def scheduled() -> list[Any]:
        of = {"flows": {"name": {"any_": ["curate"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
        return [r for r in ground.api("/flow_runs/filter", of) or [] if r["auto_scheduled"]]

    assert wait_for(scheduled, "no scheduled run")[0]["parameters"]["snapshot"] is True


def test_both_kinds_are_deployed_without_a_question_and_repeating_it_changes_nothing(ground: Ground) -> None:
    template = str(ROOT / "flows" / "k8s-pool.json")
    pool = ("raytrain-k8s", "--type", "kubernetes", "--base-job-template", template)
    assert ground.call("work-pool", "create", *pool).returncode == 0
    seen = []
    for _ in range(2):
        done = ground.call("deploy", "--all", "--no-prompt")
        assert done.returncode == 0, done.stdout + done.stderr
        seen.append({d["id"]: d["name"] for d in ground.api("/deployments/filter", {})})
    for id, name in seen[0].items():
        if name == "k8s":
            ground.api(f"/deployments/{id}", method="DELETE")
    ground.call("work-pool", "delete", "raytrain-k8s")
    assert seen[0] == seen[1]
    assert sorted(seen[0].values()) == ["k8s"] * 7 + ["local"] * 7


def test_dead_flow_runs_are_declared_so_by_the_automation(ground: Ground) -> None:
    """The file is one that Prefect takes; two minutes of waiting for it are not spent here."""
    done = ground.call("automation", "create", "--from-file", str(ROOT / "flows" / "zombies.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr
    made = [a for a in ground.api("/automations/filter", {}) if a["name"] == "raytrain-zombies"]
    assert len(made) == 1
    assert (made[0]["trigger"]["posture"], made[0]["trigger"]["within"]) == ("Proactive", 120)
    ground.api(f"/automations/{made[0]['id']}", method="DELETE")


def test_new_objects_start_a_curation_and_nothing_new_starts_none(ground: Ground, write: Write, tmp_path: Path) -> None:
    path = write("watched")
    sensor = ground.api("/deployments/name/sensor/local")
    schedule = f"/deployments/{sensor['id']}/schedules/{sensor['schedules'][0]['id']}"

    def curations() -> list[str]:
        found = ground.api("/flow_runs/filter", {"flows": {"name": {"any_": ["curate"]}}})
        return [r["id"] for r in found or [] if r["parameters"].get("recipe") == str(path)]

    assert ground.run("sensor/local", f"recipe={path}").returncode == 0
    [first] = curations()
    wait_for(lambda: ground.state(first) == "COMPLETED", "the first curation does not end")
    assert "nothing new" in ground.run("sensor/local", f"recipe={path}").stdout
    assert curations() == [first]

    ground.api(f"/deployments/{sensor['id']}", {"parameters": {"recipe": str(path)}}, "PATCH")
    ground.api(schedule, {"active": True}, "PATCH")
    try:
        text = {"text": "A new document about penguins, written after all the others. " * 20}
        (tmp_path / "sources" / "faq" / "new.jsonl").write_text(json.dumps(text) + "\n")
        wait_for(lambda: len(curations()) == 2, "no curation of the new object")
    finally:
        ground.api(schedule, {"active": False}, "PATCH")
        ground.api(f"/deployments/{sensor['id']}", {"parameters": {}}, "PATCH")
    [second] = set(curations()) - {first}
    wait_for(lambda: ground.state(second) == "COMPLETED", "the second curation does not end")
