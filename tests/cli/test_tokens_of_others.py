"""Either half serves alone: data made here and trained on elsewhere, data made elsewhere and trained on here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from raytrain.store import Artifact, Store, open_artifact

from .conftest import RECIPE, Call, Finished


def made(store: Path, run: str, step: str) -> Artifact:
    lineage = json.loads((store / f"runs/{run}/lineage.json").read_text())
    found = open_artifact(Store(str(store)), lineage[step])
    assert found is not None
    return found


def training_ids(tokens: Artifact) -> list[int]:
    parts = [
        np.frombuffer(tokens.get(s["shard"], name), tokens.facts["dtype"])
        for k in range(len(tokens.facts["groups"]))
        for s in tokens.shards
        if (name := f"train-{k}.bin") in s["objects"]
    ]
    return [int(i) for i in np.concatenate(parts)]


def recipe_of(folder: Path, layout: str, **more: Any) -> Path:
    document = {k: v for k, v in RECIPE.items() if k not in ("corpus", "sources")} | {
        "name": "theirs",
        "sources": [{"name": "theirs", "uri": str(folder), "format": layout}],
        "tokenizer": {"file": str(folder / "tokenizer.json")},
        "train": RECIPE["train"] | {"max_steps": 2},
    }
    path = folder.parent / f"{layout}.yaml"
    path.write_text(yaml.safe_dump(document | more))
    return path


@pytest.mark.slow
def test_datatroves_shards_are_trained_on_to_the_end(call: Call, finished: Finished, tmp_path: Path) -> None:
    """The same ids as our own steps made, in datatrove's files."""
    tokens = made(finished.store, finished.run, "tokenize")
    folder = tmp_path / "shards"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(made(finished.store, finished.run, "tokenizer").get(0, "tokenizer.json"))
    ids = np.array(training_ids(tokens), "<u2")
    ends = np.flatnonzero(ids == 0) + 1  # the end-of-text of a tokenizer trained here
    (folder / "00000.ds").write_bytes(ids.tobytes())
    (folder / "00000.ds.index").write_bytes(ends.astype("<u8").tobytes())
    (folder / "00000.ds.metadata").write_text(f"tokenizer.json|2\n{len(ids)}\n1 KT")
    store = tmp_path / "store"
    done = call("run", recipe_of(folder, "datatrove"), "--store", store, "--json").json
    assert (done["state"], done["step"]) == ("succeeded", 2)
    theirs = made(store, "theirs", "tokenize").facts
    assert theirs["train_tokens"] + theirs["validation"]["tokens"] == len(ids)
    assert (store / "runs/theirs/report.html").exists()
    at = call("data", "at", "--run", "theirs", "--step", "1", "--store", store, "--json").json
    assert {d["file"] for s in at["sequences"] for d in s["documents"]} == {"00000.ds"}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["megatron", "nanogpt"])
def test_what_leaves_comes_back_with_the_same_tokens(
    call: Call, finished: Finished, tmp_path: Path, layout: str
) -> None:
    folder = tmp_path / "out"
    said = call("data", "export", finished.run, "--format", layout, "--to", folder, "--store", finished.store)
    assert said.code == 0, said.err
    said = call("run", recipe_of(folder, layout), "--store", tmp_path / "store", "--until", "tokenize")
    assert said.code == 0, said.err
    ours, theirs = made(finished.store, finished.run, "tokenize"), made(tmp_path / "store", "theirs", "tokenize")
    total = [f["train_tokens"] + f["validation"]["tokens"] for f in (ours.facts, theirs.facts)]
    assert total[0] == total[1]
    # A file called validation stays what it was; more is drawn from the others.
    assert theirs.facts["validation"]["documents"] >= ours.facts["validation"]["documents"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tokenizer": {}}, "tokenizer.file: name the tokenizer.json that made the tokens of theirs"),
        ({"sources": [{"name": "a", "uri": "x"}, {"name": "b", "uri": "y", "format": "nanogpt"}]}, "a run of each"),
    ],
)
def test_tokens_without_their_tokenizer_or_beside_text_are_refused_at_once(
    call: Call, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert says in call("run", recipe_of(folder, "nanogpt", **change), "--store", tmp_path / "store").at_once


def test_an_export_that_cannot_be_is_one_line(call: Call, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert (
        "there are megatron"
        in call("data", "export", "x", "--format", "csv", "--to", tmp_path, "--store", store).at_once
    )
    assert "no run" in call("data", "export", "x", "--to", tmp_path / "out", "--store", store).at_once


@pytest.mark.slow
def test_a_plan_counts_tokens_by_the_size_of_their_files(call: Call, finished: Finished, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(made(finished.store, finished.run, "tokenizer").get(0, "tokenizer.json"))
    shards = tmp_path / "shards"
    shards.mkdir()
    (shards / "train.bin").write_bytes(bytes(2 * 50_000))
    source = {"name": "theirs", "uri": str(shards), "format": "nanogpt"}
    planned = call("plan", recipe_of(folder, "nanogpt", sources=[source]), "--store", tmp_path / "s", "--json").json
    assert planned["data"]["tokens"]["value"] == 50_000
