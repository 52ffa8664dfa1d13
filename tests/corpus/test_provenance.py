"""Where documents come from decides what may be kept, and what is cut or forgotten leaves a count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raytrain.corpus import forgotten, select
from raytrain.corpus.cuts import OBJECT as CUTS
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.section import Source
from raytrain.corpus.select import BORDERLINE, KEPT, REJECTED, VERDICTS
from raytrain.errors import UserError
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl

TEXTS = [prose.document(seed, 12) for seed in range(120)]


def record(seed: int) -> dict[str, Any]:
    """A third is said to be by a machine; one in four is vouched for by nobody."""
    origin = "machine" if seed % 3 == 0 else "human"
    more = {"verification": "unverified"} if seed % 4 == 0 else {}
    return {"text": TEXTS[seed], "origin": origin, "licence": "MIT" if seed % 2 else "GPL-3.0-only", **more}


@pytest.fixture(scope="module")
def walking(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    root = tmp_path_factory.mktemp("provenance")
    write_jsonl(root / "raw" / "a.jsonl", [*(record(seed) for seed in range(120)), {"text": "Too short."}])
    return Walk(Store(str(root / "store")), [Source(name="s", uri=str(root / "raw"))], corpus())


def parents(walking: Walk) -> dict[str, Artifact]:
    documents = walking.ingest()
    attributes = walking.annotate(documents)
    return {"documents": documents, **attributes, "dedup": walking.dedup(documents, attributes.pop("minhash"))}


def made(walking: Walk, ids: Sequence[str] = (), spans: Artifact | None = None, **options: Any) -> Artifact:
    """A corpus of the same documents under other options."""
    held = parents(walking)
    if spans is not None:
        held["spans"] = spans
    return walking.make(select, select.config_of(corpus(**options), ids), held, select.run)


def test_what_nobody_vouches_for_is_refused_and_counted(walking: Walk) -> None:
    kept = made(walking, limits={"refuse": {"verification": ["unverified"]}})
    assert [row["record"] for row in rows(kept, KEPT)] == [seed for seed in range(120) if seed % 4] + [120]
    assert kept.facts["reasons"]["limits.verification"]["sole_documents"] == 30
    assert kept.facts["groups"]["verification"]["unverified"]["documents"] == 0


def test_licences_are_limits_with_their_own_reason(walking: Walk) -> None:
    kept = made(walking, limits={"licences": {"allow": ["MIT"]}})
    assert {row["licence"] for row in rows(kept, KEPT)} == {"MIT"}
    sample = rows(kept, REJECTED)[0]
    assert sample["numbers"][0]["column"] == f"refused: {sample['licence']}"


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_an_origin_never_holds_more_than_its_share(walking: Walk, share: float) -> None:
    kept = made(walking, limits={"max_share": {"machine": share}})
    origins = kept.facts["groups"]["origin"]
    total = sum(group["bytes"] for group in origins.values())
    assert share * total - 2000 <= origins["machine"]["bytes"] <= share * total
    assert origins["human"]["documents"] == 80
    lost = 40 - origins["machine"]["documents"]
    assert kept.facts["reasons"]["limits.max_share"] == {
        **kept.facts["reasons"]["limits.max_share"],
        "documents": lost,
        "sole_documents": lost,
    }
    assert {row["split"] for row in rows(kept, KEPT)} == {"train", "validation"}


def spans_of(walking: Walk, cut: dict[int, list[tuple[int, int, str]]]) -> Artifact:
    """An artifact that cuts spans out of records, given by their number in the file."""
    documents = walking.ingest()
    writer = ArtifactWriter(walking.store, "attributes/spans/test")
    shards = []
    for shard, held in enumerate(documents.shards):
        records = [row["record"] for row in _rows(documents, shard)]
        found = [(records.index(n), *span) for n, spans in sorted(cut.items()) if n in records for span in spans]
        table = pa.table(
            {
                **{name: pa.array([f[i] for f in found], pa.int64()) for i, name in enumerate(("row", "start", "end"))},
                "reason": pa.array([f[3] for f in found], pa.string()),
            }
        )
        objects = {CUTS: writer.put(shard, CUTS, table_bytes(table))}
        shards.append(writer.commit_shard(shard, objects, held["rows"]))
    facts = {"documents": documents.id}
    return writer.commit(artifact="t", step="t", version=1, config={}, parents={}, shards=shards, facts=facts)


def _rows(documents: Artifact, shard: int) -> list[dict[str, Any]]:
    from raytrain.store.artifact import read_table

    return list(read_table(documents, shard, DOCUMENTS).to_pylist())


def test_cut_spans_leave_the_texts_and_the_counts(walking: Walk) -> None:
    whole = len(TEXTS[7].encode())
    cut = {
        3: [(0, 10, "leak"), (5, 20, "span")],
        5: [(0, len(TEXTS[5].encode()), "leak")],
        7: [(0, whole - 1, "span")],
        120: [(0, 4, "span")],
    }
    kept = made(walking, spans=spans_of(walking, cut), rules=["gopher"])
    found = {row["record"]: row for row in rows(kept, KEPT)}
    assert found[3]["text"] == TEXTS[3][20:]
    assert found[3]["bytes"] == len(found[3]["text"]) == len(TEXTS[3]) - found[3]["cut_bytes"]
    assert {n: row["cut_bytes"] for n, row in found.items() if row["cut_bytes"]} == {3: 20, 7: whole - 1}
    assert 5 not in found
    assert kept.facts["reasons"]["cut away"]["documents"] == 1
    assert kept.facts["cuts"] == {
        "leak": {"documents": 1, "bytes": 10},
        "span": {"documents": 2, "bytes": 15 + whole - 1},
    }
    size = sum(row["bytes"] for row in found.values())
    assert kept.facts["funnel"][-1] == {"step": "kept", "documents": len(found), "bytes": size}
    assert found[3]["doc_id"] == rows(walking.ingest(), DOCUMENTS)[3]["doc_id"]


def test_what_is_forgotten_is_neither_kept_nor_shown(walking: Walk) -> None:
    documents = rows(walking.ingest(), DOCUMENTS)
    ids = [documents[1]["doc_id"], documents[2]["record_id"]]
    kept = made(walking, ids)
    records = {row["record"] for row in rows(kept, KEPT)}
    assert not records & {1, 2} and len(records) == 119
    assert kept.facts["reasons"]["forgotten"]["documents"] == 2
    assert kept.facts["funnel"][2] == {**kept.facts["funnel"][2], "step": "forgotten", "documents": 119}
    assert not rows(kept, REJECTED)
    assert made(walking).id != kept.id


def test_only_documents_that_hold_a_listed_id_change_by_the_list(walking: Walk) -> None:
    documents = walking.ingest()
    assert forgotten.among(documents) == []
    record_id = rows(documents, DOCUMENTS)[9]["record_id"]
    first, _ = forgotten.forget(walking.store, [record_id, "f" * 32], "asked by the author")
    assert forgotten.among(documents) == forgotten.among(documents) == [record_id]
    again = forgotten.forget(walking.store, [record_id], "another reason")
    assert again == ([], first[:1])
    assert {entry.id for entry in forgotten.listed(walking.store)} == {record_id, "f" * 32}


def test_a_corpus_counts_what_it_keeps_and_should_forget(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [*TEXTS[:20], TEXTS[3], "Too short."])
    walk = Walk(Store(str(tmp_path / "s")), [Source(name="s", uri=str(tmp_path / "a.jsonl"))], corpus(rules=["gopher"]))
    documents, before = walk.ingest(), made(walk, rules=["gopher"])
    ids = [row["record_id"] for row in rows(documents, DOCUMENTS)]
    assert forgotten.held(documents, before) == 0
    forgotten.forget(walk.store, [ids[5], rows(documents, DOCUMENTS)[3]["doc_id"], ids[21]], "asked by the author")
    assert forgotten.held(documents, before) == 2  # of the two copies one is kept, and the short one never was
    assert forgotten.held(documents, made(walk, forgotten.among(documents), rules=["gopher"])) == 0


@pytest.mark.parametrize("reason", ["", "  "])
def test_what_is_to_be_forgotten_needs_a_reason(walking: Walk, reason: str) -> None:
    before = forgotten.listed(walking.store)
    with pytest.raises(UserError, match="--reason is empty"):
        forgotten.forget(walking.store, ["a" * 32], reason)
    assert forgotten.listed(walking.store) == before


def test_every_verdict_is_written_and_names_why(walking: Walk) -> None:
    kept = made(walking, rules=["gopher"])
    verdicts = rows(kept, VERDICTS)
    assert [row["keep"] for row in verdicts] == [True] * 120 + [False]
    assert sum(row["keep"] for row in verdicts) == kept.manifest["rows"]
    failed = {name for name, value in verdicts[120].items() if value is True}
    assert {"gopher.min_words"} <= failed <= set(kept.facts["reasons"])


def test_borderline_documents_are_kept_ones_by_their_margin(walking: Walk) -> None:
    words = [len(text.split()) for text in TEXTS]
    least = min(words) - 2
    kept = made(walking, rules=["gopher"], overrides={"gopher.min_words": least})
    near = [row for row in rows(kept, BORDERLINE) if "gopher.min_words" in row["reasons"]]
    assert any(row["numbers"][row["reasons"].index("gopher.min_words")]["value"] == min(words) for row in near)
    for row in near:
        number = row["numbers"][row["reasons"].index("gopher.min_words")]
        assert 0 <= row["margin"] <= (number["value"] - least) / least <= 0.1
        assert set(row) - {"margin"} == set(rows(kept, REJECTED)[0])


def test_histograms_count_every_document_and_draw_the_thresholds(walking: Walk) -> None:
    kept = made(walking, rules=["gopher"])
    held = kept.facts["histograms"]["word_count"]
    assert sum(held["documents"]) == 121
    assert {"rule": "gopher.min_words", "op": ">=", "threshold": 50.0} in held["thresholds"]
    assert len(held["edges"]) == len(held["documents"]) + 1


def test_a_share_that_is_none_is_refused() -> None:
    for limits in ({"max_share": {"machine": 1.0}}, {"max_share": {"robot": 0.1}}, {"refuse": {"colour": ["red"]}}):
        with pytest.raises(ValueError, match=r"max_share|refuse"):
            corpus(limits=limits)


def test_limits_that_keep_nothing_say_so(walking: Walk) -> None:
    with pytest.raises(UserError, match=r"limits\.licences rejects 121"):
        made(walking, limits={"licences": {"allow": ["CC0-1.0"]}})
