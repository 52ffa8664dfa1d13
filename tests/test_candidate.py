"""A candidate source is judged by what it would add to what a store already holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from raytrain import runs
from raytrain.candidate import try_source
from raytrain.cli.app import app
from raytrain.cli.source import judgement
from raytrain.corpus.section import Source
from raytrain.errors import UserError
from raytrain.recipe import Recipe
from tests.corpus import prose
from tests.corpus.walk import SMALL_SPLIT, write_jsonl

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/schemas/source-try.json").read_text())
CORPUS = {"target_shard_bytes": 20_000, "max_document_bytes": 50_000, "rules": ["gopher"], "split": SMALL_SPLIT}


def recipe(folder: Path, **options: Any) -> Recipe:
    source = {"name": "old", "uri": str(folder / "old.jsonl"), "domain": "tales"}
    base = {"name": "first", "store": str(folder / "store"), "engine": "local", "sources": [source], "corpus": CORPUS}
    return Recipe.model_validate(base | options)


def silent(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one corpus of 30 documents, and a candidate of 17: 10 new, the others not."""
    folder = tmp_path_factory.mktemp("candidate")
    old = [prose.document(seed, 20) for seed in range(30)]
    write_jsonl(folder / "old.jsonl", old)
    runs.execute(recipe(folder), say=silent, until="select")
    new = [prose.document(seed, 20) for seed in range(100, 110)]
    near = [prose.edited(old[seed], seed, 0.008) for seed in (4, 5)]
    known, inside, short = [old[1], old[2]], [new[0], prose.edited(new[1], 1, 0.008)], ["Too short to be kept."]
    records = [{"text": text, "licence": "CC0-1.0"} for text in (*new, *known, *near, *inside, *short)]
    write_jsonl(folder / "new.jsonl", records)
    return folder


@pytest.fixture(scope="module")
def judged(folder: Path) -> dict[str, Any]:
    source = Source(name="offer", uri=str(folder / "new.jsonl"), usd=5.0)
    return try_source(recipe(folder), source, against=None, say=silent)


def test_what_is_known_repeated_and_new_is_told_apart(judged: dict[str, Any]) -> None:
    counts = {name: judged[name]["documents"] for name in ("known", "repeated_inside", "novel", "novel_and_passes")}
    assert judged["read"]["documents"] == 17
    assert counts == {"known": 4, "repeated_inside": 2, "novel": 11, "novel_and_passes": 10}
    assert judged["passes_rules"]["documents"] == 16
    assert judged["compared_with"] == ["first"]
    assert [held["documents"] for held in judged["known_by_corpus"]] == [4]
    assert judged["reasons"][0]["rule"].startswith("gopher.") or judged["reasons"][0]["rule"].endswith("duplicates")


def test_its_price_is_by_what_is_new_and_kept(judged: dict[str, Any]) -> None:
    tokens = judged["novel_and_passes"]["bytes"] / judged["bytes_per_token"]
    assert judged["tokens"] == round(tokens)
    assert judged["usd_per_million_tokens"] == pytest.approx(1e6 * 5.0 / judged["tokens"])
    assert judged["licences"] == {"CC0-1.0": 1.0}
    assert max(judged["languages"], key=judged["languages"].__getitem__) == "en"


def test_asking_again_reads_nothing_again(folder: Path, judged: dict[str, Any]) -> None:
    said: list[str] = []
    source = Source(name="offer", uri=str(folder / "new.jsonl"), usd=7.0)
    again = try_source(recipe(folder), source, against=None, say=said.append)
    assert any("nothing to do" in line for line in said)
    assert again["run"] == judged["run"] and again["novel"] == judged["novel"]


def test_a_source_that_a_run_reads_already_is_not_compared_with_it(folder: Path) -> None:
    source = Source(name="old", uri=str(folder / "old.jsonl"))
    found = try_source(recipe(folder), source, against=None, say=silent)
    assert found["compared_with"] == [] and "already" in found["passed_over"]["first"]
    assert found["known"]["documents"] == 0 and found["novel"]["documents"] == 30
    asked = try_source(recipe(folder), source, against=["first"], say=silent)
    assert asked["novel"]["documents"] == 0 and asked["known"]["documents"] == 30
    assert asked["tokens"] == 0 and asked["usd_per_million_tokens"] is None


def test_signatures_of_another_kind_are_named_and_not_mixed(folder: Path) -> None:
    other = recipe(folder, corpus={**CORPUS, "dedup": {"bands": 20, "rows": 5}})
    found = try_source(other, Source(name="offer", uri=str(folder / "new.jsonl")), against=None, say=silent)
    assert "another kind" in found["passed_over"]["first"] and found["known"]["documents"] == 0


def test_an_unknown_run_is_refused_before_anything_is_read(folder: Path) -> None:
    with pytest.raises(UserError, match="nobody"):
        try_source(recipe(folder), Source(name="x", uri="/nowhere"), against=["nobody"], say=silent)


def test_the_command_takes_a_place_and_prints_one_object(folder: Path, judged: dict[str, Any]) -> None:
    jsonschema.validate(judged, SCHEMA)
    store = ["--store", str(folder / "store")]
    done = CliRunner().invoke(app, ["source", "try", str(folder / "new.jsonl"), "--usd", "5", "--json", *store])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output.splitlines()[-1])
    jsonschema.validate(found, SCHEMA)
    assert found["source"] == "candidate" and found["usd"] == 5.0
    assert found["known"] == judged["known"] and found["compared_with"] == ["first"]


def test_the_table_says_it_in_lines(judged: dict[str, Any]) -> None:
    text = "\n".join(judgement(judged))
    for piece in ("compared with first", "known already", "novel and pass", "a million novel tokens", "CC0-1.0 100.0%"):
        assert piece in text
