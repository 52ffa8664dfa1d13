"""The steps `tokenizer` and `tokenize`: a tokenizer.json from the training split, then token shards of all of it.

A token shard is one corpus shard encoded: for every group of the training split a flat little-endian array
`train-<group>.bin` with document offsets `train-<group>.idx` (int64 [documents + 1]); for the validation split
`validation.bin` and `validation.idx` (int64 [documents, 3]: end offset, UTF-8 bytes, group); and
`documents.parquet`, which says which record stands where. Arrays are read with numpy alone. The invariant: a
document's tokens are contiguous and end with end-of-text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from raytrain.errors import UserError
from raytrain.store import Artifact, ArtifactWriter, Store, open_artifact
from raytrain.store.artifact import read_table, table_bytes
from raytrain.store.step import StepContext, StepResult, Task
from raytrain.store.uri import read_text
from raytrain.tokens.section import TokenizerSection
from raytrain.tokens.tokenizer import Encoded, encoder, sha256, train_bpe

TOKENIZER_VERSION = 1
TOKENIZE_VERSION = 1
FILE = "tokenizer.json"
KEPT = "kept.parquet"  # a shard of the corpus
DOCUMENTS = "documents.parquet"
VALIDATION = "validation"
PROVENANCE = (
    "doc_id", "record_id", "source", "domain", "licence", "origin", "url", "file", "record", "split", "bytes",
)  # fmt: skip
SLICE_BYTES = 16 << 20  # of text that is encoded at once


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
    groups = sorted({group for shard in range(len(corpus.shards)) for group in _groups_of(corpus, shard)})
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
    return result_of(ctx, ctx.map_shards(tokenize_shard, tasks, "tokenize"), groups, tokenizer)


def result_of(
    ctx: StepContext, records: Sequence[dict[str, Any]], groups: Sequence[tuple[str, int]], tokenizer: Artifact
) -> StepResult:
    """The sums over all shards. Raises UserError when nothing is left to train on."""
    total: dict[str, Any] = {
        "groups": [
            {"domain": domain, "bin": bin_, "tokens": sum(r["facts"]["train_tokens"][k] for r in records)}
            for k, (domain, bin_) in enumerate(groups)
        ],
        "validation": {
            key: sum(r["facts"]["validation"][key] for r in records) for key in ("documents", "bytes", "tokens")
        },
        "train_bytes": sum(r["facts"]["train_bytes"] for r in records),
        "tokenizer": tokenizer.facts,
        "dtype": token_dtype(tokenizer.facts["vocab_size"]).str,
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
    """Encodes one corpus shard; returns its record. Needs the shard's text and tokens in memory, and 200 MB."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    corpus, tokenizer = open_artifact(store, task["corpus"]), open_artifact(store, task["tokenizer"])
    assert corpus is not None and tokenizer is not None
    kept = read_table(corpus, task["shard"], KEPT)
    coder = encoder(tokenizer.get(0, FILE).decode(), tokenizer.facts["end_of_text"])
    columns = [name for name in PROVENANCE if name in kept.column_names]
    shard = TokenShard(
        documents=kept.select(columns),
        validation=_where(kept["split"], "validation"),
        group=group_numbers(kept, task["groups"]),
        groups=len(task["groups"]),
    )
    for start, stop in _slices(kept["bytes"].to_numpy(), SLICE_BYTES):
        encoded = coder.encode(kept["text"].slice(start, stop - start))
        shard.add(encoded, start, coder.end_id, token_dtype(coder.vocab_size))
    return shard.commit(writer, task["shard"], coder.name)


