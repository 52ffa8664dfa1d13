"""Candidates: what the bands find, whoever looks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.dedup.bands import ROW, band_rows, candidate_pairs, distinct
from raytrain.corpus.dedup.exchange import ranges, read_ranges, write_partitions
from raytrain.corpus.kernels import EXACT, NEAR, TEMPLATE
from raytrain.store import ArtifactWriter, Store

BANDS, WIDTH = 3, 2


def found(values: np.ndarray, texts: np.ndarray, partitions: int = 1, shingles: int = 1) -> set[tuple[int, int, int]]:
    rows = band_rows(values, np.full(len(texts), shingles, np.int32), texts, 0, BANDS)
    parts = (rows["key"] >> np.uint64(33)) % np.uint64(partitions)
    pairs = [candidate_pairs(rows[parts == p]) for p in range(partitions)]
    return {(int(a), int(b), int(kind)) for a, b, kind in distinct(np.concatenate(pairs))}


def truth(values: np.ndarray, texts: np.ndarray) -> set[tuple[int, int, int]]:
    first = {int(text): i for i, text in reversed(list(enumerate(texts)))}
    pairs = {(first[int(t)], i, EXACT) for i, t in enumerate(texts) if first[int(t)] != i}
    for a, b in combinations(sorted(first.values()), 2):
        if (values[a] == values[b]).reshape(BANDS, WIDTH).all(axis=1).any():
            pairs.add((a, b, NEAR))
    return pairs


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * (BANDS * WIDTH)), min_size=1, max_size=25),
    st.integers(1, 5),
    st.integers(0, 3),
)
def test_candidates_are_all_pairs_that_agree_in_a_band_and_all_copies(
    signatures: list[tuple[int, ...]], partitions: int, salt: int
) -> None:
    values = np.array(signatures, np.uint32)
    # Equal texts have equal signatures; unequal texts may have, too.
    texts = np.array([hash((s, salt)) % 7 * 1000 + int(np.ravel_multi_index(s, (3,) * 6)) for s in signatures])
    assert found(values, texts.astype(np.uint64), partitions) == truth(values, texts)


def test_a_text_without_shingles_is_a_candidate_of_its_copies_alone() -> None:
    values = np.full((3, BANDS * WIDTH), 0xFFFFFFFF, np.uint32)
    assert found(values, np.array([5, 6, 5], np.uint64), shingles=0) == {(0, 2, EXACT)}


def test_a_template_costs_two_comparisons_a_text_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.corpus.dedup.bands.ALL_PAIRS", 4)
    same = np.zeros((10, BANDS * WIDTH), np.uint32)
    pairs = found(same, np.arange(10, dtype=np.uint64))
    assert pairs == {(i - 1, i, TEMPLATE) for i in range(1, 10)} | {(0, i, TEMPLATE) for i in range(2, 10)}
    few = found(same[:4], np.arange(4, dtype=np.uint64))
    assert few == {(a, b, NEAR) for a, b in combinations(range(4), 2)}


def test_a_million_copies_of_one_text_are_linear() -> None:
    rows = np.zeros(1_000_000, ROW)
    rows["key"], rows["text"], rows["doc"] = 3, 9, np.arange(1_000_000)
    pairs = candidate_pairs(rows)
    assert len(pairs) == 999_999
    assert (pairs[:, 0] == 0).all()


def test_partitions_receive_every_row_once(tmp_path: object) -> None:
    store = Store(str(tmp_path))
    draw = np.random.default_rng(0)
    sent = np.zeros(300, ROW)
    sent["key"], sent["doc"] = draw.integers(0, 2**60, 300), np.arange(300)
    records = []
    for shard in range(3):
        rows = sent[shard * 100 : (shard + 1) * 100]
        records.append(write_partitions(ArtifactWriter(store, "x"), shard, rows, rows["doc"].astype(np.int64) % 7, 7))
    got = [read_ranges(store, ranges(records, p), ROW) for p in range(7)]
    assert all((rows["doc"] % 7 == p).all() for p, rows in enumerate(got))
    assert np.array_equal(np.sort(np.concatenate(got), order="doc"), sent)
