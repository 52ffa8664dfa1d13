"""Items of evaluation sets out of jsonl and Parquet files, and the identity of a set.

Sets are small and must be whole: unlike a source's, a line that cannot be read is an error. The invariant: an
identity depends on names and content alone, never on where the files lie.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from raytrain.config import digest
from raytrain.corpus.streams import BrokenStream, open_stream, read_all
from raytrain.errors import UserError
from raytrain.evalsets.section import EvaluationSet
from raytrain.store.uri import open_file, walk_files

LARGEST_FILE = 4 << 30  # bytes of text; read as a whole
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")


@dataclass(frozen=True)
class Item:
    """An item by its own name (`id` of the record, else file#number) and its texts, in the order of the fields."""

    name: str
    texts: tuple[str, ...]


def identity(held: EvaluationSet) -> dict[str, Any]:
    """What decides what a set is: name, fields, and relative paths with content."""
    content = sorted([path, _sha256(uri, size, version)] for uri, path, size, version in _files(held))
    return {"name": held.name, "fields": list(held.fields), "content": digest(content)}


def read_items(held: EvaluationSet) -> Iterator[Item]:
    """The items of a set, files by relative path. Raises a UserError naming file and line for what cannot be read."""
    for uri, path, _, _ in sorted(_files(held), key=lambda row: row[1]):
        rows = _parquet(uri) if path.lower().endswith(".parquet") else _jsonl(uri, path)
        for number, record in enumerate(rows):
            if missing := [name for name in held.fields if name not in record]:
                there = ", ".join(list(record)[:10])
                raise UserError(
                    f"corpus.decontaminate: set {held.name}: {path}#{number} has no field {missing[0]!r} among {there}"
                )
            name = record.get("id")
            known = isinstance(name, (str, int)) and not isinstance(name, bool)
            names = held.fields or [key for key in record if key != "id"]
            texts = tuple(text for key in names for text in _texts(record[key]))
            yield Item(str(name) if known else f"{path}#{number}", texts)


def _files(held: EvaluationSet) -> list[tuple[str, str, int, str]]:
    where = f"corpus.decontaminate: set {held.name}"
    try:
        found = [row for row in walk_files(held.uri) if row[1].lower().endswith(ENDINGS)]
    except UserError as error:
        raise UserError(f"{where}: {error}; correct its uri") from None
    except (ImportError, ValueError) as error:
        raise UserError(f"{where}: uri {held.uri!r} cannot be opened: {error}") from None
    if not found:
        raise UserError(f"{where}: {held.uri} holds no {', '.join(ENDINGS)}; correct its uri")
    return found


def _jsonl(uri: str, path: str) -> Iterator[dict[str, Any]]:
    where = f"corpus.decontaminate: {uri}"
    try:
        with open_file(uri) as file:
            data = read_all(open_stream(file, path), LARGEST_FILE)
    except BrokenStream as error:
        raise UserError(f"{where}: {error}; fetch it again, it is damaged") from None
    if data is None:
        raise UserError(f"{where}: more than {LARGEST_FILE} bytes; cut it into several files")
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except ValueError as error:
                raise UserError(f"{where}: line {number}: {error}; one JSON object a line") from None
            if not isinstance(record, dict):
                raise UserError(f"{where}: line {number}: a {type(record).__name__}; one JSON object a line")
            yield record


def _parquet(uri: str) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_file(uri) as file:
            yield from pq.ParquetFile(file, pre_buffer=False).read(use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"corpus.decontaminate: {uri}: {error}") from None


def _texts(value: Any) -> Iterator[str]:
    """The texts in a field: itself, or those of a list or mapping, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for held in value.values():
            yield from _texts(held)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for held in value:
            yield from _texts(held)


@lru_cache(maxsize=4096)
def _sha256(uri: str, size: int, version: str) -> str:
    """Of a file's bytes, read once while a listing calls it the same."""
    with open_file(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
