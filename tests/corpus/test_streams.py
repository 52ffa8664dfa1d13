"""Decompression that gives all it can before it reports a break, and lines in bounded memory."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from raytrain.corpus.streams import RATIO_FROM, BrokenStream, blocks, open_stream, read_all

TEXT = b"".join(b"line %d of the text, of which there are many\n" % i for i in range(20_000))


def compressed(ending: str, data: bytes = TEXT) -> bytes:
    return gzip.compress(data, 6, mtime=0) if ending == ".gz" else zstandard.ZstdCompressor().compress(data)


def drained(data: bytes, ending: str) -> tuple[bytes, BrokenStream | None]:
    held: list[bytes] = []
    try:
        for piece in open_stream(io.BytesIO(data), f"x{ending}"):
            held.append(piece)
    except BrokenStream as error:
        return b"".join(held), error
    return b"".join(held), None


@pytest.mark.parametrize("ending", [".gz", ".zst"])
class TestCompressed:
    def test_whole(self, ending: str) -> None:
        assert drained(compressed(ending), ending) == (TEXT, None)

    def test_several_members_end_to_end(self, ending: str) -> None:
        assert drained(compressed(ending, b"a\n") + compressed(ending, b"b\n"), ending) == (b"a\nb\n", None)

    def test_truncated(self, ending: str) -> None:
        data = compressed(ending)
        found, error = drained(data[: len(data) // 2], ending)
        assert error is not None
        assert TEXT.startswith(found)
        assert error.offset == len(found)
        if ending == ".gz":
            assert len(found) > len(TEXT) / 3

    def test_garbage_in_the_second_member_leaves_the_first(self, ending: str) -> None:
        found, error = drained(compressed(ending, b"whole\n") + b"garbage and no header", ending)
        assert found == b"whole\n"
        assert error is not None

    def test_no_compression_at_all(self, ending: str) -> None:
        found, error = drained(b"plain text under a false name", ending)
        assert found == b""
        assert error is not None

    def test_an_empty_file_is_empty(self, ending: str) -> None:
        assert drained(b"", ending) == (b"", None)


def test_gzip_damaged_in_the_middle_gives_what_stands_before() -> None:
    data = bytearray(compressed(".gz"))
    middle = len(data) // 2
    data[middle : middle + 50] = bytes(50)
    found, error = drained(bytes(data), ".gz")
    assert error is not None
    same = next((i for i, (a, b) in enumerate(zip(found, TEXT, strict=False)) if a != b), len(found))
    assert same > len(TEXT) / 3


def test_gzip_with_a_wrong_checksum_is_read_and_reported() -> None:
    data = bytearray(compressed(".gz"))
    data[-6] ^= 1
    found, error = drained(bytes(data), ".gz")
    assert found == TEXT
    assert error is not None


def through_breaks(data: bytes) -> tuple[bytes, int]:
    """All that a damaged gzip gives, and how often it broke."""
    held: list[bytes] = []
    stream: Iterator[bytes] | None = open_stream(io.BytesIO(data), "x.gz")
    breaks = 0
    while stream is not None:
        try:
            held += stream
            stream = None
        except BrokenStream as error:
            stream, breaks = error.rest, breaks + 1
    return b"".join(held), breaks


@pytest.mark.parametrize("damage", ["garbage between", "a wrong checksum", "a header cut off", "the mark of a member"])
def test_a_damaged_gzip_member_costs_no_later_one(damage: str) -> None:
    first, second, third = (compressed(".gz", text) for text in (b"first\n", TEXT, b"third\n"))
    broken = {
        "garbage between": second + b"garbage" * 20_000,
        "a wrong checksum": second[:-6] + b"...." + second[-2:],
        "a header cut off": second[5:],
        "the mark of a member": b"\x1f\x8b\x08\x00 and nothing of the kind",
    }[damage]
    found, breaks = through_breaks(first + broken + third)
    assert found.startswith(b"first\n")
    assert found.endswith(b"third\n")
    assert breaks == 1


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_zip_bomb_ends_at_a_stated_ratio(ending: str) -> None:
    bomb = compressed(ending, bytes(3 * RATIO_FROM))
    found, error = drained(bomb, ending)
    assert error is not None
    assert error.reason == "zip_bomb"
    assert error.rest is None
    assert RATIO_FROM / 2 < len(found) < 2 * RATIO_FROM


def test_what_grows_fast_but_stays_small_is_no_bomb() -> None:
    assert drained(compressed(".gz", bytes(RATIO_FROM // 4)), ".gz")[1] is None


def test_zeros_behind_a_gzip_are_padding() -> None:
    assert drained(compressed(".gz") + b"\0" * 1000, ".gz") == (TEXT, None)


@given(st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\r", b"\n")), max_size=20), st.integers(1, 30))
def test_blocks_of_lines_hold_what_the_pieces_hold_wherever_these_end(pieces: list[bytes], block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("raytrain.corpus.streams.BLOCK", block)
        found = list(blocks(iter(pieces), 1000))
    assert b"".join(some for some, _ in found) == b"".join(pieces)
    assert all(whole for _, whole in found)
    assert all(some.endswith(b"\n") for some, _ in found[:-1])


def test_an_endless_line_is_never_held() -> None:
    def endless() -> Iterator[bytes]:
        yield b"first\n"
        for _ in range(1000):
            yield b"x" * 100_000
        yield b"\nshort\n"

    found = list(blocks(endless(), 10))
    assert found == [(b"first\n", True), (b"x" * 10, False), (b"short\n", True)]
    assert read_all(endless(), 1000) is None
