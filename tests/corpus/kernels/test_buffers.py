"""What kernels see of a column of texts."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest

from raytrain.corpus.kernels.buffers import text_buffers


def test_texts_are_the_same_in_any_pieces_and_of_either_type() -> None:
    texts = ["", "one", "zwei drei", "四"]
    for kind in (pa.string(), pa.large_string()):
        for column in (pa.array(["x", *texts], kind)[1:], pa.chunked_array([texts[:1], [], texts[1:]], kind)):
            data, offsets = text_buffers(column)
            assert [data[a:b].tobytes().decode() for a, b in itertools.pairwise(offsets)] == texts
    with pytest.raises(ValueError, match="1 nulls"):
        text_buffers(pa.chunked_array([["a"], [None]], pa.string()))


@pytest.mark.long  # 2.1 GB of memory
def test_pieces_may_be_more_together_than_a_string_column_holds() -> None:
    size = 2**30 + 10
    buffers = [None, pa.py_buffer(np.array([0, size], np.int32)), pa.py_buffer(np.zeros(size, np.uint8))]
    piece = pa.Array.from_buffers(pa.string(), 1, buffers)
    data, offsets = text_buffers(pa.chunked_array([piece, piece]))
    assert offsets.tolist() == [0, size, 2 * size]
    assert len(data) == 2 * size
