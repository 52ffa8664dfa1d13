"""The bytes and offsets below an Arrow string column, as numpy sees them: no copy where it can be helped."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]
A = TypeVar("A", bound=NDArray[Any])


def text_buffers(column: Any) -> tuple[Bytes, Offsets]:
    """(data, offsets) of a column of texts without nulls: text i is data[offsets[i]:offsets[i + 1]], valid UTF-8."""
    import pyarrow as pa

    if column.null_count:
        raise ValueError(f"a text column with {column.null_count} nulls; a document always has text")
    array = column.cast(pa.large_string())  # before pieces are joined: together they may be more than 2 GB
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    _, offsets, data = array.buffers()
    if len(array) == 0 or data is None:
        return frozen(np.zeros(0, np.uint8)), frozen(np.zeros(len(array) + 1, np.int64))
    held = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data, np.uint8), held


def frozen(array: A) -> A:
    """The same array, read-only like Arrow's own: a kernel is compiled once for each kind."""
    array.setflags(write=False)
    return array
