"""Bytes of a raw file, decompressed and cut into lines, with bounded memory whatever the file holds.

Knows compression and line ends, nothing of formats. The invariant: everything that can be read before a break is
handed on before the break is reported.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import IO, Any

CHUNK = 64 << 10
ZST_CHUNK = 8 << 10  # a zstd decompressor gives all that a piece of input holds at once, so pieces are small
OUT_AT_ONCE = 1 << 20


class BrokenStream(Exception):
    """A compressed stream ends or fails; `offset` counts the decompressed bytes that came before."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"{why} after {offset} bytes")
        self.offset = offset


def open_stream(file: IO[bytes], path: str) -> Iterator[bytes]:
    """Pieces of a file's decompressed bytes, by its name's ending; raises BrokenStream after the last good piece."""
    if path.lower().endswith(".gz"):
        return _counted(_gunzip(file))
    if path.lower().endswith(".zst"):
        return _counted(_unzstd(file))
    return iter(lambda: file.read(CHUNK), b"")


def lines(pieces: Iterator[bytes], longest: int) -> Iterator[tuple[bytes, bool]]:
    """Lines without their end, and whether each is whole: a longer one than `longest` is cut there.

    An end of text without a line end still gives its line; after a BrokenStream the unfinished line is dropped.
    """
    held: list[bytes] = []  # the line so far, in pieces: joined once, so that a long line costs its length
    size = 0
    for piece in pieces:
        first, *more = piece.split(b"\n")
        if size <= longest:
            held.append(first)
        size += len(first)
        for part in more:
            yield b"".join(held)[:longest], size <= longest
            held, size = [part], len(part)
    if size:
        yield b"".join(held)[:longest], size <= longest


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
    pass


def _counted(pieces: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            yield piece
    except _Failed as error:
        raise BrokenStream(size, str(error)) from None


def _gunzip(file: IO[bytes]) -> Iterator[bytes]:
    state = zlib.decompressobj(wbits=31)
    fresh = True  # between members, where an end of file is right
    while data := file.read(CHUNK):
        while data:
            if fresh and not data.strip(b"\0"):
                break  # zero padding after the last member, as tar and tapes leave it
            before = state.copy()
            try:
                piece = state.decompress(data, OUT_AT_ONCE)
            except zlib.error as error:
                yield from _salvage(before, data)
                raise _Failed(f"gzip: {error}") from None
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


def _salvage(state: Any, data: bytes) -> Iterator[bytes]:
    """What a decompressor gives before the byte at which it fails."""
    for i in range(len(data)):
        try:
            piece = state.decompress(data[i : i + 1])
        except zlib.error:
            return
        yield piece


def _unzstd(file: IO[bytes]) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
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
