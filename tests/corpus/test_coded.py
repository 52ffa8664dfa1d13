"""Columns as codes give the answers that the values themselves give."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from raytrain.corpus.coded import Coded, id_numbers

VALUES = st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30)


@given(VALUES, VALUES)
def test_codes_answer_as_values_do(values: list[str | None], other: list[str | None]) -> None:
    held = Coded.of(values)
    assert [held[i] for i in range(len(held))] == values
    assert held.where(lambda value: value in ("a", None)).tolist() == [value in ("a", None) for value in values]
    assert held.take(np.arange(len(values))[::-1]).to_pylist() == values[::-1]
    size = np.arange(len(values))
    sums = {value or "unknown": [int(size[[v == value for v in values]].sum())] for value in set(values)}
    assert held.sums([size]) == sums
    many = min(len(values), len(other))
    mine = np.arange(many) % 2 == 0
    mixed = Coded.of(values[:many]).unless(mine, Coded.of(other[:many]))
    assert [mixed[i] for i in range(many)] == [(values if mine[i] else other)[i] for i in range(many)]


@given(st.lists(st.integers(0, (1 << 128) - 1), max_size=20), st.integers(0, 20))
def test_a_document_id_gives_its_last_64_bits(ids: list[int], cut: int) -> None:
    texts = [f"{number:032x}" for number in ids]
    held = pa.chunked_array([pa.array(texts[:cut], pa.string()), pa.array(texts[cut:], pa.string())])
    assert id_numbers(held).tolist() == [number & ((1 << 64) - 1) for number in ids]
    assert id_numbers(pa.array(texts, pa.string())[cut:]).tolist() == [n & ((1 << 64) - 1) for n in ids[cut:]]
