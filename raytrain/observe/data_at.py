"""Which documents a training step was made of, and which steps saw a document: recomputed from the order."""

from __future__ import annotations

from typing import Any

import numpy as np

from raytrain.errors import UserError
from raytrain.ledger import account, read_events
from raytrain.model.section import ModelSection
from raytrain.observe.collect import artifacts_of, known
from raytrain.store import Artifact, Store
from raytrain.store.artifact import read_table
from raytrain.tokens.loader import Tokens
from raytrain.train.batch_plan import Range, batch_plan, skip_over
from raytrain.train.checkpoint import list_checkpoints
from raytrain.train.data import order_of
from raytrain.train.section import TrainSection

COLUMNS = ("doc_id", "record_id", "source", "licence", "origin", "url", "file", "record")
SEQUENCES = 1 << 20  # that are looked up in the order at a time


class Training:
    """The order in which a run meets its tokens; what it has not trained on yet is planned all the same.

    Raises UserError for an unknown run, and for one that is not tokenized yet.
    """

    def __init__(self, store: Store, run: str) -> None:
        recipe, made = known(store, run)["recipe"], artifacts_of(store, run)
        if "tokenize" not in made:
            raise UserError(f"run {run!r} has no tokens yet; run its recipe up to the step tokenize")
        self.model = ModelSection.model_validate(recipe["model"])
        vocab_size = int(made["tokenizer"].facts["vocab_size"])
        self.train = TrainSection.model_validate(recipe["train"]).resolved(self.model, vocab_size)
        self.artifact, self.tokens = made["tokenize"], Tokens(made["tokenize"])
        self.order = order_of(self.tokens, self.train, int(recipe["seed"]), self.model.context)
        self.done = max(account(read_events(store, run)).surviving_steps, default=0)
        self._checkpoints = [(c.step, c.manifest["skips"]) for c in list_checkpoints(store, run)]

    def skips(self, step: int) -> tuple[Range, ...]:
        """What the surviving history skipped, as the first checkpoint from `step` on has it."""
        known = [skips for at, skips in self._checkpoints if at >= step]
        return tuple((a, b) for a, b in known[0]) if known else ()

    def start_of(self, shard: int, group: int) -> int:
        """Where a shard's part of a group's stream of training tokens begins."""
        name, size = f"train-{group}.bin", int(np.dtype(self.tokens.facts["dtype"]).itemsize)
        before = [s["objects"][name]["bytes"] for s in self.artifact.shards[:shard] if name in s["objects"]]
        return sum(int(many) for many in before) // size

    def steps_with(self, group: int, start: int, end: int) -> list[int]:
        """The steps (from 1) done so far that saw any of the tokens start to end of a group's stream."""
        assert self.train.batch_sequences
        batch, context = self.train.batch_sequences, self.model.context
        first, last = (
            max(0, start - 1) // context,
            (end - 1) // context,
        )  # the last target is the next one's
        found: set[int] = set()
        for low in range(0, self.done * batch, SEQUENCES):
            numbers = np.arange(low, min(low + SEQUENCES, self.done * batch), dtype=np.int64)
            at = self.order.locate(skip_over(numbers, self.skips(self.done)))
            seen = (at.group == group) & (at.window >= first) & (at.window <= last)
            found.update((numbers[seen] // batch + 1).tolist())
        return sorted(found)


def data_at(store: Store, run: str, step: int) -> dict[str, Any]:
    """The sequences of optimizer step `step` (from 1) in the surviving history, with the documents they cut through.

    Raises UserError for an unknown run, one that is not tokenized yet, or a step beyond its last.
    """
    training = Training(store, run)
    train, model, tokens = training.train, training.model, training.tokens
    assert train.max_steps
    if not 1 <= step <= train.max_steps:
        raise UserError(f"--step {step}: run {run!r} has the steps 1 to {train.max_steps}; take one of them")
    plan = batch_plan(step - 1, train, training.skips(step))
    at = training.order.locate(plan.sequences.ravel())
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
                columns[(shard, group)] = _documents(training.artifact, shard, group)
            taken, count = _between(columns[(shard, group)], position, left)
            documents += taken
            start, left = start + count, left - count
        sequences.append(
            {
                "sequence": number,
                "microbatch": i // per_leaf,
                "domain": tokens.groups[group][0],
                "bin": tokens.groups[group][1],
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
