"""What the recipe can ask of deduplication beyond its defaults, on a few planted documents each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain import runs
from raytrain.corpus.cuts import OBJECT as CUTS
from raytrain.corpus.dedup import DEDUP, PAIRS
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.section import Source
from raytrain.corpus.select import KEPT
from raytrain.corpus.stages import minhash
from raytrain.errors import UserError
from raytrain.recipe import Recipe
from raytrain.store import Artifact, Store
from raytrain.store.step import Task
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl

TEXT = prose.document(1, 24)
NEAR = prose.edited(TEXT, 1, 0.01)
WHOLE = {"validation_fraction": 0, "min_validation_documents": 0, "min_validation_bytes": 0}
OTHERS = [prose.document(seed, 24) for seed in range(2, 8)]


def walk(tmp_path: Path, records: Sequence[Any], store: str = "store", raw: str = "raw", **dedup: Any) -> Walk:
    write_jsonl(tmp_path / raw / "a.jsonl", records)
    source = Source(name="s", uri=str(tmp_path / raw), licence="MIT")
    return Walk(Store(str(tmp_path / store)), [source], corpus(dedup=dedup, split=WHOLE))


def searched(walking: Walk, **quality: str) -> list[dict[str, Any]]:
    documents = walking.ingest()
    made = walking.annotate(documents)
    more = {role: made[name] for role, name in quality.items()}
    return rows(walking.dedup(documents, made["minhash"], **more), DEDUP)


def gone(found: Sequence[dict[str, Any]]) -> dict[int, tuple[int, str]]:
    return {i: (row["duplicate_of"], row["rule"]) for i, row in enumerate(found) if row["duplicate_of"] is not None}


def test_of_one_url_one_document_is_kept(tmp_path: Path) -> None:
    urls = ["http://www.Example.org/A/", "https://example.org/A#part", "https://example.org/a", None, None]
    records = [{"text": text, "url": url} for text, url in zip(OTHERS, urls, strict=False)]
    longer = max((0, 1), key=lambda i: len(OTHERS[i]))
    asked = walk(tmp_path, records, url=True)
    assert gone(searched(asked)) == {1 - longer: (longer, "url")}
    assert [row["text"] for row in rows(asked.corpus(), KEPT)] == [OTHERS[longer], *OTHERS[2:5]]
    assert gone(searched(walk(tmp_path, records))) == {}


def test_the_recipe_says_whose_licence_survives(tmp_path: Path) -> None:
    copies = [{"text": TEXT, "licence": name} for name in ("unknown", "MIT", "GPL-3.0", "CC0-1.0")]
    assert set(gone(searched(walk(tmp_path, copies, licences=["CC0-1.0", "GPL-3.0"]))).values()) == {(3, "exact")}
    assert set(gone(searched(walk(tmp_path, copies, licences=["GPL-3.0"]))).values()) == {(2, "exact")}
    assert set(gone(searched(walk(tmp_path, copies))).values()) == {(1, "exact")}


def test_of_equal_licence_the_better_quality_survives_and_then_the_longer(tmp_path: Path) -> None:
    shouting = TEXT + " " + "7 " * 8  # longer, and of fewer words that are words
    assert gone(searched(walk(tmp_path, [TEXT, shouting]))) == {0: (1, "near")}
    better = walk(tmp_path, [TEXT, shouting], quality="text.alpha_word_ratio")
    assert gone(searched(better, quality="text")) == {1: (0, "near")}


def test_a_text_that_stands_in_a_longer_one_goes_if_asked(tmp_path: Path) -> None:
    long = TEXT + "\n\n" + prose.document(99, 8)
    assert gone(searched(walk(tmp_path, [TEXT, long]))) == {}
    asked = walk(tmp_path, [TEXT, long], containment=0.95, rows=4)
    assert gone(searched(asked)) == {0: (1, "contained")}
    assert [row["text"] for row in rows(asked.corpus(), KEPT)] == [long]
    pair = rows(asked.dedup(asked.ingest(), asked.annotate(asked.ingest())["minhash"]), PAIRS)[0]
    assert (pair["rule"], pair["accepted"], pair["containment"]) == ("containment >= 0.95", True, 1.0)


def test_characters_can_be_what_shingles_are_made_of(tmp_path: Path) -> None:
    chinese = "".join(chr(0x4E00 + n) for n in np.random.default_rng(0).integers(0, 3000, 800))
    records = [chinese, chinese[:400] + "好" + chinese[401:], *OTHERS]
    assert gone(searched(walk(tmp_path, records, unit="character", ngram=8))) == {1: (0, "near")}


def test_a_source_that_a_template_would_swallow_stops_the_run_until_it_is_allowed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [prose.edited(TEXT, seed, 0.005) for seed in range(100)])

    def run(name: str, until: str, **dedup: Any) -> dict[str, Any]:
        source = {"name": "s", "uri": str(tmp_path / "a.jsonl")}
        section = corpus(dedup=dedup, split=WHOLE).model_dump(mode="json")
        document = {"name": name, "store": str(tmp_path / "store"), "engine": "local", "sources": [source]}
        return runs.execute(Recipe.model_validate({**document, "corpus": section}), say=said.append, until=until)

    said: list[str] = []
    refusal = r"max_source_loss: source s would lose \d+ of its 100 documents .*jaccard"
    with pytest.raises(UserError, match=refusal):
        run("r", "select")
    assert not list(Store(str(tmp_path / "store")).keys("corpora"))
    first = run("r", "select", max_source_loss=1)["artifacts"]
    assert [line for line in said if "[dedup]" in line] == ["[dedup]"]  # it was searched once
    assert run("other", "dedup", max_source_loss=0.999)["artifacts"]["dedup"] == first["dedup"]
    with pytest.raises(UserError, match=refusal):  # whoever made it
        run("third", "select")


def test_an_earlier_corpus_removes_what_it_has_and_only_its_candidates_are_read(tmp_path: Path) -> None:
    old = walk(tmp_path, [*OTHERS[:4], TEXT], raw="old")
    earlier = old.corpus()
    documents = old.ingest()
    hit = {row["doc_id"]: i for i, shard in enumerate(documents.shards) for row in _texts(documents, i)}
    needed = {hit[row["doc_id"]] for row in rows(documents, DOCUMENTS) if row["text"] == TEXT}
    for i, shard in enumerate(documents.shards):
        if i not in needed:
            old.store.delete(shard["objects"][DOCUMENTS]["key"])
    fresh = walk(tmp_path, [NEAR, OTHERS[0], OTHERS[5]], raw="new", against=[earlier.prefix])
    kept = rows(fresh.corpus(), KEPT)
    assert [row["text"] for row in kept] == [OTHERS[5]]
    found = searched(fresh)
    assert [row["rule"] for row in found] == ["near", "exact", None]
    assert min(of for of, _ in gone(found).values()) >= 3  # numbered behind the corpus's own


def test_what_an_earlier_corpus_did_not_keep_may_come_again(tmp_path: Path) -> None:
    old = walk(tmp_path, [TEXT, NEAR, *OTHERS[:3]], raw="old")
    earlier = old.corpus()
    assert len(gone(searched(old))) == 1
    fresh = walk(tmp_path, OTHERS[:4], raw="new", against=[earlier.id])
    assert [row["text"] for row in rows(fresh.corpus(), KEPT)] == [OTHERS[3]]


def test_an_earlier_corpus_that_is_not_there_or_has_other_signatures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="against: 'nobody' is no run"):
        searched(walk(tmp_path, [TEXT], against=["nobody"]))
    earlier = walk(tmp_path, OTHERS, raw="old").corpus()
    with pytest.raises(UserError, match="ngram 5, this recipe's 4; set bands, rows, ngram and unit alike"):
        searched(walk(tmp_path, [TEXT], ngram=4, against=[earlier.id]))


def test_signatures_by_other_code_or_another_unicode_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = walk(tmp_path, OTHERS, raw="old").corpus()
    fresh = walk(tmp_path, OTHERS, raw="new", against=[earlier.id])
    version = minhash.STAGE.version
    with monkeypatch.context() as patched:
        patched.setattr("raytrain.corpus.stages.minhash.STAGE", replace(minhash.STAGE, version=99))
        with pytest.raises(UserError, match=rf"version {version}, this recipe's 99; make that corpus again"):
            searched(fresh)
    monkeypatch.setattr("unicodedata.unidata_version", "99.0.0")
    with pytest.raises(UserError, match=r"unicode [0-9.]+, this recipe's 99\.0\.0; make that corpus again"):
        searched(fresh)


def test_a_span_that_an_earlier_document_has_is_cut_but_for_its_ends(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(300)]
    passage = " ".join(words[:150])
    texts = [f"{OTHERS[0]} {passage} {OTHERS[1]}", f"{OTHERS[2]} {passage} {OTHERS[3]}", OTHERS[4]]
    walking = walk(tmp_path, texts, span_words=50)
    documents = walking.ingest()
    found = walking.dedup(documents, walking.annotate(documents)["minhash"])
    cut = rows(found, CUTS)
    assert len(cut) == 1
    raw = texts[1].encode()
    inside = raw[cut[0]["start"] : cut[0]["end"]].decode()
    assert inside in passage
    assert len(inside.split()) >= 150 - 2 * 15
    kept = [row["text"] for row in rows(walking.corpus(), KEPT)]
    assert kept[0] == texts[0]
    assert kept[1].encode() == raw[: cut[0]["start"]] + raw[cut[0]["end"] :]


def test_short_texts_between_long_ones_lend_and_lose_no_span(tmp_path: Path) -> None:
    words = [" ".join(f"w{seed}x{n}" for n in range(30 if seed % 2 else 200)) for seed in range(60)]
    walking = walk(tmp_path, words, span_words=50)
    assert [(row["text"], row["cut_bytes"]) for row in rows(walking.corpus(), KEPT)] == [(text, 0) for text in words]


def test_a_last_shard_without_documents_is_searched_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.corpus.dedup.pool.RANGE_DOCUMENTS", 2)
    walking = walk(tmp_path, [TEXT, NEAR, *OTHERS[:2]], span_words=20)
    write_jsonl(tmp_path / "raw" / "b.jsonl", [{"text": None}] * 3)
    walking.section = walking.section.model_copy(update={"target_shard_bytes": 1})
    documents = walking.ingest()
    assert documents.shards[-1]["rows"] == 0
    found = walking.dedup(documents, walking.annotate(documents)["minhash"])
    assert len(gone(rows(found, DEDUP))) == 1
    assert walking.corpus().manifest["rows"] == 3


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same_tables(tmp_path: Path, workers: int) -> None:
    records = [TEXT, NEAR, TEXT, *OTHERS, *(prose.edited(text, 3, 0.02) for text in OTHERS)]

    def together(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        with ThreadPoolExecutor(workers) as pool:  # tasks and records travel as JSON, as they do between machines
            return list(pool.map(lambda task: json.loads(json.dumps(work(json.loads(json.dumps(task))))), tasks))

    alone = walk(tmp_path, records, span_words=20)
    shared = walk(tmp_path, records, store="other", span_words=20)
    shared.engine = together
    sums = [
        made.dedup(made.ingest(), made.annotate(made.ingest())["minhash"]).manifest["sha256"]
        for made in (alone, shared)
    ]
    assert sums[0] == sums[1]


def _texts(documents: Artifact, shard: int) -> list[dict[str, Any]]:
    from raytrain.store.artifact import read_table

    return list(read_table(documents, shard, DOCUMENTS, ["doc_id"]).to_pylist())


def test_the_column_of_quality_is_a_stage_of_the_recipe_or_is_refused() -> None:
    from raytrain import pipeline

    def parents(column: str) -> dict[str, str]:
        dedup = {"quality": column}
        document = {"name": "r", "sources": [{"name": "s", "uri": "s"}], "corpus": {"rules": [], "dedup": dedup}}
        steps = {step.name: step for step in pipeline.steps_of(Recipe.model_validate(document))}
        assert set(steps["dedup"].parents.values()) <= set(steps)
        return dict(steps["dedup"].parents)

    assert parents("text.alpha_word_ratio")["quality"] == "annotate-text"
    with pytest.raises(UserError, match="quality: no stage makes"):
        parents("text.beauty")
