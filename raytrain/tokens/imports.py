"""The step `tokenize` where the sources are tokens already: files of other trainers become token shards.

Nothing is encoded and no text is read. Documents are held out by the hash of their ids, equal ones together; files
named `val` are held out whole. The invariant: the ids of every document reach the shards unchanged, end-of-text
behind each, and which shard holds a document depends on the files alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raytrain.corpus.inventory import SourceFile
from raytrain.corpus.section import CorpusSection, Source
from raytrain.errors import UserError
from raytrain.store import ArtifactWriter, Store, open_artifact
from raytrain.store.step import StepContext, StepResult, Task
from raytrain.tokens.foreign import ENDINGS, TokenFile, companions_of, open_tokens
from raytrain.tokens.shards import FILE, TokenShard, result_of, token_dtype
from raytrain.tokens.tokenizer import Encoded, Encoder, encoder

VERSION = 2
SHARD_TOKENS = 1 << 24  # a shard takes some thirty bytes of memory a token
HELD_OUT = re.compile(r"(^|[_-])val(idation)?([_.-]|$)")


def config_of(corpus: CorpusSection, sources: Sequence[Source]) -> dict[str, Any]:
    """What the shards depend on beside the files and the tokenizer."""
    told = ("name", "format", "domain", "licence", "origin")
    return {
        "sources": [source.model_dump(mode="json", include=set(told)) for source in sources],
        "validation_fraction": corpus.split.validation_fraction,
    }


def run(ctx: StepContext, files: Sequence[SourceFile]) -> StepResult:
    """Cuts every token file into shards of whole documents. UserError for a file that is damaged or not of its kind."""
    tokenizer = ctx.parents["tokenizer"]
    sources = {source["name"]: source for source in ctx.config["sources"]}
    groups = sorted({(source["domain"], 0) for source in sources.values()})
    tasks: list[Task] = []
    places = {(file.source, file.path): file.uri for file in files}
    for file in files:
        layout = sources[file.source]["format"]
        if not file.path.endswith(ENDINGS[layout]):
            continue
        beside = _beside(layout, file, places)
        opened = open_tokens(layout, file.uri, file.bytes, beside, int(tokenizer.facts["vocab_size"]))
        some = opened.count or int(opened.ends is not None and len(opened.ends) > 0)  # all documents may be empty
        for start in range(0, some, SHARD_TOKENS):
            tasks.append(
                {
                    "store": ctx.store.uri,
                    "prefix": ctx.prefix,
                    "shard": len(tasks),
                    "tokenizer": tokenizer.prefix,
                    "file": file.as_dict(),
                    "beside": beside,
                    "source": sources[file.source],
                    "groups": groups,
                    "validation_fraction": ctx.config["validation_fraction"],
                    "start": start,
                    "stop": min(start + SHARD_TOKENS, opened.count),
                }
            )
    there = {task["source"]["name"] for task in tasks}
    for name, source in sources.items():
        if name not in there:
            raise UserError(f"sources ({name}): holds no {ENDINGS[source['format']]} file; correct its uri or format")
    records = ctx.map_shards(import_shard, tasks, "tokenize")
    result = result_of(ctx, records, groups, tokenizer)
    if not result.facts["validation"]["documents"]:
        raise UserError("tokens: no document is held out for validation; raise corpus.split.validation_fraction")
    return result


def import_shard(task: Task) -> Task:
    """Commits the documents of a token file that begin in [start, stop)."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    tokenizer = open_artifact(store, task["tokenizer"])
    assert tokenizer is not None
    definition = tokenizer.get(0, FILE).decode()
    coder = encoder(definition, tokenizer.facts["end_of_text"])
    file, source = task["file"], task["source"]
    opened = open_tokens(source["format"], file["uri"], file["bytes"], task["beside"], coder.vocab_size)
    first, documents = _documents(opened, task["start"], task["stop"], coder.end_id)
    if len(documents.ids) and int(documents.ids.max()) >= coder.vocab_size:
        raise UserError(
            f"{file['uri']}: token {int(documents.ids.max())}, but tokenizer.file has {coder.vocab_size} tokens; "
            "name the tokenizer that made this file"
        )
    held = _held_out(documents, file["path"], task["validation_fraction"])
    shard = TokenShard(
        documents=_table(file, source, first, documents, held, _sizes(documents, coder, definition)),
        validation=held,
        group=np.full(len(held), [name for name, _ in task["groups"]].index(source["domain"]), np.int64),
        groups=len(task["groups"]),
    )
    shard.add(documents, 0, coder.end_id, token_dtype(coder.vocab_size))
    return shard.commit(writer, task["shard"], source["format"])


