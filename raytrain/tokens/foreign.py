"""Token files of other trainers, in and out: datatrove's .ds, Megatron's .bin with .idx, nanoGPT's .bin.

Layouts only: where the ids lie, how wide they are, where documents end. Sources: datatrove's TokenizedFile
(.ds flat, .ds.index uint64 document ends, .ds.metadata "tokenizer|bytes a token"); Megatron Core's
indexed_dataset.py (.idx version 1); nanoGPT's prepare.py (flat uint16, documents end with end-of-text) and the same
behind llm.c's header of 256 int32. The invariant: what is written in a layout is read back as the same documents.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytrain.errors import UserError
from raytrain.store.uri import open_file
from raytrain.tokens.shards import token_dtype

MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
MEGATRON_TYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
LLMC_MAGIC, LLMC_HEADER = 20240520, 1024
ENDINGS = {"datatrove": ".ds", "megatron": ".bin", "nanogpt": ".bin"}


@dataclass(frozen=True)
class TokenFile:
    """A file of ids: `offset` bytes of header, `count` ids of `dtype`; `ends` of documents, or None where end-of-text
    alone divides them."""

    uri: str
    dtype: np.dtype[Any]
    offset: int
    count: int
    ends: np.ndarray | None

    def read(self, start: int, stop: int) -> np.ndarray:
        """The ids from position `start` to `stop`."""
        with open_file(self.uri) as file:
            file.seek(self.offset + start * self.dtype.itemsize)
            data = file.read((stop - start) * self.dtype.itemsize)
        if len(data) != (stop - start) * self.dtype.itemsize:
            raise UserError(f"{self.uri}: ends before its {self.count} tokens; copy it again")
        return np.frombuffer(data, self.dtype)


def companions_of(layout: str, name: str) -> tuple[str, ...]:
    """The names of the files that may stand beside a token file of this name and tell of it."""
    if layout == "megatron":
        return (name.removesuffix(".bin") + ".idx",)
    return (f"{name}.index", f"{name}.metadata") if layout == "datatrove" else ()


def open_tokens(layout: str, uri: str, size: int, companions: Mapping[str, str], vocab_size: int) -> TokenFile:
    """A token file of `size` bytes. `companions` are the URIs of those of `companions_of` that are there, by name.

    UserError for a file that is cut, whose index is missing or that is no such file.
    """
    if layout == "datatrove":
        return _datatrove(uri, size, companions, vocab_size)
    if layout == "megatron":
        return _megatron(uri, size, companions)
    return _nanogpt(uri, size, vocab_size)


def _datatrove(uri: str, size: int, companions: Mapping[str, str], vocab_size: int) -> TokenFile:
    index_name, metadata_name = companions_of("datatrove", uri.rpartition("/")[2])
    width = token_dtype(vocab_size).itemsize
    if metadata_name in companions:
        first = _bytes(companions[metadata_name]).decode("utf-8", "replace").partition("\n")[0]
        said = first.rpartition("|")[2].strip()
        width = int(said) if said in ("2", "4") else width
    if index_name not in companions:
        raise UserError(f"{uri}: no {index_name} beside it; write the shards with save_index=True")
    ends = np.frombuffer(_bytes(companions[index_name]), "<u8").astype(np.int64)
    return _checked(TokenFile(uri, np.dtype(f"<u{width}"), 0, size // width, ends), size)


def _megatron(uri: str, size: int, companions: Mapping[str, str]) -> TokenFile:
    (index_name,) = companions_of("megatron", uri.rpartition("/")[2])
    if index_name not in companions:
        raise UserError(f"{uri}: no {index_name} beside it")
    index = _bytes(companions[index_name])
    if index[:9] != MEGATRON_MAGIC or len(index) < 34:
        raise UserError(f"{companions[index_name]}: no index of Megatron's (magic MMIDIDX)")
    version, code, sequences, documents = struct.unpack_from("<QBQQ", index, 9)
    if version != 1 or code not in MEGATRON_TYPES or len(index) < 34 + 12 * sequences + 8 * documents:
        raise UserError(f"{companions[index_name]}: version {version}, type {code}: cut, or no index of ids")
    dtype = np.dtype(MEGATRON_TYPES[code])
    lengths = np.frombuffer(index, "<i4", sequences, 34).astype(np.int64)
    pointers = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    bounds = np.concatenate(([0], np.cumsum(lengths)))
    if not np.array_equal(pointers, bounds[:-1] * dtype.itemsize):
        raise UserError(f"{companions[index_name]}: its sequences do not lie one behind the other; merge them first")
    last = np.frombuffer(index, "<i8", documents, 34 + 12 * sequences)  # sequences before each document, and all
    return _checked(TokenFile(uri, dtype, 0, int(bounds[-1]), bounds[last[1:]]), size)


def _nanogpt(uri: str, size: int, vocab_size: int) -> TokenFile:
    with open_file(uri) as file:
        head = file.read(12)
    if len(head) == 12 and struct.unpack("<3i", head)[0] == LLMC_MAGIC:
        count = struct.unpack("<3i", head)[2]
        width = (size - LLMC_HEADER) // max(1, count)
        if width not in (2, 4):
            raise UserError(f"{uri}: {size} bytes for the {count} tokens of its header; copy it again")
        return _checked(TokenFile(uri, np.dtype(f"<u{width}"), LLMC_HEADER, count, None), size)
    width = token_dtype(vocab_size).itemsize
    return _checked(TokenFile(uri, np.dtype(f"<u{width}"), 0, size // width, None), size)


def _checked(found: TokenFile, size: int) -> TokenFile:
    ends = found.ends
    rising = ends is None or bool((np.diff(ends, prepend=0) >= 0).all())
    last = found.count if ends is None or not len(ends) else int(ends[-1])
    if not rising or last != found.count or size != found.offset + found.count * found.dtype.itemsize:
        raise UserError(
            f"{found.uri}: {size} bytes hold {found.count} tokens of {found.dtype.itemsize} bytes, its index says "
            f"{last}; copy both again"
        )
    return found


def _bytes(uri: str) -> bytes:
    with open_file(uri) as file:
        return file.read()


def megatron_index(dtype: np.dtype[Any], lengths: np.ndarray) -> bytes:
    """The .idx of a .bin whose documents, one sequence each, have these lengths in tokens."""
    code = next(code for code, known in MEGATRON_TYPES.items() if np.dtype(known) == dtype)
    count = len(lengths)
    pointers = (np.cumsum(lengths) - lengths) * dtype.itemsize
    body = (lengths.astype("<i4"), pointers.astype("<i8"), np.arange(count + 1, dtype="<i8"))
    head = MEGATRON_MAGIC + struct.pack("<QBQQ", 1, code, count, count + 1)
    return head + b"".join(array.tobytes() for array in body)
