"""The account of a run's text: counted as the trainer counts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from raytrain.errors import UserError
from raytrain.observe.supply import quarters, supply
from raytrain.store import Store, open_artifact
from raytrain.store.artifact import read_table
from raytrain.tokens.loader import Tokens
from raytrain.train.batch_plan import batch_plan
from raytrain.train.data import order_of
from raytrain.train.section import TrainSection

MODEL = {"depth": 1, "width": 32, "context": 16}
TRAIN = {"max_steps": 40, "batch_sequences": 16, "mixture": {"verse": 3.0, "prose": 1.0}}


def bound(store: Store, **train: Any) -> Store:
    """A run `r` over the store's tokens."""
    recipe = {"model": MODEL, "train": {**TRAIN, **train}, "seed": 5}
    store.put("runs/r/recipe.json", json.dumps({"recipe": recipe, "identity": {}, "hash": ""}).encode())
    made = {"select": "corpora/x", "tokenizer": "tokenizers/x", "tokenize": "tokens/x"}
    store.put("runs/r/lineage.json", json.dumps(made).encode())
    return store


def test_what_is_seen_is_what_the_trainer_reads(store: Store) -> None:
    found = supply(bound(store), "r")
    artifact = open_artifact(store, "tokens/x")
    assert artifact is not None
    tokens, train = Tokens(artifact), TrainSection.model_validate(TRAIN | {"microbatches": 16, "learning_rate": 1.0})
    order = order_of(tokens, train, 5, MODEL["context"])
    numbers = np.concatenate([batch_plan(step, train).sequences.ravel() for step in range(40)])
    read = np.bincount(order.locate(numbers).group, minlength=len(tokens.groups)) * MODEL["context"]
    assert [group["seen"] for group in found["groups"]] == read.tolist()
    assert found["seen"] == 40 * 16 * MODEL["context"]
    assert [g["passes"] for g in found["groups"]] == [s / tokens.tokens_in(k) for k, s in enumerate(read)]


def test_every_training_token_is_accounted_for_once(store: Store) -> None:
    found = supply(bound(store), "r")
    artifact = open_artifact(store, "tokens/x")
    assert artifact is not None
    assert found["tokens"] == artifact.facts["train_tokens"]
    for name in ("groups", "domains", "kinds"):
        assert sum(row["tokens"] for row in found[name]) == found["tokens"]
    rows = [r for s in range(len(artifact.shards)) for r in read_table(artifact, s, "documents.parquet").to_pylist()]
    assert sum(row["documents"] for row in found["kinds"]) == sum(row["split"] == "train" for row in rows)
    assert {(row["domain"], row["licence"]) for row in found["kinds"]} == {("prose", "CC0-1.0"), ("verse", "CC0-1.0")}


def test_more_passes_are_worth_less_and_cost_loss(store: Store) -> None:
    few, many = (supply(bound_once, "r", tokens=n) for bound_once in [bound(store)] for n in (1e3, 1e7))
    assert few["loss"]["extra"] == pytest.approx(0, abs=1e-9)
    assert many["loss"]["extra"] > 0.1
    assert many["effective"] < many["seen"] and all(d["passes"] > 4 for d in many["domains"])


def test_quarters_hold_equal_tokens_and_equal_values_stand_together() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(1, 100, 1000)
    values = np.round(draw.random(1000), 2)
    found = quarters(values, tokens)
    assert np.bincount(found, tokens) / tokens.sum() == pytest.approx([0.25] * 4, abs=0.03)
    assert all(len(set(found[values == value])) == 1 for value in set(values.tolist()))
    assert (np.diff(found[np.argsort(values, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("tokens", [float("nan"), float("inf"), -float("inf"), 3.0])
def test_a_horizon_that_is_none_is_refused(store: Store, tokens: float) -> None:
    with pytest.raises(UserError, match="--tokens: "):
        supply(bound(store), "r", tokens=tokens)


def test_what_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(UserError, match="'nobody' is not in"):
        supply(store, "nobody")
    with pytest.raises(UserError, match="no stage 'text'"):
        supply(bound(store), "r", quality="lines")
