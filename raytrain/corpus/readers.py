"""Records out of raw files: jsonl, parquet, plain text; formats/ has the others. One generator each, bounded memory.

A reader decides nothing about quality. The invariant: whatever a file holds, every record in it comes out as a `Raw`,
as a row of `Records` or as a `Broken` with its place and the reason, and the generator ends without an exception.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import pairwise
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.inventory import Format
from raytrain.corpus.kernels.buffers import Bytes, Offsets
from raytrain.corpus.streams import BLOCK, LARGEST_RATIO, RATIO_FROM, BrokenStream, blocks, open_stream, read_all
from raytrain.errors import Unreachable

# A field of a record wins over the source's default; `id` is the record's own name for itself.
OWN_FIELDS = ("id", "url", "date", "licence", "origin", "domain", "verification")
START_BYTES = 80
FEW_BYTES = 16 << 10  # of lines that Python reads faster than it calls the kernel
LINES_AT_ONCE = 1 << 16  # a line costs some 150 bytes beside its own
ROWS_AT_ONCE = 1024  # of Parquet
REPEATED_BELOW = 64  # stored bytes a row, below which Parquet's texts are short or repeated
# What a value raises that Python cannot hold: a year beyond 9999, a zone that is unknown, bytes that are no UTF-8.
UNREADABLE = (ArithmeticError, LookupError, ValueError, NotImplementedError)
# JSON may write a byte as six (\u0041), and a record has other fields too.
JSON_EXPANSION = 6
JSON_OTHER_FIELDS = 1 << 20


@dataclass(frozen=True)
class Raw:
    """A record as it was found: `record` counts from 0 within its file, `fields` holds what OWN_FIELDS it has."""

    record: int
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Records:
    """Many records: columns `record` (int64), `text` (large_string, valid UTF-8) and OWN_FIELDS (string or null)."""

    table: Any


@dataclass(frozen=True)
class Broken:
    """What could not be read: where, why, and how it starts. `count` records, if more than one."""

    record: int
    reason: str
    detail: str = ""
    start: bytes = b""
    count: int = 1


Found = Raw | Records | Broken
Reader = Callable[[IO[bytes], str, str, int], Iterator[Found]]


def read(
    file: IO[bytes], path: str, form: Format, text_field: str, longest: int, extractor: str = "resiliparse"
) -> Iterator[Found]:
    """The records of an open file. `longest` bytes of text are read at most for one; more is `oversize`."""
    if form in READERS:
        return READERS[form](file, path, text_field, longest)
    from raytrain.corpus.formats import read_format

    return read_format(file, path, form, text_field, longest, extractor)


def read_jsonl(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Found]:
    limit = JSON_EXPANSION * longest + JSON_OTHER_FIELDS
    number = 0
    stream: Iterator[bytes] | None = open_stream(file, path)
    while stream is not None:
        try:
            for block, whole in blocks(stream, limit):
                block = block if number else block.removeprefix(codecs.BOM_UTF8)
                if not whole:
                    yield _too_long(number, block, limit)
                    number += 1
                    continue
                starts, ends = _lines(block)
                for i in range(0, len(starts), LINES_AT_ONCE):
                    some = slice(i, i + LINES_AT_ONCE)
                    yield from _json_lines(block, starts[some], ends[some], number, text_field, limit)
                    number += len(starts[some])
            stream = None
        except BrokenStream as error:
            yield Broken(number, error.reason, str(error))
            number += 1
            stream = error.rest


def _lines(block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the lines of a block begin and end; what follows the last line end is a line too, if anything does."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    return np.concatenate(([0], ends[:-1] + 1)), ends


def _json_lines(
    block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], first: int, text_field: str, limit: int
) -> Iterator[Found]:
    """The records of some lines: in columns those that the kernel knows, by Python's parser every other."""
    if len(block) < FEW_BYTES:
        for i in range(len(starts)):
            line = block[starts[i] : ends[i]]
            if line.strip():
                yield _json_record(first + i, line, text_field)
        return
    from raytrain.corpus.kernels import jsonl

    fields = (text_field, *(name for name in OWN_FIELDS if name != text_field))
    names = [name.encode() for name in fields]
    data = np.frombuffer(block, np.uint8)
    kinds, marks, spans = jsonl.scan(
        data, starts, ends, np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)])
    )
    good = (kinds == jsonl.GOOD) & (marks[0] != jsonl.ABSENT) & (marks[0] != jsonl.INTEGER) & (ends - starts <= limit)
    raws: list[Raw] = []
    for i in np.flatnonzero(~good & (kinds != jsonl.BLANK)).tolist():
        if ends[i] - starts[i] > limit:
            yield _too_long(first + i, block[starts[i] : starts[i] + START_BYTES], limit)
            continue
        single = _json_record(first + i, block[starts[i] : ends[i]], text_field)
        if isinstance(single, Raw):
            raws.append(single)
        else:
            yield single
    rows = np.flatnonzero(good)
    columns = {}
    for f, name in enumerate(fields):
        found = jsonl.gather(data, marks[f][rows], spans[f][rows])
        columns["text" if f == 0 else name] = _fields_array(*found) if f else texts_array(*found)
    if text_field in OWN_FIELDS:
        columns[text_field] = columns["text"].cast("string")
    records = _records(first + rows, columns)
    if raws:
        records = _in_order(records, records_of(raws))
    if records.table.num_rows:
        yield records


