"""One list of metrics holds exporter, dashboards, alerts and documents together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from raytrain.ledger import Price, as_event
from raytrain.observe import catalogue
from raytrain.observe.catalogue import CATALOGUE, SERIES, STATES
from raytrain.observe.dashboards import panel_queries
from tests.observe.test_dashboards import check

ROOT = Path(__file__).parents[2]


def used() -> set[str]:
    """What panels and rules read."""
    rules = yaml.safe_load((ROOT / "dashboards" / "rules.yml").read_text())
    exprs = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return {name for expr in [*exprs, *(query[3] for query in panel_queries())] for name in check.metrics_in(expr)}


@pytest.mark.parametrize("metric", CATALOGUE, ids=lambda m: m.name)
def test_every_metric_is_looked_at_by_a_panel_or_an_alert(metric: catalogue.Metric) -> None:
    assert used() & set(metric.series)


def test_no_panel_or_alert_looks_at_a_metric_that_is_not_there() -> None:
    ours = {name for name in used() if name.startswith("raytrain_")}
    assert ours <= set(SERIES)


def test_names_follow_the_rules_of_prometheus() -> None:
    names = [metric.name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for metric in CATALOGUE:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert not {"step", "epoch", "path", "sha", "message"} & set(metric.labels), metric.name
        assert metric.help.endswith(".") and metric.source, metric.name


def test_the_metrics_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == catalogue.page(), "run `python docs/generate.py`"


def test_a_price_event_carries_what_age_and_energy_are_computed_from() -> None:
    import datetime

    table = Price("aws/x", "spot", 2.0, "somebody", 0, dated=datetime.date(2025, 3, 2))
    assert as_event(table) == {"usd_per_hour": 2.0, "source": "somebody", "dated": "2025-03-02"}
    own = Price("owned", "owned", 0.02, "watts x usd_per_kwh", 0, watts=65.0)
    assert as_event(own)["watts"] == 65.0


def test_every_state_that_show_knows_has_a_series() -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "show.json").read_text())
    assert set(STATES) == set(schema["properties"]["state"]["enum"])
