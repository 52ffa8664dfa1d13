"""Comma- and tab-separated values (RFC 4180): the first row names the columns, every other one is a record.

A row ends with the line in which its quotes are even. The invariant: a row that cannot be read costs no other, and
no more than one row is held, however far away the quote that would close it.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from typing import IO

from raytrain.corpus.readers import OWN_FIELDS, START_BYTES, Broken, Raw, plain, record_of
from raytrain.corpus.streams import BrokenStream, blocks, open_stream

OTHER_COLUMNS = 1 << 20  # bytes of a row beside its text


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
            rows = _rows(stream, limit)
            for row, whole in rows:
                values = _values(number, row, separator) if whole else _too_long(number, row, limit)
                if isinstance(values, list) and names is None:
                    names = values
                    if text_field not in names:
                        detail = f"no column {text_field!r} among {', '.join(names[:10])}"
                        yield Broken(0, "missing_text", detail, count=max(1, _count(rows)))
                        return
                    continue
                yield _record(number, values, names or [], text_field, row)
                number += 1
            stream = None
        except BrokenStream as error:
            yield Broken(number, error.reason, str(error))
            number += 1
            stream = error.rest


def _rows(stream: Iterator[bytes], limit: int) -> Iterator[tuple[bytes, bool]]:
    """Rows with their line ends, and whether each is whole; blank ones are none."""
    held: list[bytes] = []
    quotes = size = 0
    for block, whole in blocks(stream, limit):
        for line in block.splitlines(keepends=True) if whole else [block]:
            held.append(line)
            quotes += line.count(b'"')
            size += len(line)
            done = quotes % 2 == 0 or not whole or size > limit
            if not done:
                continue
            row, held, quotes, size = b"".join(held), [], 0, 0
            if row.strip():
                yield row, whole and len(row) <= limit
    if held:
        yield b"".join(held), True  # its quote is never closed: csv says so


def _values(number: int, row: bytes, separator: str) -> list[str] | Broken:
    try:
        text = row.removeprefix(codecs.BOM_UTF8).decode("utf-8") if number == 0 else row.decode("utf-8")
        return next(csv.reader([text], delimiter=separator, strict=True))
    except UnicodeDecodeError as error:
        return Broken(number, "not_utf8", f"byte {error.start} of the row", row[:START_BYTES])
    except csv.Error as error:
        return Broken(number, "bad_csv", str(error)[:300], row[:START_BYTES])


def _record(number: int, values: list[str] | Broken, names: list[str], text_field: str, row: bytes) -> Raw | Broken:
    if isinstance(values, Broken):
        return values
    if len(values) != len(names):
        detail = f"{len(values)} values, the header names {len(names)}"
        return Broken(number, "bad_csv", detail, row[:START_BYTES])
    named = dict(zip(names, values, strict=True))
    fields = {name: plain(named[name]) for name in OWN_FIELDS if name in named and name != text_field}
    return record_of(number, named[text_field], fields)


def _too_long(number: int, row: bytes, limit: int) -> Broken:
    return Broken(number, "oversize", f"a row of more than {limit} bytes", row[:START_BYTES])


def _count(rows: Iterator[tuple[bytes, bool]]) -> int:
    try:
        return sum(1 for _ in rows)
    except BrokenStream:
        return 1