def _too_long(number: int, line: bytes, limit: int) -> Broken:
    return Broken(number, "oversize", f"a line of more than {limit} bytes", line[:START_BYTES])


def _in_order(some: Records, others: Records) -> Records:
    import pyarrow as pa

    table = pa.concat_tables([some.table, others.table])
    return Records(table.take(np.argsort(table["record"].to_numpy())))


def texts_array(values: Bytes, offsets: Offsets) -> Any:
    """An Arrow array over texts that lie end to end, without a copy."""
    import pyarrow as pa

    return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(values))


def _fields_array(values: Bytes, offsets: Offsets) -> Any:
    """The same of a field of a record's own, where an empty one counts as absent."""
    import pyarrow as pa

    there = np.packbits(offsets[1:] > offsets[:-1], bitorder="little")
    narrow = pa.py_buffer(offsets.astype(np.int32))
    return pa.StringArray.from_buffers(len(offsets) - 1, narrow, pa.py_buffer(values), pa.py_buffer(there))


def records_of(raws: Sequence[Raw]) -> Records:
    """Single records as columns."""
    import pyarrow as pa

    columns = {"text": pa.array([raw.text for raw in raws], pa.large_string())}
    for name in OWN_FIELDS:
        columns[name] = pa.array([raw.fields.get(name) or None for raw in raws], pa.string())
    return _records(np.array([raw.record for raw in raws], np.int64), columns)


def _records(numbers: NDArray[np.int64], columns: Mapping[str, Any]) -> Records:
    import pyarrow as pa

    names = ("text", *(name for name in OWN_FIELDS if name in columns))
    return Records(pa.table({"record": pa.array(numbers, pa.int64()), **{name: columns[name] for name in names}}))


def read_parquet(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Found]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        size = file.seek(0, io.SEEK_END)
        metadata = pq.read_metadata(file)
        names = metadata.schema.to_arrow_schema().names
        if text_field not in names:
            detail = f"no column {text_field!r} among {', '.join(names[:10])}"
            yield Broken(0, "missing_text", detail, count=max(1, metadata.num_rows))
            return
        table = pq.ParquetFile(
            file,
            metadata=metadata,
            read_dictionary=[text_field] if _repeats(metadata, text_field) else None,
            page_checksum_verification=True,
        )
    except Unreachable:  # the store's trouble says nothing of the file
        raise
    except (OSError, pa.ArrowException) as error:
        yield _damaged(0, error)
        return
    columns = [text_field, *(name for name in OWN_FIELDS if name in names and name != text_field)]
    first = text_bytes = 0
    # Group by group: damage in one costs no row of another.
    for group in range(table.num_row_groups):
        row, end = first, first + metadata.row_group(group).num_rows
        try:
            rows = _rows_at_once(metadata.row_group(group))
            for batch in table.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False):
                for part in _decoded_parts(_first_of_each(batch, columns), text_field):
                    text_bytes += part.column(text_field).nbytes
                    if text_bytes > max(RATIO_FROM, LARGEST_RATIO * size):
                        detail = f"grows to more than {LARGEST_RATIO} times its size, as only a zip bomb does"
                        yield Broken(row, "zip_bomb", detail, count=metadata.num_rows - row)
                        return
                    yield from _parquet_records(part, text_field, row)
                    row += part.num_rows
        except Unreachable:
            raise
        except (OSError, pa.ArrowException) as error:
            yield _damaged(row, error, max(1, end - row))
        first = max(row, end)


