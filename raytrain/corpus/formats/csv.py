"""Comma- and tab-separated values (RFC 4180): the first row names the columns, every other one is a record.

A quote opens a field only where the field begins; a row ends with the line in which its last one is closed. The
invariant: a row that cannot be read costs no other, however far away the quote that would close it: lines that make no
row together are read, and counted, one by one.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Literal

from raytrain.corpus.readers import OWN_FIELDS, START_BYTES, Broken, Raw, plain, record_of
from raytrain.corpus.streams import BrokenStream, blocks, open_stream

OTHER_COLUMNS = 1 << 20  # bytes of a row beside its text
LINES_OF_A_ROW = 1 << 18


def read_csv(file: IO[bytes], path: str, text_field: str, longest: int) -> Iterator[Raw | Broken]:
    # A doubled quote stands for one.
    limit = 2 * longest + OTHER_COLUMNS
    separator = "\t" if path.lower().removesuffix(".gz").removesuffix(".zst").endswith(".tsv") else ","
    csv.field_size_limit(max(csv.field_size_limit(), limit))
    names: list[str] | None = None
    number = 0
    stream: Iterator[bytes] | None = open_stream(file, path)
    while stream is not None:
        try:
            rows = _rows(stream, limit, separator.encode())
            for lines in rows:
                for values in _values(lines, names, separator, limit):
                    if isinstance(values, list) and names is None:
                        names = values
                        if text_field not in names:
                            detail = f"no column {text_field!r} among {', '.join(names[:10])}"
                            yield Broken(0, "missing_text", detail, count=max(1, _count(rows)))
                            return
                        continue
                    yield _record(number, values, names or [], text_field)
                    number += 1
            stream = None
        except BrokenStream as error:
            yield Broken(number, error.reason, str(error))
            number += 1
            stream = error.rest


def _rows(stream: Iterator[bytes], limit: int, separator: bytes) -> Iterator[list[bytes]]:
    """The lines, with their ends, of each row that is not blank; one by one where they make none."""
    held: list[bytes] = []
    size = 0
    mark = codecs.BOM_UTF8
    for block, whole in blocks(stream, limit):
        block, mark = block.removeprefix(mark), b""
        for line in block.splitlines(keepends=True) if whole else [block]:
            state = _quotes(line, bool(held), separator) if whole else "wrong"
            if held and (state == "wrong" or size + len(line) > limit or len(held) == LINES_OF_A_ROW):
                yield from _one_by_one(held)
                held, size = [], 0
                state = _quotes(line, False, separator) if whole else "wrong"
            held.append(line)
            size += len(line)
            if state != "open":
                if any(part.strip() for part in held):
                    yield held
                held, size = [], 0
    yield from _one_by_one(held)


def _one_by_one(lines: list[bytes]) -> Iterator[list[bytes]]:
    return ([line] for line in lines if line.strip())


def _quotes(line: bytes, inside: bool, separator: bytes) -> Literal["open", "closed", "wrong"]:
    """Whether a quoted field goes on behind a line that begins `inside` one, or outside at the start of a field.

    Wrong where something else than the field's end follows the quote that closes it.
    """
    at = 0
    if not inside and line.startswith(b'"'):
        inside, at = True, 1
    while True:
        if not inside:
            at = line.find(separator + b'"', at) + 2
            if at < 2:
                return "closed"
        at = line.find(b'"', at)
        if at < 0:
            return "open"
        behind = line[at + 1 : at + 2]
        inside, at = behind == b'"', at + 1
        if inside:
            at += 1  # doubled: it stands for one
        elif behind not in (b"", b"\r", b"\n", separator):
            return "wrong"


def _values(lines: list[bytes], names: list[str] | None, separator: str, limit: int) -> Iterator[list[str] | Broken]:
    """The values of a row; of each of its lines where together they are none of the header's."""
    row = b"".join(lines)
    # A line that is longer comes as its first `limit` bytes.
    values = _row(row, names, separator) if len(row) < limit else _too_long(row, limit)
    if len(lines) > 1 and isinstance(values, Broken) and values.reason == "bad_csv":
        for line in _one_by_one(lines):
            yield from _values(line, names, separator, limit)
    else:
        yield values


def _row(row: bytes, names: list[str] | None, separator: str) -> list[str] | Broken:
    try:
        # What is no UTF-8 is told after the row's shape: it may stand in a line that is none of the row's.
        values = next(csv.reader([row.decode("utf-8", "surrogateescape")], delimiter=separator, strict=True))
        if names is not None and len(values) != len(names):
            detail = f"{len(values)} values, the header names {len(names)}"
            return Broken(0, "bad_csv", detail, row[:START_BYTES])
        row.decode("utf-8")
        return values
    except UnicodeDecodeError as error:
        return Broken(0, "not_utf8", f"byte {error.start} of the row", row[:START_BYTES])
    except csv.Error as error:
        return Broken(0, "bad_csv", str(error)[:300], row[:START_BYTES])


def _record(number: int, values: list[str] | Broken, names: list[str], text_field: str) -> Raw | Broken:
    if isinstance(values, Broken):
        return replace(values, record=number)
    named = dict(zip(names, values, strict=True))
    fields = {name: plain(named[name]) for name in OWN_FIELDS if name in named and name != text_field}
    return record_of(number, named[text_field], fields)


def _too_long(row: bytes, limit: int) -> Broken:
    return Broken(0, "oversize", f"a row of {limit} bytes or more", row[:START_BYTES])


def _count(rows: Iterator[list[bytes]]) -> int:
    try:
        return sum(1 for _ in rows)
    except BrokenStream:
        return 1