def _documents(opened: TokenFile, start: int, stop: int, end_id: int) -> tuple[int, Encoded]:
    """The documents that begin in [start, stop), without their end-of-text, and the number of the first; where the
    file has no index, a document is numbered by the position of its first token."""
    if opened.ends is None:
        begin = start if start == 0 else _next_begin(opened, start - 1, end_id)
        end = opened.count if stop == opened.count else _next_begin(opened, stop - 1, end_id)
        ids = opened.read(begin, max(begin, end)).astype(np.uint32)
        ends = np.flatnonzero(ids == end_id) + 1
        ends = ends if not len(ids) or (len(ends) and ends[-1] == len(ids)) else np.append(ends, len(ids))
        return begin, _bare(ids, np.concatenate(([0], ends)), end_id)
    bounds = np.concatenate(([0], opened.ends))
    a, b = np.searchsorted(bounds[:-1], (start, stop)).tolist()
    b = len(bounds) - 1 if stop == opened.count else b  # empty documents at the end begin at no token
    ids = opened.read(int(bounds[a]), int(bounds[b])).astype(np.uint32)
    return a, _bare(ids, bounds[a : b + 1] - bounds[a], end_id)


def _next_begin(opened: TokenFile, position: int, end_id: int) -> int:
    """Where the first document behind an end-of-text at or after a position begins."""
    while position < opened.count:
        stop = min(position + (1 << 20), opened.count)
        found = np.flatnonzero(opened.read(position, stop) == end_id)
        if len(found):
            return position + int(found[0]) + 1
        position = stop
    return opened.count


def _bare(ids: np.ndarray, bounds: np.ndarray, end_id: int) -> Encoded:
    """Documents without the end-of-text that some have at their end; one of nothing else stays as an empty one."""
    lengths = np.diff(bounds)
    last = np.zeros(len(ids), np.bool_)
    last[bounds[1:][lengths > 0] - 1] = True
    ended = last & (ids == end_id)
    ending = np.add.reduceat(ended, bounds[:-1][lengths > 0]) if len(ids) else np.empty(0, np.int64)
    lengths = lengths.copy()
    lengths[lengths > 0] -= ending
    return Encoded(ids[~ended], np.concatenate(([0], np.cumsum(lengths))))


def _held_out(documents: Encoded, path: str, fraction: float) -> np.ndarray:
    from xxhash import xxh3_64_intdigest

    if HELD_OUT.search(path.rpartition("/")[2]):
        return np.ones(len(documents.starts) - 1, np.bool_)
    limit = int(fraction * 2**64)
    return np.array([xxh3_64_intdigest(ids.tobytes()) < limit for ids in documents.each()], np.bool_)


def _sizes(documents: Encoded, coder: Encoder, definition: str) -> np.ndarray:
    """UTF-8 bytes of every document's text, int64."""
    decoder = json.loads(definition).get("decoder") or {}
    if decoder.get("type") == "ByteLevel":  # a character of a token stands for a byte of text
        table = np.array([len(coder.reference.id_to_token(i) or "") for i in range(coder.vocab_size)], np.int64)
        ends = np.concatenate(([0], np.cumsum(table[documents.ids])))
        return np.diff(ends[documents.starts])
    return np.array([len(coder.reference.decode(ids.tolist()).encode()) for ids in documents.each()], np.int64)


def _table(
    file: Mapping[str, Any],
    source: Mapping[str, Any],
    first: int,
    documents: Encoded,
    held: np.ndarray,
    sizes: np.ndarray,
) -> Any:
    """What names each document; `doc_id` is the hash of its ids, for there is no text."""
    import pyarrow as pa
    from xxhash import xxh3_128_hexdigest

    count = len(held)
    numbers = list(range(first, first + count))
    same = {name: pa.array([source[name]] * count, pa.string()) for name in ("domain", "licence", "origin")}
    return pa.table(
        {
            "doc_id": pa.array((xxh3_128_hexdigest(ids.tobytes()) for ids in documents.each()), pa.string()),
            "record_id": pa.array((f"{source['name']}/{file['path']}/{n}" for n in numbers), pa.string()),
            "source": pa.array([source["name"]] * count, pa.string()),
            **same,
            "url": pa.nulls(count, pa.string()),
            "file": pa.array([file["path"]] * count, pa.string()),
            "record": pa.array(numbers, pa.int64()),
            "split": pa.array(np.where(held, "validation", "train"), pa.string()),
            "bytes": pa.array(sizes),
        }
    )


def _beside(layout: str, file: SourceFile, places: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """The URIs by name of what tells of a token file, as far as it is there."""
    folder, slash, name = file.path.rpartition("/")
    found = {other: places.get((file.source, f"{folder}{slash}{other}")) for other in companions_of(layout, name)}
    return {other: uri for other, uri in found.items() if uri is not None}