def _damaged(row: int, error: Exception, count: int = 1) -> Broken:
    return Broken(row, "broken_stream", " ".join(str(error).split())[:300], count=count)


def _first_of_each(batch: Any, columns: Sequence[str]) -> Any:
    """A batch's columns by place: a file may name two alike, and then a name stands for none."""
    return batch.select([batch.schema.names.index(name) for name in columns])


def _repeats(metadata: Any, column: str) -> bool:
    """Whether texts are so short, or stand so often, that they must be counted before a batch of them is unfolded."""
    stored = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    leaves = {metadata.schema.column(i).path for i in range(metadata.num_columns)}
    return column in leaves and stored < REPEATED_BELOW * metadata.num_rows


def _rows_at_once(group: Any) -> int:
    """Rows of a row group that are read together: some BLOCK bytes, as far as its metadata tell."""
    return int(max(1, min(ROWS_AT_ONCE, BLOCK * group.num_rows // max(1, group.total_byte_size))))


def _decoded_parts(batch: Any, text_field: str) -> Iterator[Any]:
    """A batch with its texts as such, in parts of about BLOCK bytes where they were numbers into a dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = batch.column(text_field)
    if not pa.types.is_dictionary(texts.type) or not len(batch):
        yield batch
        return
    place = batch.schema.get_field_index(text_field)
    sizes = pc.fill_null(pc.binary_length(texts.dictionary).take(texts.indices), 0).to_numpy(zero_copy_only=False)
    part_of = np.cumsum(sizes, dtype=np.int64) // BLOCK
    bounds = [0, *(np.flatnonzero(np.diff(part_of)) + 1).tolist(), len(batch)]
    for begin, end in pairwise(bounds):
        part = batch.slice(begin, end - begin)
        decoded = part.column(text_field).dictionary_decode()
        yield part.set_column(place, pa.field(text_field, decoded.type), decoded)


def _parquet_records(batch: Any, text_field: str, first: int) -> Iterator[Found]:
    """A batch in columns; row by row where a text is not UTF-8, or its column not one of texts at all."""
    import pyarrow as pa

    texts = batch.column(text_field)
    if pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_binary())  # Parquet does not vouch for UTF-8
    others = {name: _own_column(batch.column(name)) for name in batch.schema.names if name != text_field}
    try:
        if not (pa.types.is_binary(texts.type) or pa.types.is_large_binary(texts.type)):
            raise pa.ArrowInvalid("no column of texts")
        texts = texts.cast(pa.large_string())
    except pa.ArrowInvalid:
        for i, text in enumerate(texts):
            fields = {name: column[i].as_py() for name, column in others.items()}
            try:
                yield record_of(first + i, text.as_py(), fields)
            except UNREADABLE:
                yield Broken(first + i, "missing_text", f"the text is a {texts.type}"[:300])
        return
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    for i in np.flatnonzero(~there).tolist():
        yield record_of(first + i, None, {})
    found = _records(np.arange(first, first + len(texts)), {"text": texts, **others})
    yield found if there.all() else Records(found.table.filter(there))


def _own_column(column: Any) -> Any:
    """A field's column as text. What is neither text nor an integer goes value by value."""
    import pyarrow as pa

    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    return pa.array([plain(value) or None for value in column], pa.string())


def read_txt(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Found]:
    data = whole_file(file, path, longest)
    if isinstance(data, Broken):
        yield data
    elif data.strip():
        yield _decoded(data)


READERS: dict[str, Reader] = {"jsonl": read_jsonl, "parquet": read_parquet, "txt": read_txt}


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
    fields = {name: plain(value[name]) for name in OWN_FIELDS if name in value}
    return record_of(number, value[text_field], fields, start)


def record_of(number: int, text: Any, fields: Mapping[str, str | None], start: bytes = b"") -> Raw | Broken:
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


def whole_file(file: IO[bytes], path: str, longest: int) -> bytes | Broken:
    try:
        data = read_all(open_stream(file, path), longest)
    except BrokenStream as error:
        return Broken(0, error.reason, str(error))  # half a document is no document
    return Broken(0, "oversize", f"more than {longest} bytes") if data is None else data


def plain(value: Any) -> str | None:
    """A field's value as text; lists, mappings, truth values and texts that are not UTF-8 count as absent."""
    try:
        value = value.as_py() if hasattr(value, "as_py") else value
        if isinstance(value, (datetime, date)):
            return value.isoformat()
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return None
        return str(value).encode("utf-8").decode()
    except UNREADABLE:
        return None
