"""What is told of a document: everything that is known, of the run that was asked for."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from raytrain import recipe as recipes
from raytrain import runs
from raytrain.observe.collect import artifacts_of, collect
from raytrain.observe.report.documents import rejected
from raytrain.observe.trace import trace
from raytrain.store import Store
from tests.observe.life import WORDS, copied, curated


def curate(folder: Path, name: str, texts: list[str] | None = None, **corpus: Any) -> None:
    """Another run in the store of `curated`, as far as its corpus: of its sources, or of these texts."""
    document = json.loads((folder / "texts" / "recipe.yaml").read_text()) | {"name": name}
    if texts is not None:
        (folder / "texts" / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        document["sources"] = [{"name": name, "uri": f"{name}.jsonl", "domain": "verse"}]
    document["corpus"] |= corpus
    path = folder / "texts" / f"{name}.yaml"
    path.write_text(json.dumps(document))
    runs.execute(recipes.load(str(path)), say=lambda line: None, until="select")


def texts_of(folder: Path) -> list[str]:
    """What `lives` has of the source verse."""
    lines = (folder / "texts" / "verse.jsonl").read_text().splitlines()
    return [json.loads(line)["text"] for line in lines[:40]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run `lives`, and `short`: the same data under a curriculum that cannot be planned."""
    held = tmp_path_factory.mktemp("traced")
    store = curated(held)
    copied(store, "lives", "short")
    bound = json.loads(store.get("runs/short/recipe.json"))
    bound["recipe"]["train"] |= {"max_steps": 8, "curriculum": [{"until": u, "bins": [1.0]} for u in (0.5, 1.0)]}
    store.replace("runs/short/recipe.json", json.dumps(bound).encode())
    return held


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(str(folder / "store"))


def test_a_run_that_cannot_be_planned_hides_nothing_of_what_it_shares(store: Store) -> None:
    names = [f"verse/verse.jsonl/{i}" for i in range(4)]
    held = [trace(store, name)["records"][0]["corpora"][0] for name in names]
    (tokens,) = next(corpus["tokens"] for corpus in held if corpus.get("split") == "train")
    assert tokens["steps"] == {"lives": []}
    assert "stage 1 lasts less than 1024 sequences" in tokens["unordered"]["short"]


def test_a_trace_of_one_run_tells_of_no_other(folder: Path, store: Store) -> None:
    curate(folder, "bare", rules=[])
    name = "verse/verse.jsonl/1"
    told = {
        run: [c["runs"] for r in trace(store, name, run)["records"] for c in r["corpora"]]
        for run in (None, "bare", "lives")
    }
    assert sorted(told[None]) == [["bare"], ["lives", "short"]]
    assert (told["bare"], told["lives"]) == ([["bare"]], [["lives"]])


@pytest.fixture(scope="module")
def again(folder: Path, store: Store) -> Store:
    """Run `again`: two texts that `lives` has, a text that stands twice, one of an evaluation set, and news."""
    draw = random.Random(1)
    news = [" ".join(draw.choices(WORDS, k=60)) + "." for _ in range(12)]
    item = " ".join(news[4].split()[5:35])
    (folder / "texts" / "quiz.jsonl").write_text(json.dumps({"id": "q7", "question": item}))
    curate(
        folder,
        "again",
        [texts_of(folder)[3], *news, news[2]],
        dedup={"against": ["lives"]},
        decontaminate={"sets": [{"name": "quiz", "uri": "quiz.jsonl"}]},
    )
    return store


def told(store: Store, number: int) -> dict[str, Any]:
    ((corpus,),) = [record["corpora"] for record in trace(store, f"again/again.jsonl/{number}")["records"]]
    return dict(corpus)


def test_a_copy_is_named_by_its_record_and_by_the_corpus_that_has_it(again: Store) -> None:
    lives = artifacts_of(again, "lives")["select"]
    earlier = told(again, 0)["duplicate_of"]
    assert (earlier["record_id"], earlier["corpus"]) == ("verse/verse.jsonl/3", lives.prefix)
    own = told(again, 13)["duplicate_of"] or told(again, 3)["duplicate_of"]
    assert own["record_id"] in ("again/again.jsonl/3", "again/again.jsonl/13") and own["corpus"] is None
    columns = [number["column"] for row in collect(again, "again")["rejected"] for number in row["numbers"]]
    assert f"jaccard with verse/verse.jsonl/3 of {lives.prefix}" in columns
    assert f"jaccard with {own['record_id']}" in columns


def test_a_contaminated_document_tells_set_item_and_words(folder: Path, again: Store) -> None:
    item = json.loads((folder / "texts" / "quiz.jsonl").read_text())["question"]
    (match,) = told(again, 5)["matches"]
    assert (match["set"], match["item"], match["overlap"], match["text"]) == ("quiz", "q7", 1.0, item)
    assert told(again, 6)["matches"] == []
    (row,) = [row for row in collect(again, "again")["rejected"] if "decontamination.overlap" in row["reasons"]]
    assert [row["text"][start:end] for start, end in row["spans"]] == [item]
    page = rejected({"rejected": [row]})
    assert "quiz, item q7, overlap 1" in page and f"<mark>{item}</mark>" in page
