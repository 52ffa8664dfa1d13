"""Columns of few distinct values as codes, and document ids as numbers: what judges documents without touching one.

Not for text. The invariant: `values[codes[i]]` is the value of document i, so that what holds for a value is asked
once and spread over the documents by numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Coded:
    """A column by its distinct values; two codes may stand for the same value."""

    values: tuple[str | None, ...]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, column: Any) -> Coded:
        """The same column as Arrow holds it, or as a sequence of strings and None."""
        import pyarrow as pa
        import pyarrow.compute as pc

        held = column if isinstance(column, (pa.Array, pa.ChunkedArray)) else pa.array(column, pa.string())
        held = held.combine_chunks() if isinstance(held, pa.ChunkedArray) else held
        coded = pc.dictionary_encode(held, null_encoding="encode")
        return cls(tuple(coded.dictionary.to_pylist()), coded.indices.to_numpy().astype(np.int64))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, document: int) -> str | None:
        return self.values[int(self.codes[document])]

    def where(self, holds: Callable[[str | None], bool]) -> NDArray[np.bool_]:
        """Of which documents something holds, asked once a value."""
        return np.array([holds(value) for value in self.values], np.bool_)[self.codes]

    def unless(self, mine: NDArray[np.bool_], other: Coded) -> Coded:
        """This column where `mine`, the other one elsewhere."""
        codes = np.where(mine, self.codes, other.codes + len(self.values))
        return Coded(self.values + other.values, codes)

    def take(self, documents: NDArray[np.int64]) -> Any:
        """The values of some documents as an Arrow column."""
        import pyarrow as pa

        coded = pa.DictionaryArray.from_arrays(
            pa.array(self.codes[documents], pa.int64()), pa.array(self.values, pa.string())
        )
        return coded.cast(pa.string())

    def sums(self, weights: Sequence[NDArray[Any]]) -> dict[str, list[int]]:
        """Per value the sums of each weight over its documents; None is called "unknown"."""
        found: dict[str, list[int]] = {}
        columns = [np.bincount(self.codes, weight, len(self.values)).astype(np.int64) for weight in weights]
        many = np.bincount(self.codes, minlength=len(self.values))
        for code, value in enumerate(self.values):
            if many[code]:
                held = found.setdefault(value or "unknown", [0] * len(weights))
                for i, column in enumerate(columns):
                    held[i] += int(column[code])
        return found


def id_numbers(doc_ids: Any) -> NDArray[np.uint64]:
    """The last 64 of the 128 bits of each document id (32 hex digits): a hash of its text, fair to draw by."""
    import pyarrow as pa

    held = doc_ids.combine_chunks() if isinstance(doc_ids, pa.ChunkedArray) else doc_ids
    if not len(held):
        return np.zeros(0, np.uint64)
    fixed = held.cast(pa.binary(32))
    digits = np.frombuffer(fixed.buffers()[1], np.uint8)[32 * fixed.offset :]
    digits = digits[: 32 * len(held)].reshape(-1, 32)[:, 16:]
    values = (digits & 15) + 9 * (digits >> 6)  # the value of an ASCII hex digit
    numbers = np.ascontiguousarray(values[:, ::2] << 4 | values[:, 1::2]).view(">u8")
    return numbers.reshape(-1).astype(np.uint64)
