"""prefect.yaml as it is: every flow twice, each entry point loads without the frameworks that it does not need."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow

from .parts import ROOT

FLOWS = {"curate", "tokenize", "pretrain", "evaluate", "pipeline", "sweep", "sensor"}
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def entry(deployment: dict[str, Any]) -> Flow[..., Any]:
    path, _, name = deployment["entrypoint"].partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)  # type: ignore[no-any-return]


def test_every_flow_is_deployed_locally_and_on_kubernetes() -> None:
    found = sorted((entry(d).name, d["name"]) for d in DEPLOYMENTS)
    assert found == sorted((flow, place) for flow in FLOWS for place in ("local", "k8s"))


def test_every_flow_stops_its_job_when_cancelled_and_leaves_it_alone_when_crashed() -> None:
    for deployment in DEPLOYMENTS:
        flow = entry(deployment)
        assert bool(flow.on_cancellation_hooks) == (flow.name != "sensor")
        assert not flow.on_crashed_hooks
        assert not flow.on_failure_hooks


def test_deployments_beat_often_enough_for_what_watches_them() -> None:
    frequency = {d["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] for d in DEPLOYMENTS}
    zombies = yaml.safe_load((ROOT / "flows" / "zombies.yaml").read_text())
    assert frequency == {"30"}
    assert zombies["trigger"]["within"] >= 4 * 30
    assert [action["type"] for action in zombies["actions"]] == ["change-flow-run-state"]


def test_the_kubernetes_pool_has_every_variable_that_deployments_set() -> None:
    template = json.loads((ROOT / "flows" / "k8s-pool.json").read_text())
    known = set(template["variables"]["properties"])
    for deployment in DEPLOYMENTS:
        if deployment["name"] == "k8s":
            assert set(deployment["work_pool"]["job_variables"]) <= known


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_a_flow_loads_without_torch_and_ray(name: str) -> None:
    code = f"import sys, flows.{name}; print([m for m in ('torch', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=lambda p: p.stem)
def test_flows_are_thin(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= (60 if path.stem in FLOWS else 300), f"{path.name} has {lines} lines"
