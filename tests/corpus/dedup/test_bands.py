"""Candidates: what the bands find, whoever looks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.dedup import exchange
from raytrain.corpus.dedup.bands import (
    ROW,
    band_rows,
    candidate_pairs,
    distinct,
    needed,
    of_documents,
    partition_of,
    signature_values,
)
from raytrain.corpus.kernels import NEAR, TEMPLATE
from raytrain.store import ArtifactWriter, Store

BANDS, WIDTH = 3, 2


def found(values: np.ndarray, partitions: int = 1, own: int | None = None) -> set[tuple[int, int, int]]:
    count = len(values)
    rows = band_rows(values, np.arange(count), BANDS)
    parts = partition_of(rows["key"], partitions)
    pairs = [candidate_pairs(rows[parts == p], count if own is None else own) for p in range(partitions)]
    return set(distinct(np.concatenate(pairs)).tolist())


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * (BANDS * WIDTH)), min_size=1, max_size=25),
    st.integers(1, 5),
    st.integers(0, 25),
)
def test_candidates_are_all_pairs_that_agree_in_a_band_but_those_of_earlier_corpora_alone(
    signatures: list[tuple[int, ...]], partitions: int, own: int
) -> None:
    values = np.array(signatures, np.uint32)
    bands = values.reshape(-1, BANDS, WIDTH)
    agree = {(a, b) for a, b in combinations(range(len(values)), 2) if (bands[a] == bands[b]).all(axis=1).any()}
    assert found(values, partitions, own) == {(a, b, NEAR) for a, b in agree if a < own}


def test_a_template_costs_three_comparisons_a_text_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.corpus.dedup.bands.ALL_PAIRS", 4)
    same = np.zeros((10, BANDS * WIDTH), np.uint32)
    chain, star = {(i - 1, i) for i in range(1, 10)}, {(0, i) for i in range(2, 10)}
    assert found(same) == {(*pair, TEMPLATE) for pair in chain | star}
    chain, star = {(i - 1, i) for i in range(1, 6)}, {(0, i) for i in range(2, 6)}
    earlier = {(i, 6) for i in range(6)}
    assert found(same, own=6) == {(*pair, TEMPLATE) for pair in chain | star | earlier}
    assert found(same[:4]) == {(a, b, NEAR) for a, b in combinations(range(4), 2)}


def test_a_range_is_told_of_every_document_that_it_compares() -> None:
    pairs = candidate_pairs(band_rows(np.zeros((4, BANDS * WIDTH), np.uint32), np.arange(4), BANDS), 4)
    assert needed(pairs, pairs["a"] // 2).tolist() == [(0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]


def test_partitions_receive_every_row_once(tmp_path: object) -> None:
    store = Store(str(tmp_path))
    draw = np.random.default_rng(0)
    sent = np.zeros(300, ROW)
    sent["key"], sent["doc"] = draw.integers(0, 2**64, 300, np.uint64), np.arange(300)
    records = []
    for sender in range(3):
        rows, writer = sent[sender * 100 : (sender + 1) * 100], ArtifactWriter(store, "x")
        objects = exchange.send(writer, sender, "rows", rows, rows["doc"] % 7, 8)
        records.append(writer.commit_shard(sender, objects, len(rows)))
    where = exchange.plan(store, "x", "rows", records)
    assert where["rows"] == 300
    got = [exchange.receive(store, where, p, ROW) for p in range(8)]
    assert all((rows["doc"] % 7 == p).all() for p, rows in enumerate(got))
    assert len(got[7]) == 0
    assert np.array_equal(np.sort(np.concatenate(got), order="doc"), sent)
    assert np.array_equal(np.sort(exchange.receive_all(store, records, "rows.bin", ROW), order="doc"), sent)


def test_shards_of_no_documents_have_no_rows_even_behind_the_last_range(tmp_path: object) -> None:
    store = Store(str(tmp_path))
    writer = ArtifactWriter(store, "x")
    rows = np.zeros(4, ROW)
    rows["doc"] = np.arange(4)
    sent = writer.commit_shard(0, exchange.send(writer, 0, "rows", rows, rows["doc"] // 2, 2), len(rows))
    where = exchange.plan(store, "x", "rows", [sent])

    def held(*shards: tuple[int, int]) -> list[int]:
        task = {"shards": [{"first": first, "rows": count} for first, count in shards], "range": 2}
        return list(of_documents(store, task, where, ROW)["doc"].tolist())

    assert held((0, 0), (0, 3)) == [0, 1, 2]
    assert held((1, 3), (4, 0)) == [1, 2, 3]
    assert held((4, 0)) == held((2, 0)) == []


def test_partitions_are_of_equal_size() -> None:
    keys = np.random.default_rng(1).integers(0, 2**64, 100_000, np.uint64)
    sizes = np.bincount(partition_of(keys, 7), minlength=7)
    assert len(sizes) == 7
    assert abs(sizes - 100_000 / 7).max() < 600


def test_signatures_are_read_from_any_slice_of_a_column() -> None:
    values = np.arange(40, dtype="<u4").reshape(10, 4)
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), 10, [None, pa.py_buffer(values.tobytes())])
    assert np.array_equal(signature_values(pa.chunked_array([column[3:8]])), values[3:8])
