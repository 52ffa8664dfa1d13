"""Records out of raw files: jsonl, parquet, plain text, HTML. One generator a format, bounded memory each.

A reader decides nothing about quality. The invariant: whatever a file holds, every record in it comes out either
as a `Raw` or as a `Broken` with its place and the reason, and the generator ends without an exception.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import IO, Any

from raytrain.corpus.inventory import Format
from raytrain.corpus.streams import BrokenStream, lines, open_stream, read_all
from raytrain.errors import Unreachable

# A field of a record wins over the source's default; `id` is the record's own name for itself.
OWN_FIELDS = ("id", "url", "date", "licence", "origin", "domain")
START_BYTES = 80
PARQUET_BATCH = 256
# JSON may write a byte as six (\u0041), and a record has other fields too.
JSON_EXPANSION = 6
JSON_OTHER_FIELDS = 1 << 20
HTML_EXPANSION = 20


@dataclass(frozen=True)
class Raw:
    """A record as it was found: `record` counts from 0 within its file, `fields` holds what OWN_FIELDS it has."""

    record: int
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Broken:
    """What could not be read: where, why, and how it starts. `count` records, if more than one."""

    record: int
    reason: str
    detail: str = ""
    start: bytes = b""
    count: int = 1


Reader = Callable[[IO[bytes], str, str, int], Iterator[Raw | Broken]]


def read(file: IO[bytes], path: str, form: Format, text_field: str, longest: int) -> Iterator[Raw | Broken]:
    """The records of an open file. `longest` bytes of text are read at most for one; more is `oversize`."""
    return READERS[form](file, path, text_field, longest)


def read_jsonl(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Raw | Broken]:
    limit = JSON_EXPANSION * longest + JSON_OTHER_FIELDS
    number = -1
    try:
        for number, (line, whole) in enumerate(lines(open_stream(file, path), limit)):
            if number == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not whole:
                yield Broken(number, "oversize", f"a line of more than {limit} bytes", line[:START_BYTES])
            elif line.strip():
                yield _json_record(number, line, text_field)
    except BrokenStream as error:
        yield Broken(number + 1, "broken_stream", str(error))


def read_parquet(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Raw | Broken]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        table = pq.ParquetFile(file, page_checksum_verification=True)
        names = table.schema_arrow.names
        if text_field not in names:
            detail = f"no column {text_field!r} among {', '.join(names[:10])}"
            yield Broken(0, "missing_text", detail, count=max(1, table.metadata.num_rows))
            return
        columns = [text_field, *(name for name in OWN_FIELDS if name in names and name != text_field)]
        # Group by group: a batch across two would take the good one down with the damaged one.
        for group in range(table.num_row_groups):
            for batch in table.iter_batches(PARQUET_BATCH, row_groups=[group], columns=columns, use_threads=False):
                for text, fields in _parquet_rows(batch, text_field):
                    yield _record(row, text, fields)
                    row += 1
    except Unreachable:  # the store's trouble says nothing of the file
        raise
    except (pa.ArrowInvalid, OSError, pa.ArrowException) as error:
        yield Broken(row, "broken_stream", " ".join(str(error).split())[:300])


def _parquet_rows(batch: Any, text_field: str) -> Iterator[tuple[Any, dict[str, str | None]]]:
    import pyarrow as pa

    texts = batch.column(text_field)
    if pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_decode()
    if pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_binary())  # decoded one by one by _record: Parquet does not vouch for UTF-8
    others = {name: batch.column(name) for name in batch.schema.names if name != text_field}
    for i, value in enumerate(texts):
        yield value.as_py(), {name: _plain(column[i]) for name, column in others.items()}


def read_txt(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Raw | Broken]:
    data = _whole(file, path, longest)
    if isinstance(data, Broken):
        yield data
    elif data.strip():
        yield _decoded(data)


def read_html(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Raw | Broken]:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import detect_encoding
    from resiliparse.parse.html import HTMLTree

    data = _whole(file, path, HTML_EXPANSION * longest)
    if isinstance(data, Broken):
        yield data
        return
    if not data.strip():
        return
    try:
        tree = HTMLTree.parse_from_bytes(data, detect_encoding(data, from_html_meta=True) or "utf-8")
        text = extract_plain_text(tree, main_content=True, alt_texts=False, preserve_formatting=True)
        yield _record(0, str(text), {})
    except (ValueError, RuntimeError, LookupError) as error:
        yield Broken(0, "bad_html", str(error)[:300], data[:START_BYTES])


READERS: dict[str, Reader] = {"jsonl": read_jsonl, "parquet": read_parquet, "txt": read_txt, "html": read_html}


def _json_record(number: int, line: bytes, text_field: str) -> Raw | Broken:
    start = line[:START_BYTES]
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Broken(number, "not_utf8", f"byte {error.start} of the line", start)
    except (ValueError, RecursionError) as error:
        return Broken(number, "bad_json", str(error)[:300], start)
    if not isinstance(value, dict):
        return Broken(number, "bad_json", f"a {type(value).__name__}, not an object", start)
    if text_field not in value:
        return Broken(number, "missing_text", f"no field {text_field!r} among {', '.join(list(value)[:10])}", start)
    fields = {name: _plain(value[name]) for name in OWN_FIELDS if name in value}
    return _record(number, value[text_field], fields, start)


def _record(number: int, text: Any, fields: Mapping[str, str | None], start: bytes = b"") -> Raw | Broken:
    """A record of whatever stood in the text field: bytes are decoded, anything but text is refused."""
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            return Broken(number, "not_utf8", f"byte {error.start} of the text", text[:START_BYTES])
    if text is None:
        return Broken(number, "missing_text", "the text is null", start)
    if not isinstance(text, str):
        return Broken(number, "missing_text", f"the text is a {type(text).__name__}", start)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return Broken(number, "not_utf8", f"half a surrogate pair at character {error.start}", start)
    return Raw(number, text, {name: value for name, value in fields.items() if value})


def _decoded(data: bytes) -> Raw | Broken:
    """A text file's text: UTF-8, or UTF-16 where a byte order mark says so. Nothing is guessed."""
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return Raw(0, data.decode("utf-16"))
        return Raw(0, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return Broken(0, "not_utf8", f"byte {error.start} of the file", data[:START_BYTES])


def _whole(file: IO[bytes], path: str, longest: int) -> bytes | Broken:
    try:
        data = read_all(open_stream(file, path), longest)
    except BrokenStream as error:
        return Broken(0, "broken_stream", str(error))  # half a document is no document
    return Broken(0, "oversize", f"more than {longest} bytes") if data is None else data


def _plain(value: Any) -> str | None:
    """A field's value as text; lists, mappings, truth values and texts that are not UTF-8 count as absent."""
    try:
        value = value.as_py() if hasattr(value, "as_py") else value
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return None
        return str(value).encode("utf-8").decode()
    except (UnicodeError, ValueError):
        return None
