"""What another threshold would keep, as a recipe's owner asks for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from raytrain import recipe as recipes
from raytrain import runs
from raytrain.cli.curate import _print, answer
from raytrain.errors import UserError
from raytrain.recipe import Recipe
from tests.corpus import prose

QUESTION = "Which of these inventions let a sailor of the eighteenth century find out how far west of home he was?"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A curated recipe: one rule counts words as datatrove does, and one document has an item to be cut."""
    folder = tmp_path_factory.mktemp("curate")
    texts = [prose.document(seed, 8 + seed % 6) for seed in range(20)]
    texts.append(f"{texts[5][::-1]}\n{QUESTION}")
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "quiz.jsonl").write_text(json.dumps({"text": QUESTION}))
    theirs = {"splitter": "datatrove", "rules": {"long": "word_count >= 175"}}
    document: dict[str, Any] = {
        "name": "asked",
        "store": str(folder / "store"),
        "engine": "local",
        "sources": [{"name": "s", "uri": "a.jsonl", "licence": "CC0-1.0"}],
        "corpus": {
            "rules": [{"theirs": theirs, "ours": {"letters": "alpha_word_ratio >= 0.1"}}],
            "overrides": {},
            "languages": {"allowed": []},
            "decontaminate": {"sets": [{"name": "quiz", "uri": str(folder / "quiz.jsonl")}], "action": "cut"},
            "split": {"min_validation_documents": 1, "min_validation_bytes": 1},
        },
        "tokenizer": {"vocab_size": 300},
    }
    (folder / "recipe.yaml").write_text(json.dumps(document))
    loaded = recipes.load(str(folder / "recipe.yaml"))
    runs.execute(loaded, say=lambda line: None, until="select")
    return loaded


def test_the_only_rule_of_a_stage_may_be_dropped(recipe: Recipe, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(recipe, ["theirs.long=null"])
    short = found["before"]["reasons"]["theirs.long"]["documents"]
    assert found["added"]["documents"] == short > 0
    _print(found)
    printed = {line.split("  ")[0]: line.split()[-3:] for line in capsys.readouterr().out.splitlines()}
    assert [name for name in printed if name.startswith("after")][:2] == ["after theirs", "after ours"]
    assert printed["after theirs"][1:] == ["->", "-"]  # the step is gone, and no other is taken for it


def test_without_cuts_the_texts_are_counted_whole(recipe: Recipe) -> None:
    found = answer(recipe, ["decontaminate.sets=[]"])
    whole, cut = (found[when]["groups"]["source"]["s"] for when in ("after", "before"))
    assert whole["documents"] == cut["documents"] and whole["bytes"] - cut["bytes"] >= len(QUESTION)
    assert "cut away" in found["before"]["reasons"] and "cut away" not in found["after"]["reasons"]


def test_what_needs_numbers_that_are_not_stored_is_refused_by_the_step(recipe: Recipe) -> None:
    with pytest.raises(UserError, match=r"changes the step annotate-difficulty, whose numbers are not stored"):
        answer(recipe, ["difficulty.by=words"])