class TokenShard:
    """A token shard that grows by runs of neighbouring documents, and is committed when it has all."""

    def __init__(self, documents: Any, validation: np.ndarray, group: np.ndarray, groups: int) -> None:
        """`documents` is a table of what names them, with `bytes`; arrays [documents] of bool and group number."""
        self._documents, self._validation, self._group, self._groups = documents, validation, group, groups
        self._lengths = np.zeros(len(group), np.int64)
        self._pieces: dict[str, list[np.ndarray]] = {}

    def add(self, encoded: Encoded, start: int, end_id: int, dtype: np.dtype[Any]) -> None:
        """The documents from row `start` on."""
        lengths = np.diff(encoded.starts) + 1
        here = slice(start, start + len(lengths))
        self._lengths[here] = lengths
        for name, rows in self._bins(here):
            if len(rows):
                self._pieces.setdefault(name, []).append(encoded.packed(rows, end_id, dtype))

    def commit(self, writer: ArtifactWriter, number: int, encoder_name: str) -> dict[str, Any]:
        import pyarrow as pa

        sizes = self._documents["bytes"].to_numpy()
        position = np.zeros(len(self._group), np.int64)  # a document's first token in its own .bin
        train_tokens = [0] * self._groups
        objects = {}
        for k, (name, rows) in enumerate(self._bins(slice(None))):
            offsets = np.concatenate(([0], np.cumsum(self._lengths[rows])))
            position[rows] = offsets[:-1]
            if name != VALIDATION:
                train_tokens[k] = int(offsets[-1])
            if not len(rows):
                continue
            index = np.stack([offsets[1:], sizes[rows], self._group[rows]], 1) if name == VALIDATION else offsets
            tokens = np.concatenate(self._pieces.pop(name))
            objects[f"{name}.bin"] = writer.put(number, f"{name}.bin", tokens.tobytes())
            objects[f"{name}.idx"] = writer.put(number, f"{name}.idx", index.astype("<i8").tobytes())
        table = self._documents
        for column, values in (("group", self._group), ("position", position), ("tokens", self._lengths)):
            table = table.append_column(column, pa.array(values))
        objects[DOCUMENTS] = writer.put(number, DOCUMENTS, table_bytes(table))
        held = self._validation
        facts = {
            "train_tokens": train_tokens,
            "train_bytes": int(sizes[~held].sum()),
            "validation": {
                "documents": int(held.sum()),
                "bytes": int(sizes[held].sum()),
                "tokens": int(self._lengths[held].sum()),
            },
            "encoder": encoder_name,
        }
        return writer.commit_shard(number, objects, len(self._group), facts)

    def _bins(self, here: slice) -> Iterator[tuple[str, np.ndarray]]:
        """The .bin files by name, with the rows (counted from the slice's start) that go into each."""
        held, group = self._validation[here], self._group[here]
        for k in range(self._groups):
            yield f"train-{k}", np.flatnonzero(~held & (group == k))
        yield VALIDATION, np.flatnonzero(held)


def group_numbers(kept: Any, groups: Sequence[Sequence[Any]]) -> np.ndarray:
    """The number among `groups`, sorted pairs (domain, difficulty bin), of every row of a kept table."""
    import pyarrow as pa
    import pyarrow.compute as pc

    domains = sorted({domain for domain, _ in groups})
    domain = pc.index_in(kept["domain"], pa.array(domains)).to_numpy().astype(np.int64)
    bins = kept["bin"].to_numpy() if "bin" in kept.column_names else np.zeros(len(kept), np.int64)
    width = 1 + max(bin_ for _, bin_ in groups)
    codes = np.array([domains.index(d) * width + b for d, b in groups], np.int64)
    found: np.ndarray = np.searchsorted(codes, domain * width + bins)
    return found


def _groups_of(corpus: Artifact, shard: int) -> set[tuple[str, int]]:
    """The pairs (domain, difficulty bin) of a shard's documents; only these small columns are fetched."""
    import pyarrow.parquet as pq

    with corpus.store.open(corpus.key(shard, KEPT)) as source:
        file = pq.ParquetFile(source, pre_buffer=False)
        names = [n for n in ("domain", "bin") if n in file.schema_arrow.names]
        rows = file.read(columns=names, use_threads=False).group_by(names, use_threads=False).aggregate([]).to_pylist()
    return {(row["domain"], row.get("bin", 0)) for row in rows}


def _slices(sizes: np.ndarray, limit: int) -> Iterator[tuple[int, int]]:
    """Runs of neighbouring documents of at most `limit` bytes each; a larger document stands alone."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield start, stop
        start = stop


def _where(column: Any, value: str) -> np.ndarray:
    import pyarrow.compute as pc

    found: np.ndarray = pc.equal(column, value).to_numpy()
    return found


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def _training_texts(corpus: Artifact, limit: int) -> Any:
    seen = 0
    for shard in range(len(corpus.shards)):
        table = read_table(corpus, shard, KEPT, ["text", "split", "bytes"])
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
