"""Alerts: each fires in its condition and is silent otherwise, and leads to a paragraph that helps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.observe.test_dashboards import ROOT, check
from tests.parts.prometheus import needs_prometheus

RULES = yaml.safe_load((ROOT / "dashboards" / "rules.yml").read_text())
TESTS = yaml.safe_load((ROOT / "dashboards" / "rules_test.yml").read_text())
ALERTS = [rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


@needs_prometheus
def test_the_rules_and_their_unit_tests_are_in_order() -> None:
    assert check.check_rules(ROOT / "dashboards") == []


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_firing_and_silent(alert: str) -> None:
    cases = [case for test in TESTS["tests"] for case in test["alert_rule_test"] if case["alertname"] == alert]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


PLANTED = {
    "not PromQL": ("> 600\n", "> > 600\n", "parse"),
    "another threshold": ("> 600\n", "> 6000\n", "RunStalled"),
    "stalled only while the exporter lives": (
        "last_over_time(raytrain_train_last_step",
        "(raytrain_train_last_step",
        "",
    ),
    "a metric that nobody exports": ("raytrain_train_loss[1h]", "raytrain_train_lost[1h]", "LossSpike"),
    "no runbook": ("operations.md#rundied", "operations.md#rundead", "RunDied"),
    "no severity": ("{severity: page}", "{severity: urgent}", "severity"),
}


@needs_prometheus
@pytest.mark.parametrize("plant", PLANTED.values(), ids=list(PLANTED))
def test_a_planted_error_in_a_rule_is_found(tmp_path: Path, plant: tuple[str, str, str]) -> None:
    before, after, said = plant
    folder = tmp_path / "rules"
    shutil.copytree(ROOT / "dashboards", folder)
    text = (folder / "rules.yml").read_text()
    assert before in text
    (folder / "rules.yml").write_text(text.replace(before, after))
    problems = check.check_rules(folder)
    assert problems and any(said in problem for problem in problems), problems


@needs_prometheus
def test_an_alert_without_a_test_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(ROOT / "dashboards", folder)
    kept = [
        test | {"alert_rule_test": [c for c in test["alert_rule_test"] if c["alertname"] != "LossSpike"]}
        for test in TESTS["tests"]
    ]
    (folder / "rules_test.yml").write_text(yaml.safe_dump(TESTS | {"tests": kept}))
    problems = check.check_rules(folder)
    assert "LossSpike: no test in which it fires" in problems
