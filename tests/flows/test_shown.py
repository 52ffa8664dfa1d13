"""What flow pages point at can be reached from where they are read."""

from __future__ import annotations

import shlex
from pathlib import Path

import yaml
from typer.testing import CliRunner

from flows.shown import pages, report
from raytrain.cli.app import app
from raytrain.store import Store

from .parts import ROOT


def test_people_may_reach_ray_another_way_than_flows_do() -> None:
    inside = {"RAY_API_SERVER_ADDRESS": "http://ray-head:8265"}
    assert pages({}) == {}
    assert pages(inside)["ray-dashboard"][1] == "http://ray-head:8265"
    outside = inside | {"RAYTRAIN_RAY_URL": "https://ray.example.com"}
    assert pages(outside)["ray-dashboard"][1] == "https://ray.example.com"


def test_the_links_of_compose_lead_to_ports_that_it_opens_on_this_machine() -> None:
    compose = yaml.safe_load((ROOT / "infra" / "compose.yaml").read_text())
    opened = {port.rpartition(":")[0] for service in compose["services"].values() for port in service.get("ports", ())}
    linked = {link for _, link in pages(compose["services"]["prefect-worker"]["environment"]).values()}
    assert len(linked) == 3
    assert {link.removeprefix("http://") for link in linked} <= opened


def test_a_report_s_page_names_its_place_and_a_command_that_there_is(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a store"))
    page = report(store, "quick", "evaluate")
    assert store.where("runs/quick/report.html") in page
    (command,) = (line for line in page.splitlines() if line.startswith("raytrain "))
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 1  # understood, and there is no such run yet
    assert "quick" in str(done.exception or done.output)
