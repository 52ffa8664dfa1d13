"""What is known of a run whose corpus is made and that has not trained."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from raytrain.corpus.dedup.tables import GALLERY
from raytrain.corpus.forgotten import forget
from raytrain.corpus.ingest import INDEX
from raytrain.observe.collect import artifacts_of, collect, in_turns
from raytrain.observe.report import render
from raytrain.observe.report.money import text_through
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import read_table, table_bytes
from tests.observe.life import copied, curated


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


def test_a_forgotten_text_is_shown_nowhere_whatever_was_made_before(store: Store) -> None:
    copied(store, "lives", "forgets")
    documents = artifacts_of(store, "lives")["ingest"]
    names = [r for i in range(len(documents.shards)) for r in read_table(documents, i, INDEX).to_pylist()]
    pairs = [{f"{end}_record_id": names[i + (end == "b")]["record_id"] for end in "ab"} for i in range(4)]
    writer = ArtifactWriter(store, "dedup/shown")
    shown = {GALLERY: writer.put(0, GALLERY, table_bytes(pa.Table.from_pylist(pairs)))}
    shards = [writer.commit_shard(0, shown, 4)]
    writer.commit(artifact="shown", step="dedup", version=1, config={}, parents={}, shards=shards)
    lineage = json.loads(store.get("runs/forgets/lineage.json")) | {"dedup": writer.prefix}
    store.replace("runs/forgets/lineage.json", json.dumps(lineage).encode())
    facts = collect(store, "forgets")
    assert len(facts["gallery"]) == 4 and facts["rejected"]
    first = facts["rejected"][0]
    forget(store, [names[1]["doc_id"], names[4]["record_id"], first["doc_id"]], "asked by the author")
    facts = collect(store, "forgets")
    assert [row["a_record_id"] for row in facts["gallery"]] == [names[2]["record_id"]]
    assert first["record_id"] not in {row["record_id"] for row in facts["rejected"]}
