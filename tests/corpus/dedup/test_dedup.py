"""The whole search for duplicates, on text with planted ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from raytrain.corpus.dedup import DEDUP, PAIRS
from raytrain.corpus.dedup.tables import GALLERY
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.section import Source
from raytrain.store import Artifact, Store
from raytrain.store.step import Task
from tests.corpus import prose
from tests.corpus.kernels import reference
from tests.corpus.walk import Walk, corpus, rows, serial, table, write_jsonl

ORIGINALS = [prose.document(seed, 24) for seed in range(80)]
# A word in a hundred replaced breaks about one 5-gram in twenty: Jaccard about 0.9.
EDITED = [prose.edited(text, seed, 0.01) for seed, text in enumerate(ORIGINALS[:40])]
FAR = [prose.edited(text, seed, 0.03) for seed, text in enumerate(ORIGINALS[40:60])]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_jsonl(root / "one" / "a.jsonl", [{"text": t, "licence": "unknown"} for t in ORIGINALS])
    write_jsonl(root / "two" / "b.jsonl", [*EDITED, *FAR, ORIGINALS[70], ORIGINALS[71].replace(" ", "  ") + " !!!"])
    write_jsonl(root / "two" / "c.jsonl", ["!!!", "???", "!!!", "short text", "Short, text!"])
    return root


def walk(raw: Path, at: Path) -> Walk:
    sources = [Source(name=name, uri=str(raw / name), licence="MIT") for name in ("one", "two")]
    return Walk(Store(str(at)), sources, corpus())


def deduplicated(walking: Walk) -> tuple[Artifact, Artifact]:
    documents = walking.ingest()
    return documents, walking.dedup(documents, walking.annotate(documents)["minhash"])


@pytest.fixture(scope="module")
def result(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    return deduplicated(walk(raw, tmp_path_factory.mktemp("store")))


def jaccard(a: str, b: str) -> float:
    return reference.jaccard(reference.shingles(a, 5), reference.shingles(b, 5))


def containment(a: str, b: str) -> float:
    left, right = reference.shingles(a, 5), reference.shingles(b, 5)
    return len(left & right) / min(len(left), len(right))


def test_planted_duplicates_are_found_and_nothing_else(result: tuple[Artifact, Artifact]) -> None:
    texts = [row["text"] for row in rows(result[0], DOCUMENTS)]
    found = rows(result[1], DEDUP)
    truth = [jaccard(texts[i], texts[80 + i]) for i in range(40)]
    planted = [i for i in range(40) if truth[i] >= 0.8]
    assert len(planted) > 30
    caught = [i for i in planted if found[i]["duplicate_of"] == 80 + i]  # the copy has a licence: it stays
    assert len(caught) >= 0.95 * len(planted)
    removed = {i for i, row in enumerate(found) if row["duplicate_of"] is not None}
    assert removed <= {*planted, 70, 71, 144, *range(140, 147)}


def test_every_removal_is_true(result: tuple[Artifact, Artifact]) -> None:
    texts = [row["text"] for row in rows(result[0], DOCUMENTS)]
    found = rows(result[1], DEDUP)
    for text, row in zip(texts, found, strict=True):
        if row["duplicate_of"] is None:
            continue
        keeper = row["duplicate_of"]
        assert found[keeper]["duplicate_of"] is None
        assert found[keeper]["cluster"] == row["cluster"]
        if row["rule"] == "exact":
            assert texts[keeper] == text
        else:
            assert row["jaccard"] == jaccard(texts[keeper], text) >= 0.8


def test_copies_and_texts_without_words(result: tuple[Artifact, Artifact]) -> None:
    found = rows(result[1], DEDUP)
    assert (found[70]["rule"], found[70]["duplicate_of"]) == ("exact", 140)
    assert (found[71]["rule"], found[71]["jaccard"]) == ("near", 1.0)  # blanks and marks alone differ
    assert [row["rule"] for row in found[142:147]] == [None, None, "exact", "near", None]


def test_every_compared_pair_is_recorded_accepted_or_not(result: tuple[Artifact, Artifact]) -> None:
    texts = [row["text"] for row in rows(result[0], DOCUMENTS)]
    pairs = rows(result[1], PAIRS)
    assert len(pairs) == result[1].facts["pairs"]
    assert {pair["accepted"] for pair in pairs} == {True, False}
    for pair in pairs:
        assert pair["a"] < pair["b"]
        assert pair["jaccard"] == jaccard(texts[pair["a"]], texts[pair["b"]])
        assert pair["containment"] == containment(texts[pair["a"]], texts[pair["b"]])
        assert pair["accepted"] == (pair["jaccard"] >= 0.8)
        assert pair["rule"] == ("jaccard >= 0.8" if pair["accepted"] else "jaccard < 0.8")


def test_the_gallery_shows_the_pairs_nearest_to_the_threshold(result: tuple[Artifact, Artifact]) -> None:
    held = {row["record_id"]: row["text"] for row in rows(result[0], DOCUMENTS)}
    shown, pairs = rows(result[1], GALLERY), rows(result[1], PAIRS)
    for accepted in (True, False):
        nearest = sorted(abs(pair["jaccard"] - 0.8) for pair in pairs if pair["accepted"] == accepted)[:20]
        assert [abs(row["jaccard"] - 0.8) for row in shown if row["accepted"] == accepted] == nearest
    for row in shown:
        assert row["a_text"] == held[row["a_record_id"]][:600]
        assert row["b_text"] == held[row["b_record_id"]][:600]


def test_tables_are_aligned_with_the_documents(result: tuple[Artifact, Artifact]) -> None:
    documents, found = result
    assert len(documents.shards) > 5
    assert [s["rows"] for s in documents.shards] == [s["rows"] for s in found.shards]
    ids = table(documents, DOCUMENTS).column("doc_id").to_pylist()
    alone = [i for i, row in enumerate(rows(found, DEDUP)) if row["cluster"] == ids[i] and row["rule"] is None]
    assert len(alone) > 40


def test_partitions_and_parts_change_nothing(
    raw: Path, tmp_path: Path, result: tuple[Artifact, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.corpus.dedup.step.ROWS_PER_PARTITION", 300)
    monkeypatch.setattr("raytrain.corpus.dedup.pool.RANGE_DOCUMENTS", 9)
    monkeypatch.setattr("raytrain.corpus.dedup.pool.SENDERS", 3)
    _, found = deduplicated(walk(raw, tmp_path))
    assert found.manifest["sha256"] == result[1].manifest["sha256"]


@pytest.mark.parametrize(
    "dies_at", ["texts", "same text", "bands", "candidates", "shingles", "comparison", "gallery", "tables"]
)
def test_a_search_that_dies_anywhere_is_taken_up_with_equal_result(
    raw: Path, tmp_path: Path, result: tuple[Artifact, Artifact], dies_at: str
) -> None:
    walking = walk(raw, tmp_path)
    documents = walking.ingest()
    minhash = walking.annotate(documents)["minhash"]
    calls: list[str] = []

    def dying(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        calls.append(label)
        if label == f"dedup: {dies_at}":
            serial(work, tasks[: len(tasks) // 2], label)
            raise ConnectionError("gone")
        return serial(work, tasks, label)

    walking.engine = dying
    with pytest.raises(ConnectionError):
        walking.dedup(documents, minhash)
    walking.engine = serial
    assert walking.dedup(documents, minhash).manifest["sha256"] == result[1].manifest["sha256"]
    assert walking.store.keys("dedup")  # and a third time, all made: nothing fails though scratch is gone
    assert walking.dedup(documents, minhash).manifest["sha256"] == result[1].manifest["sha256"]


def test_scratch_is_removed(result: tuple[Artifact, Artifact]) -> None:
    store = result[1].store
    assert not [key for key in store.keys("dedup") if re.search(r"-(keys|bands|shingles)-[0-9a-f]{8}\.bin", key)]


def test_a_corpus_without_any_candidate(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "a.jsonl", [prose.document(seed, 5) for seed in range(3)])
    walking = Walk(Store(str(tmp_path / "store")), [Source(name="s", uri=str(tmp_path / "raw"))], corpus())
    documents, found = deduplicated(walking)
    assert [row["duplicate_of"] for row in rows(found, DEDUP)] == [None] * 3
    assert table(found, DEDUP).column("cluster").equals(table(documents, DOCUMENTS).column("doc_id"))
    assert found.facts["pairs"] == 0


def test_recall_is_what_the_bands_promise() -> None:
    """Planted pairs by their true similarity s, caught with probability 1 - (1 - s^8)^14."""
    import pyarrow as pa

    from raytrain.corpus.dedup.bands import band_rows, candidate_pairs
    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.minhash import shared, shingles, signatures

    count = 2000
    texts = [prose.document(1000 + seed, 12) for seed in range(count)]
    others = [prose.edited(text, seed, (0.005, 0.02)[seed % 2]) for seed, text in enumerate(texts)]
    buffers = text_buffers(pa.array(texts + others, pa.large_string()))
    hashes, bounds = shingles(*buffers, 5)
    sets = [hashes[bounds[i] : bounds[i + 1]] for i in range(2 * count)]
    both = np.array([shared(sets[i], sets[count + i]) for i in range(count)])
    sizes = np.diff(bounds)
    true = both / (sizes[:count] + sizes[count:] - both)
    pairs = candidate_pairs(band_rows(signatures(*buffers, 5, 112)[0], np.arange(2 * count), 14), 2 * count)
    caught = np.zeros(count, np.bool_)
    caught[pairs["a"][pairs["b"] - pairs["a"] == count]] = True
    high, middle = true >= 0.9, (true >= 0.8) & (true < 0.9)
    assert min(high.sum(), middle.sum()) > 500
    assert caught[high].mean() >= 0.99
    assert caught[middle].mean() >= (1 - (1 - true[middle] ** 8) ** 14).mean() - 0.02
