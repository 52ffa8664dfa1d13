"""How much text a run has, of what kind, and how often it reads it: accounting by domain, licence and quality.

Reads the token shards' small tables and recomputes the order; writes nothing. The invariant: tokens and passes are
those that the trainer itself counts, not estimates; only the loss is one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import UserError
from raytrain.model.section import ModelSection
from raytrain.observe.collect import artifacts_of, known
from raytrain.scaling.law import Law
from raytrain.scaling.repetition import CITATION, FITTED, LAW, Repeated
from raytrain.store import Artifact, Store
from raytrain.store.artifact import read_table
from raytrain.tokens.loader import Tokens
from raytrain.tokens.order import Order
from raytrain.train.mixture import stages
from raytrain.train.section import TrainSection

BANDS = ("lowest quarter", "second quarter", "third quarter", "highest quarter")


def supply(store: Store, run: str, *, tokens: float | None = None, quality: str | None = None) -> dict[str, Any]:
    """The account of a run that is tokenized, at its own horizon or at `tokens`.

    `quality` names a column of numbers, `stage.column` as rules do; documents are then counted by quarters of it, each
    of about equal tokens. Raises UserError for an unknown run or column and for a run without tokens.
    """
    recipe, made = known(store, run)["recipe"], artifacts_of(store, run)
    if "tokenize" not in made:
        raise UserError(f"run {run!r} has no tokens yet; `raytrain run RECIPE --until tokenize` makes them")
    model = ModelSection.model_validate(recipe["model"])
    vocab_size = int(made["tokenizer"].facts["vocab_size"])
    held = Tokens(made["tokenize"])
    train = _train(TrainSection.model_validate(recipe["train"]), model, vocab_size, tokens)
    assert train.max_steps and train.batch_sequences
    windows, sequences = held.windows(model.context), train.max_steps * train.batch_sequences
    order = Order(int(recipe["seed"]), windows, stages(held.groups, windows, train))
    seen = order.counts(sequences) * model.context
    groups: list[dict[str, Any]] = [
        {
            "domain": domain,
            "bin": bin_,
            "tokens": held.tokens_in(k),
            "seen": int(seen[k]),
            "passes": _passes(held, k, seen),
        }
        for k, (domain, bin_) in enumerate(held.groups)
    ]
    parameters = model.parameters(vocab_size)
    law, cited = _law(store, made["tokenize"].id)
    repeated = Repeated.of([group["tokens"] for group in groups], seen.tolist())
    expected, fresh = repeated.loss(parameters, law)
    for group, worth in zip(groups, repeated.effective, strict=True):
        group["effective"] = round(worth)
    return {
        "run": run,
        "parameters": parameters,
        "tokens": sum(group["tokens"] for group in groups),
        "seen": int(seen.sum()),
        "effective": round(sum(repeated.effective)),
        "groups": groups,
        "domains": _domains(groups),
        "kinds": _kinds(made, quality),
        "quality": quality,
        "loss": {
            "law": cited,
            "expected": expected,
            "if_all_were_new": fresh,
            "extra": expected - fresh,
            "far": law is LAW and not FITTED[0] <= parameters <= FITTED[1],
        },
    }


def _train(train: TrainSection, model: ModelSection, vocab_size: int, tokens: float | None) -> TrainSection:
    if tokens is None:
        return train.resolved(model, vocab_size)
    if not math.isfinite(tokens):
        raise UserError(f"--tokens: {tokens:g} is no number of tokens; give a finite one, such as 2e9")
    if tokens < model.context:
        raise UserError(f"--tokens: {tokens:g} is less than one sequence of {model.context}; give more")
    horizon = train.model_copy(
        update={"max_steps": None, "tokens_per_parameter": tokens / model.parameters(vocab_size)}
    )
    return horizon.resolved(model, vocab_size)


def _passes(held: Tokens, group: int, seen: NDArray[np.int64]) -> float:
    """How often the group's text is read; 0 for a group that is too small to hold a sequence."""
    there = held.tokens_in(group)
    return float(seen[group] / there) if there else 0.0


