"""Difficulty: length, rarity and compression of documents, the same whatever the shards."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raytrain.corpus import difficulty
from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.rarity import count_words, empty, rarity
from raytrain.corpus.section import Source
from raytrain.store import Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl

TEXTS = ["the the the cat", "The dog, the cat!", "zyzzyva", "…", "猫 犬"]


def buffers(texts: list[str]) -> Any:
    return text_buffers(pa.array(texts, pa.large_string()))


def test_rarity_is_the_mean_surprise_of_a_word() -> None:
    sketch = empty()
    count_words(*buffers(TEXTS), sketch)
    words, bits = rarity(*buffers(TEXTS), sketch)
    split = [["the", "the", "the", "cat"], ["the", "dog", "the", "cat"], ["zyzzyva"], [], ["猫", "犬"]]
    counts = Counter(word for text in split for word in text)
    expected = [[-math.log2((counts[w] + 1) / (counts.total() + 1)) for w in text] for text in split]
    assert words.tolist() == [len(text) for text in split]
    assert bits == pytest.approx([sum(held) / max(1, len(held)) for held in expected])


def test_repetition_compresses_and_noise_does_not() -> None:
    noise = "".join(map(chr, np.random.default_rng(0).integers(33, 126, 4000).tolist()))
    repeated, written, random = difficulty.compression(*buffers(["again " * 800, prose.document(0, 40), noise]))
    assert repeated < 0.02 < 0.2 < written < 0.5 < 0.7 < random < 1


def test_the_step_annotates_every_document_from_counts_of_all(tmp_path: Path) -> None:
    texts = [prose.document(seed, 10) for seed in range(60)] + ["Quixotic zephyrs vexed bold jumping wizards " * 5]
    made = []
    for name, size in (("few", 1_000_000), ("many", 20_000)):
        source = Source(name="s", uri=str(write_jsonl(tmp_path / "a.jsonl", texts)))
        walk = Walk(Store(str(tmp_path / name)), [source], corpus(target_shard_bytes=size))
        documents = walk.ingest()
        made.append(walk.make(difficulty, difficulty.config_of(walk.section), {"documents": documents}, difficulty.run))
    one, several = (rows(artifact, difficulty.OBJECT) for artifact in made)
    assert len(made[1].shards) > 1 and one == several
    assert max(one, key=lambda row: row["rarity"]) == one[-1]
    assert [row["words"] for row in one] == [len(text.split()) for text in texts]
