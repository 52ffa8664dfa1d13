"""The documents that are searched: who sends which, and their ids as numbers."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.corpus.dedup import pool as pools
from raytrain.corpus.dedup.pool import Pool, halves_of, ids_of

SIZES = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 400)), min_size=1, max_size=30)


def pool(sizes: list[tuple[int, int]]) -> Pool:
    """A pool of shards, given the documents of each and the bytes of one of its documents."""
    first = [0, *itertools.accumulate(many for many, _ in sizes)]
    shards: list[dict[str, Any]] = [
        {"first": at, "rows": many, "documents": {"facts": {"bytes": many * size}}}
        for at, (many, size) in zip(first, sizes, strict=False)
    ]
    return Pool(shards, first[-1], first[-1])


@given(SIZES)
def test_a_sender_is_bounded_by_documents_and_by_bytes(sizes: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pools, "SENDER_DOCUMENTS", 60)
        patched.setattr(pools, "SENDER_BYTES", 3000)
        patched.setattr(pools, "SENDERS", 2)
        held = pool(sizes)
        runs = held.senders()
    assert [shard for run in runs for shard in run] == held.shards
    for run in runs:
        full = [shard for shard in run if shard["rows"]]
        assert len(full) == 1 or sum(shard["rows"] for shard in full) <= 60
        assert len(full) == 1 or sum(shard["documents"]["facts"]["bytes"] for shard in full) <= 3000


def test_a_small_corpus_does_not_wait_for_one_worker() -> None:
    assert len(pool([(10, 100)] * 40).senders()) == 40
    assert len(pool([(10, 100)] * 640).senders()) == pools.SENDERS


def test_ids_are_the_same_in_one_piece_and_in_many() -> None:
    ids = [f"{i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for i in range(50)]
    pieces = pa.chunked_array([pa.array(ids[:20])[3:], pa.array([], pa.string()), pa.array(ids[20:])])
    assert ids_of(*halves_of(pieces)).to_pylist() == ids[3:]
