"""The dashboards are what Grafana takes, what a newcomer reads, and every panel has data."""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain.observe.boards import BOARDS
from raytrain.observe.dashboards import dashboard, panel_queries, text_of
from raytrain.store import Attempt
from tests.observe.life import copied, curated, evaluated, lived
from tests.parts.prometheus import Prometheus, needs_prometheus, prometheus, wait_for

from .test_exporter import running_exporter

ROOT = Path(__file__).parents[2]


def _check() -> Any:
    spec = importlib.util.spec_from_file_location("dashboards_check", ROOT / "dashboards" / "check.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = _check()


@needs_prometheus
def test_the_dashboards_in_the_repository_are_in_order() -> None:
    assert check.check_dashboards(ROOT / "dashboards") == []


@pytest.mark.parametrize("board", BOARDS, ids=lambda b: b.name)
def test_grafana_s_types_lose_nothing_of_a_dashboard(board: Any) -> None:
    from grafana_foundation_sdk.cog import encoder, plugins
    from grafana_foundation_sdk.models import dashboard as models

    plugins.register_default_plugins()
    made = dashboard(board)
    again = json.loads(encoder.JSONEncoder().encode(models.Dashboard.from_json(copy.deepcopy(made))))

    def within(small: Any, large: Any) -> bool:
        if isinstance(small, dict):
            return all(k in large and within(v, large[k]) for k, v in small.items() if v is not None)
        if isinstance(small, list):
            return len(small) == len(large) and all(map(within, small, large))
        return bool(small == large)

    assert within(made, again)


def _first(made: dict[str, Any]) -> dict[str, Any]:
    return next(p for p in made["panels"] if p["type"] == "timeseries")


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        *way, last = path.split(".")
        at: Any = {"panel": _first(made), "board": made}
        for key in way:
            at = at[int(key)] if isinstance(at, list) else at[key]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return change


def _overlap(made: dict[str, Any]) -> None:
    made["panels"][2]["gridPos"] = dict(made["panels"][1]["gridPos"])


PLANTED = {
    "unknown key": (_set("panel.titel", "Loss"), "Grafana knows no such key"),
    "wrong type": (_set("panel.gridPos.w", "wide"), "is not int"),
    "unknown value": (_set("board.graphTooltip", 7), "graph_tooltip"),
    "option misspelt": (_set("panel.options.legend.displaymode", "list"), "Grafana knows no such key"),
    "no title": (_set("panel.title", ""), "no title"),
    "no description": (_set("panel.description", None), "no description"),
    "no unit": (_set("panel.fieldConfig.defaults.unit", None), "no unit"),
    "unit that Grafana lacks": (_set("panel.fieldConfig.defaults.unit", "furlong"), "none of Grafana's"),
    "fixed data source": (_set("panel.datasource.uid", "P1"), "${datasource}"),
    "same refId": (_set("panel.targets.0.refId", ""), "queries are called"),
    "no query": (_set("panel.targets", []), "no query"),
    "unknown metric": (
        _set("panel.targets.0.expr", 'raytrain_train_lost{cluster=~"$cluster"}'),
        "not in the metric catalogue",
    ),
    "foreign metric": (_set("panel.targets.0.expr", 'node_load1{cluster=~"$cluster"}'), "not in the metric catalogue"),
    "any cluster": (_set("panel.targets.0.expr", "raytrain_train_loss"), "not limited to $cluster"),
    "rate of a gauge": (
        _set("panel.targets.0.expr", 'rate(raytrain_train_loss{cluster=~"$cluster"}[$__rate_interval])'),
        "no counter",
    ),
    "window of its own": (
        _set("panel.targets.0.expr", 'rate(raytrain_lost_steps_total{cluster=~"$cluster"}[1m])'),
        "window of its own",
    ),
    "broken query": (_set("panel.targets.0.expr", 'sum(raytrain_train_loss{cluster=~"$cluster"}'), "parse error"),
    "two panels in one place": (_overlap, "lies over"),
    "over the edge": (_set("panel.gridPos.x", 20), "over the edge"),
    "same id": (_set("panel.id", 1), "have the id"),
    "old schema": (_set("board.schemaVersion", 27), "schemaVersion"),
    "no uid": (_set("board.uid", ""), "no uid"),
    "editable": (_set("board.editable", True), "editable"),
    "no variable": (_set("board.templating.list", []), "no variable $run"),
}


@needs_prometheus
@pytest.mark.parametrize("plant", PLANTED.values(), ids=list(PLANTED))
def test_a_planted_error_in_a_dashboard_is_found(plant: tuple[Callable[[dict[str, Any]], None], str]) -> None:
    change, said = plant
    made = copy.deepcopy(dashboard(BOARDS[0]))
    change(made)
    assert any(said in problem for problem in check.lint(made)), check.lint(made)


@needs_prometheus
def test_a_dashboard_that_somebody_edited_is_found(tmp_path: Path) -> None:
    for board in BOARDS:
        (tmp_path / f"{board.name}.json").write_text(text_of(board).replace("Training loss", "Loss"))
    (problem,) = check.check_dashboards(tmp_path)
    assert problem.startswith("run.json: is not what")


def test_titles_are_told_apart_and_panels_fit_a_phone() -> None:
    for board in BOARDS:
        titles = [(row.title, panel.title) for row in board.rows for panel in row.panels]
        assert len(set(titles)) == len(titles)
        for row in board.rows:
            for panel in row.panels:
                assert panel.about.endswith("."), panel.title
                assert panel.kind == "table" or panel.width <= 12, panel.title


# -- with a real exporter and a real Prometheus -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A store with a run that lives and trains on, its exporter, and a Prometheus that has asked it for a while."""
    folder = tmp_path_factory.mktemp("watched")
    store = curated(folder)
    copied(store, "lives", "other")
    store.replace("sweeps/s/state.json", json.dumps({"trials": {"done": 3, "running": 1}, "best_loss": 3.2}).encode())
    attempts = [Attempt.claim(store, name) for name in ("lives", "other")]
    lives = [lived(store, a.run, a.number, time.time() - 140) for a in attempts]
    evaluated(store, "lives")
    done = threading.Event()

    def go_on() -> None:
        while not done.wait(0.5):
            for life in lives:
                life.t = max(life.t, time.time() - life.start - 0.4)
                life.steps(1, 0.4)
                life.flush()

    training = threading.Thread(target=go_on, daemon=True)
    training.start()
    try:
        with running_exporter(store.uri, "--every", "0.5") as exporter, prometheus(folder / "prom", exporter) as server:
            wait_for(lambda: len(server.query("raytrain_train_loss")) == 2)
            yield server
    finally:
        done.set()
        training.join()
        for life, attempt in zip(lives, attempts, strict=True):
            life.close()
            attempt.release("stopped")
        shutil.rmtree(folder / "prom", ignore_errors=True)


QUERIES = [query for query in panel_queries() if query[2] == "raytrain"]


@pytest.mark.slow
@needs_prometheus
@pytest.mark.parametrize("query", QUERIES, ids=lambda q: f"{q[0]}: {q[1]}")
def test_every_panel_has_data(watched: Prometheus, query: tuple[str, str, str, str]) -> None:
    expr = query[3].replace("$__rate_interval", "15s").replace("$cluster", "test").replace("$run", "lives")
    found = wait_for(lambda: watched.query(expr))
    assert all(sample["value"][1] not in ("NaN", "+Inf") for sample in found), (expr, found)


@pytest.mark.slow
@needs_prometheus
def test_tables_have_a_line_a_run_and_the_alert_that_fires(watched: Prometheus) -> None:
    exprs = [query[3] for query in QUERIES if query[1] == "Runs compared: Run by run"]
    for expr in exprs:
        assert len(watched.query(expr.replace("$cluster", "test").replace("$run", ".*"))) == 2
    fires = wait_for(lambda: watched.query('ALERTS{alertstate="firing"}'))
    assert {alert["metric"]["alertname"] for alert in fires} >= {"PriceTableStale"}
    assert "RunStalled" not in {alert["metric"]["alertname"] for alert in fires}
