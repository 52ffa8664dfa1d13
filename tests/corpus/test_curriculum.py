"""Difficulty bins: equal shares within each domain, whatever the shards."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus import difficulty, select
from raytrain.corpus.coded import Coded
from raytrain.corpus.curriculum import LEVELS, Tally, bins, edges, levels, tally
from raytrain.corpus.dedup.step import DEDUP
from raytrain.corpus.section import Source
from raytrain.corpus.select import KEPT
from raytrain.store import Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, LEVELS - 1), st.integers(1, 1000)), min_size=1),
    st.integers(2, 6),
    st.integers(1, 5),
)
def test_bins_do_not_depend_on_how_documents_are_cut_into_shards(
    documents: list[tuple[str, int, int]], many: int, shards: int
) -> None:
    def one(part: list[tuple[str, int, int]]) -> Tally:
        level, size = (np.array([row[i] for row in part], np.int64) for i in (1, 2))
        return tally(Coded.of([row[0] for row in part]), level, size)

    whole = edges([one(documents)], many)
    assert whole == edges([one(documents[i::shards]) for i in range(shards) if documents[i::shards]], many)
    assert all(cut == sorted(cut) and len(cut) == many - 1 for cut in whole.values())
    found = bins(Coded.of([row[0] for row in documents]), np.array([row[1] for row in documents]), whole)
    assert found.min() >= 0 and found.max() < many
    for domain, level, _ in documents:  # harder never stands in an easier bin
        easier = [b for (d, k, _), b in zip(documents, found, strict=True) if d == domain and k <= level]
        assert max(easier) == found[next(i for i, r in enumerate(documents) if r[0] == domain and r[1] == level)]


def test_bins_hold_equal_bytes_within_each_domain() -> None:
    draw = np.random.default_rng(0)
    level = draw.integers(0, LEVELS, 4000)
    level[2000:] //= 4  # the second domain is easier as a whole, and is cut by its own quantiles
    size = draw.integers(100, 10_000, 4000)
    domains = Coded.of(["hard"] * 2000 + ["easy"] * 2000)
    found = bins(domains, level, edges([tally(domains, level, size)], 4))
    for part in (slice(0, 2000), slice(2000, 4000)):
        shares = np.bincount(found[part], size[part]) / size[part].sum()
        assert shares == pytest.approx([0.25] * 4, abs=0.02)


def test_scales_reach_from_nothing_to_what_a_corpus_may_hold() -> None:
    assert levels("words", np.array([0, 1, 2**23])).tolist() == [0, 42, 981]
    assert levels("rarity", np.array([0.0, 10.0, 40.0])).tolist() == [0, 320, LEVELS - 1]
    assert levels("compression", np.array([0.0, 0.64, 9.0])).tolist() == [0, 512, LEVELS - 1]


def test_bins_are_cut_on_what_is_kept_in_the_end(tmp_path: Path) -> None:
    """Each text of one domain has a longer copy elsewhere, which dedup prefers and a limit refuses."""
    texts = [prose.document(seed, 12) for seed in range(16)]
    copies = [f"{text} {prose.sentence(random.Random(seed))}" for seed, text in enumerate(texts)]
    records = [{"text": text, "domain": "late"} for text in texts]
    records += [{"text": text, "domain": "early", "verification": "unverified"} for text in copies]
    source = Source(name="s", uri=str(write_jsonl(tmp_path / "a.jsonl", records)))
    options = {"difficulty": {"by": "rarity", "bins": 4}, "limits": {"refuse": {"verification": ["unverified"]}}}
    walk = Walk(Store(str(tmp_path / "store")), [source], corpus(**options))
    documents = walk.ingest()
    held = walk.annotate(documents)
    duplicates = walk.dedup(documents, held.pop("minhash"))
    assert {row["duplicate_of"] is None for row in rows(duplicates, DEDUP)[:16]} == {False}
    hard = walk.make(difficulty, difficulty.config_of(walk.section), {"documents": documents}, difficulty.run)
    parents = {"documents": documents, "dedup": duplicates, "difficulty": hard, **held}
    kept = rows(walk.make(select, select.config_of(walk.section), parents, select.run), KEPT)
    assert Counter(row["domain"] for row in kept) == {"late": 16}
    assert sorted(Counter(row["bin"] for row in kept)) == [0, 1, 2, 3]
