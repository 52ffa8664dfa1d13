"""Bytes of a raw file, decompressed and cut into runs of lines, with bounded memory whatever the file holds.

Knows compression and line ends, nothing of formats. The invariant: everything that can be read before a break is
handed on before the break is reported, and what can be read behind it comes with the report.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO, Any

CHUNK = 64 << 10
PLAIN_CHUNK = 1 << 20
ZST_CHUNK = 2 << 10  # a zstd decompressor gives all that a piece of input holds at once, 32,768 times it at most
LARGEST_WINDOW = 1 << 31  # of zstd --long=31, by which large public dumps are written; it fills as the file unfolds
OUT_AT_ONCE = 1 << 20
BLOCK = 4 << 20  # bytes of lines handed on together: enough to pay for a call, small beside a shard
# Text shrinks to a third or a tenth, the most repetitive logs to a hundredth. A file that grows beyond this is a bomb.
LARGEST_RATIO = 200
RATIO_FROM = 64 << 20  # decompressed bytes below which no ratio is asked for
MEMBER = b"\x1f\x8b\x08"  # how a gzip member begins
PROBE = 4096  # bytes that must decompress where a new member is thought to begin


class BrokenStream(Exception):
    """A compressed stream ends or fails after `offset` decompressed bytes.

    `rest` is the stream behind the break, where it goes on; `reason` names the kind of trouble for the quarantine.
    """

    def __init__(
        self, offset: int, why: str, rest: Iterator[bytes] | None = None, reason: str = "broken_stream"
    ) -> None:
        super().__init__(f"{why} after {offset} bytes")
        self.offset, self.rest, self.reason = offset, rest, reason


def open_stream(file: IO[bytes], path: str) -> Iterator[bytes]:
    """Pieces of a file's decompressed bytes, by its name's ending; raises BrokenStream after the last good piece."""
    if path.lower().endswith(".gz"):
        taken = _Taken(file)
        return _counted(_gunzip(taken), taken)
    if path.lower().endswith(".zst"):
        taken = _Taken(file)
        return _counted(_unzstd(taken), taken)
    return iter(lambda: file.read(PLAIN_CHUNK), b"")


def blocks(pieces: Iterator[bytes], longest: int) -> Iterator[tuple[bytes, bool]]:
    """Runs of whole lines of about BLOCK bytes, each with its lines' ends, and True.

    A line that is still unfinished after `longest` bytes comes as its beginning, with False; the rest of it is passed
    over. An end of text without a line end still gives its line; after a BrokenStream the unfinished one is dropped.
    """
    whole: list[bytes] = []  # pieces of finished lines, and of the unfinished one: joined once, so that a long line
    line: list[bytes] = []  # costs its length
    whole_size = line_size = 0
    passing_over = False
    try:
        for piece in pieces:
            if passing_over:
                _, found, piece = piece.partition(b"\n")
                passing_over = not found
            end = piece.rfind(b"\n") + 1
            if end:
                whole += [*line, piece[:end]]
                whole_size += line_size + end
                line, line_size = [], 0
            if end < len(piece):
                line.append(piece[end:])
                line_size += len(piece) - end
            if whole and (whole_size >= BLOCK or line_size > longest):
                run, whole, whole_size = b"".join(whole), [], 0
                yield run, True
            if line_size > longest:
                run, line, line_size, passing_over = b"".join(line)[:longest], [], 0, True
                yield run, False
    except BrokenStream:
        if whole:
            yield b"".join(whole), True
        raise
    if whole or line:
        yield b"".join([*whole, *line]), True


def read_all(pieces: Iterator[bytes], longest: int) -> bytes | None:
    """All bytes of a stream, or None when there are more than `longest`."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > longest:
            return None
    return b"".join(held)


class _Failed(Exception):
    def __init__(self, why: str, rest: Iterator[bytes] | None = None) -> None:
        super().__init__(why)
        self.rest = rest


class _Taken:
    """A file that counts the bytes read from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.bytes = file, 0

    def read(self, size: int) -> bytes:
        data = self.file.read(size)
        self.bytes += len(data)
        return data


def _counted(pieces: Iterator[bytes], taken: _Taken, size: int = 0) -> Iterator[bytes]:
    try:
        for piece in pieces:
            size += len(piece)
            if size > RATIO_FROM and size > LARGEST_RATIO * taken.bytes:
                why = f"grows to more than {LARGEST_RATIO} times its size, as only a zip bomb does;"
                raise BrokenStream(size, why, reason="zip_bomb")
            yield piece
    except _Failed as error:
        rest = error.rest and _counted(error.rest, taken, size)
        raise BrokenStream(size, str(error), rest) from None


def _gunzip(file: _Taken, data: bytes = b"") -> Iterator[bytes]:
    state = zlib.decompressobj(wbits=31)
    fresh = True  # between members, where an end of file is right
    while data := data or file.read(CHUNK):
        while data:
            if fresh and not data.strip(b"\0"):
                data = b""  # zero padding after the last member, as tar and tapes leave it
                break
            before = state.copy()
            try:
                piece = state.decompress(data, OUT_AT_ONCE)
            except zlib.error as error:
                yield from _salvage(before, data)
                raise _Failed(f"gzip: {error}", _next_member(file, data[1:] if fresh else data)) from None
            fresh = False
            yield piece
            data = state.unconsumed_tail
            if state.eof:
                data, fresh = state.unused_data, True
                state = zlib.decompressobj(wbits=31)
    while not fresh and (piece := state.decompress(state.unconsumed_tail, OUT_AT_ONCE)):
        yield piece
    if not fresh and not state.eof:
        raise _Failed("gzip: the file ends inside a member")


def _next_member(file: _Taken, data: bytes) -> Iterator[bytes] | None:
    """The stream from the next place on where a member begins and decompresses for a while, if there is one."""
    while True:
        at = data.find(MEMBER)
        if at < 0:
            more = file.read(CHUNK)
            data = data[-len(MEMBER) + 1 :] + more
            if not more:
                return None
            continue
        data = data[at:]
        while len(data) < PROBE and (more := file.read(CHUNK)):
            data += more
        try:
            if zlib.decompressobj(wbits=31).decompress(data[:PROBE]):
                return _gunzip(file, data)
        except zlib.error:
            pass
        data = data[1:]


def _salvage(state: Any, data: bytes) -> Iterator[bytes]:
    """What a decompressor gives before the byte at which it fails."""
    for i in range(len(data)):
        try:
            piece = state.decompress(data[i : i + 1])
        except zlib.error:
            return
        yield piece


def _unzstd(file: _Taken) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    state: Any = decompressor.decompressobj()
    fresh = True
    while data := file.read(ZST_CHUNK):
        while data:
            try:
                piece = state.decompress(data)
            except zstandard.ZstdError as error:
                raise _Failed(f"zstd: {error}") from None
            fresh, data = False, b""
            yield piece
            if state.eof:
                data, fresh = state.unused_data, True
                state = decompressor.decompressobj()
    if not fresh:
        raise _Failed("zstd: the file ends inside a frame")
