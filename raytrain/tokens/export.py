"""A run's data for other trainers: its tokens as Megatron's or nanoGPT's files, its texts as plain Parquet.

Streams shard by shard; nothing is encoded, shuffled or dropped. The invariant: `dataset.json`, which says what the
files hold and where they come from, is written last: without it a folder is unfinished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from raytrain.errors import UserError
from raytrain.store import Artifact
from raytrain.store.artifact import read_table, table_bytes
from raytrain.store.uri import filesystem
from raytrain.tokens.foreign import megatron_index
from raytrain.tokens.shards import FILE, KEPT, VALIDATION

DESCRIPTION = "dataset.json"


class Target:
    """An empty folder anywhere, and what has been written there: names with bytes and SHA-256."""

    def __init__(self, uri: str) -> None:
        """UserError when the place cannot be used or holds anything."""
        try:
            self._fs, self._root = filesystem(uri)
            taken = self._fs.find(self._root) if self._fs.exists(self._root) else []
        except (ImportError, ValueError, OSError) as error:
            raise UserError(f"--to {uri!r} cannot be used: {error}") from None
        if taken:
            raise UserError(f"--to {uri!r} exists and is not empty; name another folder")
        self.uri = uri
        self.files: dict[str, dict[str, Any]] = {}
        self._fs.makedirs(self._root, exist_ok=True)

    def write(self, name: str, pieces: Iterator[bytes]) -> None:
        """A file of a name of its own: what is written is never written over."""
        assert name not in self.files, name
        digest, size = hashlib.sha256(), 0
        try:
            with self._fs.open(f"{self._root}/{name}", "wb") as file:
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
        except OSError as error:
            raise UserError(f"--to {self.uri!r} cannot be written: {error}; name another place") from None
        self.files[name] = {"bytes": size, "sha256": digest.hexdigest()}

    def finish(self, facts: dict[str, Any]) -> None:
        body = json.dumps(facts | {"files": self.files}, indent=1, sort_keys=True)
        self.write(DESCRIPTION, iter([body.encode()]))


def export_megatron(tokens: Artifact, tokenizer: Artifact, to: str) -> dict[str, Any]:
    """`<domain>[-<bin>]_text_document.bin` and `.idx` for every group and for `validation`, one sequence a document."""
    dtype = np.dtype("<u2" if tokens.facts["dtype"] == "<u2" else "<i4")
    target = Target(to)
    for part, name in _parts(tokens):
        target.write(f"{name}_text_document.bin", _streams(tokens, part, dtype))
        target.write(f"{name}_text_document.idx", iter([megatron_index(dtype, _lengths(tokens, part))]))
    return _described(target, "megatron", tokens, tokenizer)


def export_nanogpt(tokens: Artifact, tokenizer: Artifact, to: str) -> dict[str, Any]:
    """`train.bin` of all groups in order and `val.bin`, flat uint16 with end-of-text behind every document."""
    if tokens.facts["dtype"] != "<u2":
        raise UserError("--format nanogpt: its ids are 16 bits wide, this vocabulary has more than 65,536 tokens")
    target, dtype = Target(to), np.dtype("<u2")
    parts = [part for part, _ in _parts(tokens)]
    target.write(
        "train.bin", (piece for part in parts if part != VALIDATION for piece in _streams(tokens, part, dtype))
    )
    target.write("val.bin", _streams(tokens, VALIDATION, dtype))
    return _described(target, "nanogpt", tokens, tokenizer)


def export_parquet(corpus: Artifact, to: str) -> dict[str, Any]:
    """`part-00000.parquet` and on: the kept texts, with split, source, licence and origin of each."""
    target = Target(to)
    for shard in range(len(corpus.shards)):
        target.write(f"part-{shard:05d}.parquet", iter([table_bytes(read_table(corpus, shard, KEPT))]))
    target.finish({"format": "parquet", "corpus": corpus.prefix, "documents": corpus.manifest["rows"]})
    return {"path": to, "files": len(target.files), "documents": corpus.manifest["rows"]}


def _parts(tokens: Artifact) -> Iterator[tuple[str, str]]:
    """The .bin files of the shards by their names there, and what the world calls them: a domain whose name is taken
    (as the world spells it, and case may not count there) bears its group's number behind it."""
    taken = {VALIDATION}
    for k, group in enumerate(tokens.facts["groups"]):
        named = "".join(c if c.isalnum() or c in "._-" else "_" for c in group["domain"])
        twice = sum(g["domain"] == group["domain"] for g in tokens.facts["groups"]) > 1
        named = f"{named}-{group['bin']}" if twice else named
        while named.casefold() in taken:
            named += f"-{k}"
        taken.add(named.casefold())
        yield f"train-{k}", named
    yield VALIDATION, VALIDATION


def _streams(tokens: Artifact, part: str, dtype: np.dtype[Any]) -> Iterator[bytes]:
    for shard in tokens.shards:
        if f"{part}.bin" in shard["objects"]:
            ids = np.frombuffer(tokens.get(shard["shard"], f"{part}.bin"), tokens.facts["dtype"])
            yield ids.astype(dtype).tobytes()


def _lengths(tokens: Artifact, part: str) -> np.ndarray:
    """Tokens of every document of a part, in order."""
    lengths = [np.empty(0, np.int64)]
    for shard in tokens.shards:
        if f"{part}.idx" in shard["objects"]:
            index = np.frombuffer(tokens.get(shard["shard"], f"{part}.idx"), "<i8")
            lengths.append(np.diff(index.reshape(-1, 3)[:, 0], prepend=0) if part == VALIDATION else np.diff(index))
    return np.concatenate(lengths)


def _described(target: Target, layout: str, tokens: Artifact, tokenizer: Artifact) -> dict[str, Any]:
    target.write(FILE, iter([tokenizer.get(0, FILE)]))
    told = {name: tokens.facts[name] for name in ("train_tokens", "groups", "validation", "tokenizer")}
    target.finish({"format": layout, "tokens": tokens.prefix, **told})
    return {"path": target.uri, "files": len(target.files), "tokens": tokens.facts["train_tokens"]}
