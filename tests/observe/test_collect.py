"""What is known of a run whose corpus is made and that has not trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from raytrain.observe.collect import collect, in_turns
from raytrain.observe.report import render
from raytrain.observe.report.money import text_through
from raytrain.store import Store
from tests.observe.life import curated


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = tmp_path_factory.mktemp("collected")
    return curated(folder)


def test_the_work_on_shards_has_its_seconds_in_every_step_that_reads_text(store: Store) -> None:
    facts = collect(store, "lives")
    through = text_through(facts)
    assert [*through][:: len(through) - 1] == ["ingest", "tokenize"]
    assert through["ingest"] == facts["corpus"]["funnel"][0]["bytes"]
    assert through["tokenize"] == facts["corpus"]["funnel"][-1]["bytes"]
    for step in through:
        assert facts["artifacts"][step]["cpu_seconds"] > 0, step


def test_one_document_of_each_reason_is_shown_before_a_second_of_any() -> None:
    rows = [
        {"n": n, "reasons": reasons} for n, reasons in enumerate((["a"], ["a", "b"], ["b"], [], ["c"], ["b"], None))
    ]
    assert [row["n"] for row in in_turns(rows)] == [0, 2, 3, 4, 1, 5, 6]


def test_a_run_that_ends_with_its_corpus_has_a_report_of_its_own(store: Store) -> None:
    html = render(collect(store, "lives"))
    assert "could not be drawn" not in html
    for anchor in ("data", "reasons", "thresholds", "shares", "rejected", "work", "lineage"):
        assert f'<section id="{anchor}">' in html
    assert "Training has not begun" in html
