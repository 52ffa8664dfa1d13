"""Documents, numbers and rules become a corpus, and the report's figures add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from raytrain.corpus import select
from raytrain.corpus.attributes import check_aligned
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.section import CorpusSection, Source
from raytrain.corpus.select import KEPT, REJECTED
from raytrain.errors import UserError
from raytrain.store import Artifact, Store
from raytrain.store.step import Task
from tests.corpus import prose
from tests.corpus.kernels import reference
from tests.corpus.walk import SMALL_SPLIT, Walk, corpus, rows, serial, write_jsonl

GERMAN = "Der Ausschuss traf sich am Dienstag und sprach lange über die neue Bibliothek der Stadt. " * 8
RULES: dict[str, Any] = {
    "rules": ["gopher", "gopher-repetition", "c4", "fineweb"],
    "languages": {"allowed": ["en"]},
    "target_shard_bytes": 60_000,
}
GOOD = [prose.document(seed, 24) for seed in range(150)]
NEAR = [prose.edited(text, seed, 0.008) for seed, text in enumerate(GOOD[:60])]
LOOSE = {
    key: {"threshold": threshold, "reason": "to see more"}
    for key, threshold in (("c4.curly_bracket", None), ("gopher.min_words", 2), ("c4.sentences", 1))
}
LIST = "\n".join(f"- item {i}" for i in range(200))
CODE = GOOD[3] + "\n\nint main() { return 0; }"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_jsonl(root / "books" / "a.jsonl", [{"text": t, "licence": "MIT"} for t in GOOD])
    write_jsonl(root / "web" / "b.jsonl", [*NEAR, GOOD[70], "too short.", LIST, CODE, GERMAN, {"body": "?"}])
    write_jsonl(root / "web" / "c.jsonl", [prose.document(seed, 24) for seed in range(200, 230)])
    return root


def walk(raw: Path, at: Path, **options: Any) -> Walk:
    sources = [Source(name=name, uri=str(raw / name), domain=name) for name in ("books", "web")]
    return Walk(Store(str(at)), sources, corpus(**{**RULES, **options}))


@pytest.fixture(scope="module")
def made(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return walk(raw, tmp_path_factory.mktemp("store")).corpus()


def test_validation_has_no_near_duplicate_in_training(made: Artifact, raw: Path, tmp_path: Path) -> None:
    for artifact in (made, walk(raw, tmp_path, dedup={"jaccard": 0.9}).corpus()):
        kept = rows(artifact, KEPT)
        parts = {name: [row for row in kept if row["split"] == name] for name in ("train", "validation")}
        assert all(parts.values())
        assert {row["cluster"] for row in parts["train"]}.isdisjoint(row["cluster"] for row in parts["validation"])
        train = [reference.shingles(row["text"], 5) for row in parts["train"]]
        for row in parts["validation"]:
            own = reference.shingles(row["text"], 5)
            assert max(reference.jaccard(own, other) for other in train) < 0.8


def test_the_kept_and_the_rejected_with_their_reasons(made: Artifact) -> None:
    texts = {row["text"] for row in rows(made, KEPT)}
    assert not texts & {"too short.", LIST, CODE, GERMAN.strip()}
    why = {row["record_id"]: set(row["reasons"]) for row in rows(made, REJECTED)}
    first = len(NEAR) + 1
    assert {"gopher.min_words", "c4.sentences"} <= why[f"web/b.jsonl/{first}"]
    assert "gopher.bullet_lines" in why[f"web/b.jsonl/{first + 1}"]
    assert why[f"web/b.jsonl/{first + 2}"] >= {"c4.curly_bracket"}
    assert "language" in why[f"web/b.jsonl/{first + 3}"]


def test_a_rejected_sample_shows_the_numbers_that_decided(made: Artifact) -> None:
    sample = {row["record_id"]: row for row in rows(made, REJECTED)}
    row = sample[f"web/b.jsonl/{len(NEAR) + 1}"]
    number = next(n for n in row["numbers"] if n["rule"] == "gopher.min_words")
    assert number == {"rule": "gopher.min_words", "column": "word_count", "op": ">=", "value": 2.0, "threshold": 50.0}
    assert all(len(row["text"]) <= 1000 for row in sample.values())
    near = next(row for row in sample.values() if row["reasons"] == ["near duplicates"])
    assert near["numbers"][0]["value"] >= 0.8


def test_a_rejected_sample_marks_what_offends(made: Artifact) -> None:
    sample = {row["record_id"]: row for row in rows(made, REJECTED)}
    for row in sample.values():
        bounds = [0, *(end for span in row["spans"] for end in span), len(row["text"])]
        assert bounds == sorted(bounds)
    bullets = sample[f"web/b.jsonl/{len(NEAR) + 2}"]
    assert bullets["text"][slice(*bullets["spans"][0])].startswith("- item 0")
    code = sample[f"web/b.jsonl/{len(NEAR) + 3}"]
    assert "{" in [code["text"][slice(*span)] for span in code["spans"]]  # at the end: the excerpt moves


def test_the_funnel_adds_up(made: Artifact) -> None:
    facts = made.facts
    steps = [row["step"] for row in facts["funnel"]]
    filters = ["language", "gopher", "gopher-repetition", "c4", "fineweb", "exact duplicates", "near duplicates"]
    assert steps == ["read", "normalised", *filters, "kept"]
    counts = [row["documents"] for row in facts["funnel"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] - counts[1] == sum(facts["quarantined"].values()) == 1
    kept = rows(made, KEPT)
    assert facts["funnel"][-1] == {"step": "kept", "documents": len(kept), "bytes": sum(r["bytes"] for r in kept)}
    assert made.manifest["rows"] == len(kept)
    for groups in facts["groups"].values():
        assert sum(group["documents_before"] for group in groups.values()) == counts[1]
        assert sum(group["bytes"] for group in groups.values()) == facts["funnel"][-1]["bytes"]
    split = facts["split"]
    for name, held in split.items():
        assert held["documents"] == sum(row["split"] == name for row in kept)
        assert held["bytes"] == sum(source["bytes"] for source in held["sources"].values())
    assert split["validation"]["sources"].keys() == {"books", "web"}


def test_reasons_count_every_failure_and_the_sole_ones(made: Artifact) -> None:
    reasons = made.facts["reasons"]
    assert reasons["c4.curly_bracket"]["documents"] == 1
    assert reasons["gopher.min_words"]["sole_documents"] == 0  # what is too short has too few sentences as well
    assert reasons["exact duplicates"]["documents"] == 1
    assert 40 < reasons["near duplicates"]["sole_documents"] <= reasons["near duplicates"]["documents"]
    assert reasons["gopher.max_words"] == {"documents": 0, "bytes": 0, "sole_documents": 0, "sole_bytes": 0}
    lost = made.facts["funnel"][1]["documents"] - made.facts["funnel"][-1]["documents"]
    assert sum(r["sole_documents"] for r in reasons.values()) <= lost <= sum(r["documents"] for r in reasons.values())


def test_kept_documents_lead_back_to_their_parents(made: Artifact, raw: Path, tmp_path: Path) -> None:
    documents = walk(raw, tmp_path).ingest()
    parents = rows(documents, DOCUMENTS)
    firsts = [sum(shard["rows"] for shard in documents.shards[:i]) for i in range(len(documents.shards))]
    for row in rows(made, KEPT):
        parent = parents[firsts[row["shard"]] + row["row"]]
        assert {name: row[name] for name in parent if name != "declared_language"} == {
            name: value for name, value in parent.items() if name != "declared_language"
        }
        assert row["language"] == "en"


def test_another_threshold_reads_no_text_again(raw: Path, tmp_path: Path) -> None:
    walking = walk(raw, tmp_path)
    first = walking.corpus()
    before = set(walking.store.keys(""))
    walking.section = corpus(**RULES, overrides=LOOSE)
    calls: list[str] = []

    def counting(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        calls.append(label)
        return serial(work, tasks, label)

    walking.engine = counting
    second = walking.corpus()
    assert second.id != first.id
    new = set(walking.store.keys("")) - before
    assert {key.split("/")[0] for key in new} == {"corpora"}
    assert second.facts["reasons"].keys() == first.facts["reasons"].keys() - {"c4.curly_bracket"}


def test_a_good_text_does_not_go_for_a_copy_that_is_itself_rejected(tmp_path: Path) -> None:
    """Dedup prefers the longer text, which the rules throw out here: its shorter twin must then stay."""
    longer = [text + "\n\nint main() { return 0; }" for text in GOOD[:20]]
    write_jsonl(tmp_path / "raw" / "a.jsonl", [*GOOD[:50], *longer, GOOD[0], longer[1]])
    walking = Walk(Store(str(tmp_path / "store")), [Source(name="s", uri=str(tmp_path / "raw"))], corpus(**RULES))
    made = walking.corpus()
    assert [row["record"] for row in rows(made, KEPT)] == list(range(50))
    assert made.facts["reasons"]["exact duplicates"]["sole_documents"] == 1
    assert made.facts["reasons"]["near duplicates"]["sole_documents"] == 0


def test_the_id_follows_the_rules_not_their_file() -> None:
    config = select.config_of(CorpusSection())
    assert select.config_of(CorpusSection(overrides={"gopher.min_words": 50})) == config
    assert select.config_of(CorpusSection(overrides={"gopher.min_words": 51})) != config
    assert config["rules"][0]["column"] == "word_count"


def test_rules_that_keep_nothing_are_an_error_with_the_top_reasons(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"keep none of \d+ documents: gopher\.min_words rejects \d+; .*corpus.overrides"
    ):
        walk(raw, tmp_path, overrides={"gopher.min_words": 1_000_000}).corpus()


def test_a_split_that_the_corpus_cannot_give_is_an_error(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"corpus.split: 1000 documents"):
        walk(raw, tmp_path, split={**SMALL_SPLIT, "min_validation_documents": 1000}).corpus()


def test_a_declared_language_decides_where_the_identification_is_unsure(tmp_path: Path) -> None:
    unsure = "Lorem zzyzx 1234 qwpl mnrt. " * 3
    for name in ("said", "unsaid"):
        write_jsonl(tmp_path / name / "a.jsonl", [unsure + name, GERMAN + name, *GOOD[:30]])
    sources = [
        Source(name="said", uri=str(tmp_path / "said"), language="de"),
        Source(name="unsaid", uri=str(tmp_path / "unsaid")),
    ]
    languages = {"allowed": ["de"], "min_score": 0.9}
    split = {"validation_fraction": 0.0, "min_validation_documents": 0, "min_validation_bytes": 0}
    section = corpus(languages=languages, split=split, dedup={"jaccard": 1.0})
    kept = rows(Walk(Store(str(tmp_path / "store")), sources, section).corpus(), KEPT)
    assert [(row["source"], row["record"], row["language"]) for row in kept] == [
        ("said", 0, "de"),
        ("said", 1, "de"),
        ("unsaid", 1, "de"),
    ]


def test_a_foreign_document_goes_for_its_language_and_an_unsure_one_for_its_score(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [GERMAN, GOOD[0], "Lorem zzyzx 1234 qwpl mnrt. " * 3])
    split = {"validation_fraction": 0.0, "min_validation_documents": 0, "min_validation_bytes": 0}
    section = corpus(languages={"allowed": ["de"], "min_score": 0.9}, split=split)
    source = Source(name="s", uri=str(tmp_path / "a.jsonl"))
    found = rows(Walk(Store(str(tmp_path / "store")), [source], section).corpus(), REJECTED)
    foreign, unsure = (row["numbers"][0] for row in sorted(found, key=lambda row: row["record_id"]))
    assert (foreign["column"], foreign["value"], foreign["op"], foreign["threshold"]) == ("refused: en", 1, "==", 0)
    assert unsure["column"].startswith("score of ") and unsure["value"] < unsure["threshold"] == 0.9


def test_attributes_of_other_documents_are_refused(raw: Path, tmp_path: Path) -> None:
    walking = walk(raw, tmp_path)
    documents = walking.ingest()
    attributes = walking.annotate(documents)
    walking.section = corpus(**{**RULES, "target_shard_bytes": 40_000})
    other = walking.ingest()
    with pytest.raises(UserError, match=r"the text attributes were made from documents \w+, not"):
        check_aligned(other, {"text": attributes["text"]})


def test_any_engine_makes_the_same_corpus_bit_by_bit(raw: Path, tmp_path: Path, made: Artifact) -> None:
    walking = walk(raw, tmp_path)

    def threads(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        with ThreadPoolExecutor(3) as pool:
            return list(reversed(list(pool.map(work, reversed(tasks)))))

    walking.engine = threads
    again = walking.corpus()
    assert again.manifest["sha256"] == made.manifest["sha256"]
    assert again.id == made.id
    assert again.facts == made.facts


@pytest.mark.parametrize("label", ["annotate-text", "select: judge", "select: write"])
def test_a_walk_that_dies_halfway_ends_in_the_same_corpus(
    raw: Path, tmp_path: Path, made: Artifact, label: str
) -> None:
    walking = walk(raw, tmp_path)

    def dying(work: Callable[[Task], Task], tasks: Sequence[Task], name: str) -> list[Task]:
        if name == label:
            serial(work, tasks[: len(tasks) // 2], name)
            raise ConnectionError("gone")
        return serial(work, tasks, name)

    walking.engine = dying
    with pytest.raises(ConnectionError):
        walking.corpus()
    walking.engine = serial
    again = walking.corpus()
    assert again.manifest["sha256"] == made.manifest["sha256"]
    assert again.facts == made.facts


def test_a_shard_of_nothing_but_bad_records_passes_through_every_step(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "raw" / "a.jsonl", [{"body": "x" * 35_000}] * 2)
    write_jsonl(tmp_path / "raw" / "b.jsonl", GOOD[:40])
    walking = Walk(Store(str(tmp_path / "store")), [Source(name="s", uri=str(tmp_path / "raw"))], corpus(**RULES))
    made = walking.corpus()
    assert made.shards[0]["rows"] == 0
    assert made.manifest["rows"] > 30