def _domains(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[str, Counter[str]] = {}
    for group in groups:
        counts = {name: group[name] for name in ("tokens", "seen", "effective")}
        sums.setdefault(group["domain"], Counter()).update(counts)
    return [
        {
            "domain": name,
            **{key: held[key] for key in ("tokens", "seen", "effective")},
            "passes": held["seen"] / held["tokens"],
        }
        for name, held in sums.items()
        if held["tokens"]
    ]


def _kinds(made: dict[str, Artifact], quality: str | None) -> list[dict[str, Any]]:
    """Training documents and tokens by domain, licence and, where asked for, quarter of quality; largest first."""
    import pyarrow as pa

    tokens, corpus, tables = made["tokenize"], made.get("select"), []
    for shard in range(len(tokens.shards)):
        table = read_table(tokens, shard, "documents.parquet", ["domain", "licence", "split", "tokens"])
        if quality is not None:
            table = table.append_column("quality", pa.array(_quality(made, corpus, shard, quality)))
        tables.append(table)
    whole = pa.concat_tables(tables)
    whole = whole.filter(pa.array(whole["split"].to_numpy(zero_copy_only=False) == "train"))
    names = ["domain", "licence"]
    if quality is not None:
        quarter = quarters(whole["quality"].to_numpy(), whole["tokens"].to_numpy())
        whole = whole.append_column("band", pa.array([BANDS[i] for i in quarter]))
        names.append("band")
    found = whole.group_by(names, use_threads=False).aggregate([("tokens", "count"), ("tokens", "sum")]).to_pylist()
    found = [
        {**{n: row[n] for n in names}, "documents": row["tokens_count"], "tokens": row["tokens_sum"]} for row in found
    ]
    return sorted(found, key=lambda row: (-row["tokens"], *(str(row[n]) for n in names)))


def quarters(values: NDArray[Any], tokens: NDArray[Any]) -> NDArray[np.int64]:
    """In which quarter of all tokens each document stands, by rising value; equal values stand together."""
    distinct, which = np.unique(values, return_inverse=True)
    below = np.cumsum(np.bincount(which, tokens, len(distinct)))
    middle = (below - np.bincount(which, tokens, len(distinct)) / 2) / below[-1]
    return np.asarray(np.minimum((4 * middle).astype(np.int64), 3)[which], np.int64)


def _quality(made: dict[str, Artifact], corpus: Artifact | None, shard: int, quality: str) -> NDArray[Any]:
    """The column's value of every kept document of a shard, in the order of the tokens' rows."""
    stage, _, column = quality.rpartition(".")
    stage = stage or "text"
    attributes = made.get(f"annotate-{stage}")
    if attributes is None or corpus is None:
        there = ", ".join(name.removeprefix("annotate-") for name in made if name.startswith("annotate-"))
        raise UserError(f"--quality: the run has no stage {stage!r}; there are {there}")
    table = read_table(attributes, shard, f"{stage}.parquet")
    if column not in table.column_names:
        raise UserError(f"--quality: stage {stage} has no column {column!r}; there are {', '.join(table.column_names)}")
    rows = read_table(corpus, shard, "kept.parquet", ["row"])["row"].to_numpy()
    values: NDArray[Any] = table[column].to_numpy(zero_copy_only=False)[rows]
    if not np.issubdtype(values.dtype, np.number):
        raise UserError(f"--quality: {quality} is not a column of numbers")
    return values


def _law(store: Store, tokens_id: str) -> tuple[Law, str]:
    """The law of a sweep on these very tokens, the newest; else the paper's."""
    found: list[tuple[float, str, dict[str, Any]]] = []
    for name in store.folders("sweeps"):
        try:
            body = json.loads(store.get(f"sweeps/{name}/law.json"))
        except FileNotFoundError:
            continue
        if body.get("data") == tokens_id and not body["not_identified"]:
            found.append((float(body["at"]), name, body))
    if not found:
        return LAW, CITATION
    _, name, body = max(found, key=lambda row: row[:2])
    return Law.of({key: entry["value"] for key, entry in body["parameters"].items()}), f"sweep {name}"
