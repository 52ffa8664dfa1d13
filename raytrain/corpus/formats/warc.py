"""Web archives (ISO 28500): pages out of WARC, extracted text out of WET.

A record is a response with status 200 that holds HTML or plain text, or a conversion to plain text; everything else
is counted by kind and passed over. The invariant: a damaged or cut record gives no text, and costs no record that
stands in another gzip member.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO, Any, cast

from raytrain.corpus.formats.html import EXPANSION, BadPage, text_of
from raytrain.corpus.readers import START_BYTES, Broken, Raw, record_of
from raytrain.corpus.streams import BrokenStream, open_stream

HTML_TYPES = ("text/html", "application/xhtml+xml")
TEXT_TYPES = ("text/plain",)


def read_warc(file: IO[bytes], path: str, longest: int, extractor: str) -> Iterator[Raw | Broken]:
    passed_over: Counter[str] = Counter()
    number = 0
    stream: Iterator[bytes] | None = open_stream(file, path)
    while stream is not None:
        pieces = _Pieces(stream)
        for found in _records(pieces, number, longest, extractor, passed_over):
            number = found.record + 1
            yield found
        if pieces.broken is not None:
            yield Broken(number, pieces.broken.reason, str(pieces.broken))
            number += 1
        stream = pieces.broken.rest if pieces.broken is not None else None
    for reason, count in sorted(passed_over.items()):
        yield Broken(number, reason, "passed over", count=count)


class _Pieces:
    """A stream's pieces as the file that fastwarc reads: it must not raise, so a break is an end that is remembered."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0
        self.broken: BrokenStream | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._held:
                self._held = next(self._pieces)
        except StopIteration:
            return b""
        except BrokenStream as error:
            self.broken, self._pieces = error, iter(())
            return b""
        part = self._held if size < 0 else self._held[:size]
        self._held = self._held[len(part) :]
        self._at += len(part)
        return part

    def tell(self) -> int:
        return self._at


def _records(
    pieces: _Pieces, number: int, longest: int, extractor: str, passed_over: Counter[str]
) -> Iterator[Raw | Broken]:
    """The records of one unbroken stretch, numbered by their place among those that are not passed over."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    asked = WarcRecordType.response | WarcRecordType.conversion
    try:
        for record in ArchiveIterator(cast(Any, pieces), record_types=asked, auto_decode="all"):
            reason = _passed_over(record)
            if reason is not None:
                passed_over[reason] += 1
                continue
            limit = longest if record.record_type == WarcRecordType.conversion else EXPANSION * longest
            if record.content_length > limit:
                yield Broken(number, "oversize", f"{record.content_length} bytes", _url(record).encode()[:START_BYTES])
            else:
                body = record.reader.read(limit + 1)
                if pieces.broken is not None:
                    continue  # the break is reported by itself
                if len(body) > limit:  # only what came packed over the wire can be longer than its record
                    yield Broken(number, "zip_bomb", f"grows beyond {limit} bytes", _url(record).encode()[:START_BYTES])
                    number += 1
                    continue
                if len(body) < record.content_length and not _encoded(record):
                    detail = f"{len(body)} bytes of {record.content_length}"
                    yield Broken(number, "bad_warc", detail, body[:START_BYTES])
                else:
                    yield _text(number, record, body, extractor)
            number += 1
    except OSError as error:
        yield Broken(number, "bad_warc", str(error)[:300])


def _passed_over(record: Any) -> str | None:
    from fastwarc.warc import WarcRecordType

    if record.record_type == WarcRecordType.conversion:
        return None
    if not record.is_http:
        return "not_http"
    if record.http_headers.status_code != 200:
        return "http_status"
    return None if record.http_content_type in HTML_TYPES + TEXT_TYPES else "not_text"


def _encoded(record: Any) -> bool:
    """Whether the body was stored as it came over the wire, packed or in chunks."""
    headers = record.http_headers
    return bool(headers and (headers.get("Content-Encoding") or headers.get("Transfer-Encoding")))


def _text(number: int, record: Any, body: bytes, extractor: str) -> Raw | Broken:
    fields = {"url": _url(record), "date": record.headers.get("WARC-Date"), "id": record.headers.get("WARC-Record-ID")}
    if record.http_content_type not in HTML_TYPES:
        return record_of(number, body, fields)
    try:
        return record_of(number, text_of(body, extractor, record.http_charset), fields)
    except BadPage as error:
        return Broken(number, "bad_html", str(error), body[:START_BYTES])


def _url(record: Any) -> str:
    return str(record.headers.get("WARC-Target-URI") or "")
