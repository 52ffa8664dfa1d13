"""Which documents a training step was made of: recomputed from the order, looked up in the shards."""

from __future__ import annotations

from typing import Any

import numpy as np

from raytrain.errors import UserError
from raytrain.model.section import ModelSection
from raytrain.observe.collect import artifacts_of, collect
from raytrain.store import Artifact, Store
from raytrain.store.artifact import read_table
from raytrain.tokens.loader import Tokens
from raytrain.train.batch_plan import batch_plan
from raytrain.train.checkpoint import list_checkpoints
from raytrain.train.data import order_of
from raytrain.train.section import TrainSection

COLUMNS = ("doc_id", "record_id", "source", "licence", "origin", "url", "file", "record")


def data_at(store: Store, run: str, step: int) -> dict[str, Any]:
    """The sequences of optimizer step `step` (from 1) in the surviving history, with the documents they cut through.

    Raises UserError for an unknown run, one that is not tokenized yet, or a step beyond its last.
    """
    facts = collect(store, run)
    made = artifacts_of(store, run)
    if "tokenize" not in made:
        raise UserError(f"run {run!r} has no tokens yet; run its recipe up to the step tokenize")
    recipe = facts["recipe"]
    model = ModelSection.model_validate(recipe["model"])
    vocab_size = int(made["tokenizer"].facts["vocab_size"])
    train = TrainSection.model_validate(recipe["train"]).resolved(model, vocab_size)
    assert train.max_steps
    if not 1 <= step <= train.max_steps:
        raise UserError(f"--step {step}: run {run!r} has the steps 1 to {train.max_steps}; take one of them")
    tokens = Tokens(made["tokenize"])
    order = order_of(tokens, train, int(recipe["seed"]), model.context)
    known = [c for c in list_checkpoints(store, run) if c.step >= step]
    skips = tuple((a, b) for a, b in known[0].manifest["skips"]) if known else ()
    plan = batch_plan(step - 1, train, skips)
    at = order.locate(plan.sequences.ravel())
    columns = {}
    sequences = []
    per_leaf = plan.sequences.shape[1]
    for i, (number, group, window, turn) in enumerate(
        zip(plan.sequences.ravel().tolist(), at.group.tolist(), at.window.tolist(), at.passes.tolist(), strict=True)
    ):
        start = window * model.context
        documents, left = [], model.context + 1
        while left > 0:
            shard, position = tokens.shard_of(group, start)
            if (shard, group) not in columns:
                columns[(shard, group)] = _documents(made["tokenize"], shard, group)
            taken, count = _between(columns[(shard, group)], position, left)
            documents += taken
            start, left = start + count, left - count
        sequences.append(
            {
                "sequence": number,
                "microbatch": i // per_leaf,
                "domain": tokens.groups[group],
                "window": window,
                "pass": turn,
                "documents": documents,
            }
        )
    return {"run": run, "step": step, "learning_rate": plan.learning_rate, "sequences": sequences}


def _documents(artifact: Artifact, shard: int, group: int) -> dict[str, Any]:
    """A shard's training documents of a group in the order of its .bin, with their ends."""
    table = read_table(artifact, shard, "documents.parquet")
    rows = [r for r in table.to_pylist() if r["split"] == "train" and r["group"] == group]
    return {"rows": rows, "ends": np.cumsum([r["tokens"] for r in rows])}


def _between(documents: dict[str, Any], start: int, count: int) -> tuple[list[dict[str, Any]], int]:
    """The documents in [start, start + count) of a shard's stream, and how many of these tokens it holds."""
    ends = documents["ends"]
    stop = min(start + count, int(ends[-1]))
    found = []
    index = int(np.searchsorted(ends, start, side="right"))
    at = start
    while at < stop:
        row = documents["rows"][index]
        last = min(int(ends[index]), stop)
        begin = int(ends[index]) - row["tokens"]
        found.append({**{c: row.get(c) for c in COLUMNS}, "first_token": at - begin, "tokens": last - at})
        at, index = last, index + 1
    return found, stop - start
