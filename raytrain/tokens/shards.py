"""The steps `tokenizer` and `tokenize`: a tokenizer.json from the training split, then token shards of all of it.

A token shard is one corpus shard encoded: for every group of the training split a flat little-endian array
`train-<group>.bin` with document offsets `train-<group>.idx` (int64 [documents + 1]); for the validation split
`validation.bin` and `validation.idx` (int64 [documents, 3]: end offset, UTF-8 bytes, group); and
`documents.parquet`, which says which record stands where. Arrays are read with numpy alone. The invariant: a
document's tokens are contiguous and end with end-of-text.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raytrain.errors import UserError
from raytrain.store import Artifact, ArtifactWriter, Store, open_artifact
from raytrain.store.artifact import read_table, table_bytes
from raytrain.store.step import StepContext, StepResult, Task
from raytrain.store.uri import read_text
from raytrain.tokens.section import TokenizerSection
from raytrain.tokens.tokenizer import encoder, sha256, train_bpe

TOKENIZER_VERSION = 1
TOKENIZE_VERSION = 1
FILE = "tokenizer.json"


def tokenizer_config(section: TokenizerSection) -> dict[str, Any]:
    """What decides a tokenizer: a given file by its content, else the training's settings."""
    if section.file is None:
        return section.model_dump(exclude={"file"})
    return {"file_sha256": sha256(read_definition(section.file)), "end_of_text": section.end_of_text}


def run_tokenizer(ctx: StepContext, section: TokenizerSection) -> StepResult:
    """Trains the tokenizer on the training split of the corpus, or takes the user's own."""
    writer = ArtifactWriter(ctx.store, ctx.prefix)
    record = writer.record(0)
    if record is None:
        if section.file is not None:
            definition = read_definition(section.file)
        else:
            definition = train_bpe(
                _training_texts(ctx.parents["corpus"], section.sample_bytes),
                section.vocab_size,
                section.min_frequency,
                section.end_of_text,
            )
        known = encoder(definition, section.end_of_text)
        facts = {"sha256": sha256(definition), "vocab_size": known.vocab_size, "end_of_text": section.end_of_text}
        record = writer.commit_shard(0, {FILE: writer.put(0, FILE, definition.encode())}, 1, facts)
    ctx.say(f"tokenizer of {record['facts']['vocab_size']:,} tokens")
    return StepResult([record], record["facts"])


def run_tokenize(ctx: StepContext) -> StepResult:
    """Encodes every kept document, by group and split."""
    corpus, tokenizer = ctx.parents["corpus"], ctx.parents["tokenizer"]
    groups = sorted({d for s in range(len(corpus.shards)) for d in _domains(corpus, s)})
    tasks = [
        {
            "store": ctx.store.uri,
            "prefix": ctx.prefix,
            "shard": shard,
            "corpus": corpus.prefix,
            "tokenizer": tokenizer.prefix,
            "groups": groups,
        }
        for shard in range(len(corpus.shards))
    ]
    records = ctx.map_shards(tokenize_shard, tasks, "tokenize")
    total: dict[str, Any] = {
        "groups": [
            {"domain": g, "bin": 0, "tokens": sum(r["facts"]["train_tokens"][k] for r in records)}
            for k, g in enumerate(groups)
        ],
        "validation": {
            key: sum(r["facts"]["validation"][key] for r in records) for key in ("documents", "bytes", "tokens")
        },
        "train_bytes": sum(r["facts"]["train_bytes"] for r in records),
        "tokenizer": tokenizer.facts,
        "dtype": _dtype(tokenizer.facts["vocab_size"]).str,
        "encoders": sorted({r["facts"]["encoder"] for r in records}),
    }
    total["train_tokens"] = sum(g["tokens"] for g in total["groups"])
    if not total["train_tokens"]:
        raise UserError("tokens: the training split is empty; loosen corpus.rules or bring more text")
    ctx.say(
        f"{total['train_tokens']:,} training tokens, {total['validation']['documents']} validation documents, "
        f"encoded by {', '.join(total['encoders'])}"
    )
    return StepResult(records, total)


