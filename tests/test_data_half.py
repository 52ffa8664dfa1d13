"""Evaluation sets and difficulty bins through the steps of a recipe, from raw text to token groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from raytrain import pipeline, recipe, runs
from raytrain.cli.app import app
from raytrain.errors import UserError
from raytrain.observe.supply import supply
from raytrain.store import Artifact, Store
from raytrain.store.artifact import read_table
from tests.corpus import prose
from tests.corpus.walk import SMALL_SPLIT, write_jsonl

QUESTION = "Which of these inventions let a sailor of that century find out how far to the east of home he was?"
LEAKED = 3
SECTION = """
name: {name}
engine: local
sources: [{{name: tales, uri: text.jsonl}}]
corpus:
  target_shard_bytes: 20_000
  max_document_bytes: 50_000
  rules: []
  languages: {{allowed: []}}
  split: {split}
  decontaminate:
    action: {action}
    sets: [{{name: quiz, uri: quiz.jsonl}}]
  difficulty: {{by: rarity, bins: 3}}
tokenizer: {{vocab_size: 300}}
model: {{depth: 1, width: 32, context: 16}}
"""


def texts() -> list[str]:
    """Sixty documents of two domains; every twentieth holds the question."""
    held = [prose.document(seed, 10) for seed in range(60)]
    return [
        f"{text}\n\n{QUESTION} {prose.document(900 + i, 4)}" if i % 20 == 0 else text for i, text in enumerate(held)
    ]


def carried(folder: Path, action: str) -> tuple[Store, str, dict[str, Artifact]]:
    records = [{"text": text, "domain": "sea" if i % 2 else "law"} for i, text in enumerate(texts())]
    write_jsonl(folder / "text.jsonl", records)
    write_jsonl(folder / "quiz.jsonl", [{"id": "east", "question": QUESTION}])
    path = folder / f"{action}.yaml"
    path.write_text(SECTION.format(name=action, action=action, split=json.dumps(SMALL_SPLIT)))
    loaded = recipe.load(str(path), store=str(folder / "store"))
    runs.execute(loaded, say=lambda line: None, until="tokenize")
    store = Store(loaded.store)
    return store, action, pipeline.look(loaded, store, lambda line: None)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("half")


@pytest.fixture(scope="module")
def dropped(folder: Path) -> tuple[Store, str, dict[str, Artifact]]:
    return carried(folder, "drop")


def kept(made: dict[str, Artifact]) -> Any:
    corpus = made["select"]
    return pa.concat_tables([read_table(corpus, i, "kept.parquet") for i in range(len(corpus.shards))])


def test_contaminated_documents_go_with_a_reason_of_their_own(dropped: tuple[Store, str, dict[str, Artifact]]) -> None:
    made = dropped[2]
    assert made["select"].facts["reasons"]["decontamination.overlap"]["documents"] == LEAKED
    assert not any(QUESTION in text for text in kept(made)["text"].to_pylist())


def test_a_cut_takes_the_question_and_leaves_the_rest(folder: Path, dropped: Any) -> None:
    _, _, made = carried(folder, "cut")
    table = kept(made)
    assert table.num_rows == kept(dropped[2]).num_rows + LEAKED
    assert not any(QUESTION in text for text in table["text"].to_pylist())
    cut = np.array(table["cut_bytes"].to_pylist())
    assert (cut > 0).sum() == LEAKED and cut[cut > 0].min() >= len(QUESTION)


def test_bins_rise_with_difficulty_within_each_domain_and_become_token_groups(
    dropped: tuple[Store, str, dict[str, Artifact]],
) -> None:
    made = dropped[2]
    table = kept(made)
    numbers = [
        read_table(made["annotate-difficulty"], i, "difficulty.parquet") for i in range(len(made["ingest"].shards))
    ]
    rarity = np.array(
        [
            numbers[s]["rarity"][r].as_py()
            for s, r in zip(*(table[c].to_pylist() for c in ("shard", "row")), strict=True)
        ]
    )
    bins, domain = np.array(table["bin"].to_pylist()), np.array(table["domain"].to_pylist())
    for name in ("law", "sea"):
        spans = [rarity[(domain == name) & (bins == b)] for b in range(3)]
        assert all(len(span) for span in spans)
        assert spans[0].max() <= spans[1].min() and spans[1].max() <= spans[2].min()
    groups = made["tokenize"].facts["groups"]
    assert [(g["domain"], g["bin"]) for g in groups] == [(d, b) for d in ("law", "sea") for b in range(3)]
    assert all(g["tokens"] for g in groups)


def test_supply_counts_by_quarters_of_a_column(dropped: tuple[Store, str, dict[str, Artifact]]) -> None:
    store, run, made = dropped
    found = supply(store, run, quality="difficulty.rarity")
    tokens = np.array([row["tokens"] for row in found["kinds"]])
    assert tokens.sum() == made["tokenize"].facts["train_tokens"]
    by_band = {
        band: sum(r["tokens"] for r in found["kinds"] if r["band"] == band)
        for band in {r["band"] for r in found["kinds"]}
    }
    assert len(by_band) == 4
    assert np.array(list(by_band.values())) / tokens.sum() == pytest.approx([0.25] * 4, abs=0.05)


def test_the_command_prints_a_table_or_one_object(dropped: tuple[Store, str, dict[str, Artifact]]) -> None:
    store, run, _ = dropped
    schema = json.loads((Path(__file__).parent.parent / "docs/schemas/data-supply.json").read_text())
    for options in ([], ["--tokens", "1e6", "--quality", "difficulty.words"]):
        arguments = ["data", "supply", run, "--store", store.uri, *options]
        printed, told = CliRunner().invoke(app, arguments), CliRunner().invoke(app, [*arguments, "--json"])
        assert printed.exit_code == told.exit_code == 0, printed.output + told.output
        jsonschema.validate(json.loads(told.output), schema)
        assert "repetition costs" in printed.output and "sea, bin 2" in printed.output


def test_a_damaged_evaluation_set_is_told_before_anything_is_read(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "text.jsonl", texts()[:2])
    (tmp_path / "quiz.jsonl").write_text('{"question": "Who?"}\n{"question": ')
    path = tmp_path / "r.yaml"
    path.write_text(SECTION.format(name="r", action="drop", split=json.dumps(SMALL_SPLIT)))
    with pytest.raises(UserError, match=r"quiz.jsonl: line 2"):
        runs.execute(recipe.load(str(path), store=str(tmp_path / "store")), say=lambda line: None)
    assert not (tmp_path / "store").exists() or not list((tmp_path / "store").iterdir())
