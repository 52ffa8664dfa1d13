"""What is told of a document: everything that is known, of the run that was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raytrain import recipe as recipes
from raytrain import runs
from raytrain.observe.trace import trace
from raytrain.store import Store
from tests.observe.life import copied, curated


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


def texts_of(folder: Path, domain: str) -> list[str]:
    lines = (folder / "texts" / f"{domain}.jsonl").read_text().splitlines()
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