def tokenize_shard(task: Task) -> Task:
    """Encodes one corpus shard; returns its record."""
    import pyarrow as pa

    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    corpus, tokenizer = open_artifact(store, task["corpus"]), open_artifact(store, task["tokenizer"])
    assert corpus is not None and tokenizer is not None
    kept = read_table(corpus, task["shard"], "kept.parquet")
    coder = encoder(tokenizer.get(0, FILE).decode(), tokenizer.facts["end_of_text"])
    groups: list[str] = task["groups"]
    dtype = _dtype(coder.vocab_size)

    ids, lengths = coder.encode(kept["text"].to_pylist())
    starts = np.concatenate(([0], np.cumsum(lengths)))
    split = np.array(kept["split"].to_pylist(), dtype=object)
    group = np.array([groups.index(d) for d in kept["domain"].to_pylist()], np.int64)
    size = np.array(kept["bytes"].to_pylist(), np.int64)

    objects: dict[str, dict[str, Any]] = {}
    position = np.zeros(len(kept), np.int64)  # a document's first token in its own .bin
    train_tokens = []
    for k in range(len(groups)):
        rows = np.flatnonzero((split == "train") & (group == k))
        offsets = np.concatenate(([0], np.cumsum(lengths[rows])))
        position[rows] = offsets[:-1]
        train_tokens.append(int(offsets[-1]))
        if len(rows):
            tokens = np.concatenate([ids[starts[r] : starts[r + 1]] for r in rows]).astype(dtype)
            objects[f"train-{k}.bin"] = writer.put(task["shard"], f"train-{k}.bin", tokens.tobytes())
            objects[f"train-{k}.idx"] = writer.put(task["shard"], f"train-{k}.idx", offsets.astype("<i8").tobytes())
    rows = np.flatnonzero(split == "validation")
    ends = np.cumsum(lengths[rows])
    position[rows] = ends - lengths[rows]
    if len(rows):
        tokens = np.concatenate([ids[starts[r] : starts[r + 1]] for r in rows]).astype(dtype)
        index = np.stack([ends, size[rows], group[rows]], 1).astype("<i8")
        objects["validation.bin"] = writer.put(task["shard"], "validation.bin", tokens.tobytes())
        objects["validation.idx"] = writer.put(task["shard"], "validation.idx", index.tobytes())
    columns = [
        "doc_id",
        "record_id",
        "source",
        "domain",
        "licence",
        "origin",
        "url",
        "file",
        "record",
        "split",
        "bytes",
    ]
    where = kept.select([c for c in columns if c in kept.column_names])
    where = where.append_column("group", pa.array(group)).append_column("position", pa.array(position))
    where = where.append_column("tokens", pa.array(lengths))
    objects["documents.parquet"] = writer.put(task["shard"], "documents.parquet", table_bytes(where))
    facts = {
        "train_tokens": train_tokens,
        "train_bytes": int(size[split == "train"].sum()),
        "validation": {"documents": len(rows), "bytes": int(size[rows].sum()), "tokens": int(lengths[rows].sum())},
        "encoder": coder.name,
    }
    return writer.commit_shard(task["shard"], objects, len(kept), facts)


def _dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def _domains(corpus: Artifact, shard: int) -> set[str]:
    return set(read_table(corpus, shard, "kept.parquet", ["domain"])["domain"].to_pylist())


def _training_texts(corpus: Artifact, limit: int) -> Any:
    seen = 0
    for shard in range(len(corpus.shards)):
        table = read_table(corpus, shard, "kept.parquet", ["text", "split", "bytes"])
        for text, split, size in zip(*(table[c].to_pylist() for c in ("text", "split", "bytes")), strict=True):
            if split == "train":
                yield text
                seen += size
                if seen >= limit:
                    return


def read_definition(uri: str) -> str:
    """A user's own tokenizer.json. UserError when it cannot be read."""
    try:
        return read_text(uri)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"tokenizer.file: {uri!r} cannot be read: {error}") from None
