"""Our decisions against datatrove's own, kept in parity.jsonl by benchmarks/parity.py --golden."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.columns import COLUMNS
from raytrain.corpus.kernels.text_stats import text_stats, text_stats_of_words
from raytrain.corpus.rules import read_set

ROWS: list[dict[str, Any]] = [json.loads(line) for line in Path(__file__).with_name("parity.jsonl").open()]
FILTERS = {"gopher": "gopher", "repetition": "gopher-repetition", "c4": "c4", "fineweb": "fineweb"}
TEXTS = text_buffers(pa.array([row["text"] for row in ROWS], pa.large_string()))


def by_datatroves_words() -> np.ndarray:
    spans = [np.array(row["words"], np.int32).reshape(-1, 2) for row in ROWS]  # the texts are ASCII
    bounds = np.cumsum([0] + [len(held) for held in spans])
    every = np.concatenate(spans)
    return text_stats_of_words(*TEXTS, every[:, 0].copy(), every[:, 1].copy(), bounds)


def kept(stats: np.ndarray, part: str) -> list[bool]:
    rules = [rule for rule in read_set("datatrove") if rule.name.startswith(f"{part}_")]
    return list(np.all([rule.keeps(stats[:, COLUMNS.index(rule.column)]) for rule in rules], axis=0))


@pytest.mark.parametrize("part", FILTERS)
def test_given_its_words_every_decision_is_datatroves(part: str) -> None:
    theirs = [row["verdicts"][FILTERS[part]] is None for row in ROWS]
    assert 0.1 < np.mean(theirs) < 0.95  # the texts have something to say about this filter
    assert kept(by_datatroves_words(), part) == theirs


@pytest.mark.parametrize("part", FILTERS)
def test_our_splitter_in_its_place_changes_no_decision(part: str) -> None:
    theirs = [row["verdicts"][FILTERS[part]] is None for row in ROWS]
    assert kept(text_stats(*TEXTS, "datatrove"), part) == theirs


def test_our_splitter_finds_nearly_all_of_spacys_tokens() -> None:
    """Word counts differ by less than one in a hundred."""
    own = text_stats(*TEXTS, "datatrove")[:, [1, 2]].sum()
    assert own == pytest.approx(sum(len(row["words"]) / 2 for row in ROWS), rel=0.01)


def test_words_from_outside_lie_where_they_say() -> None:
    for row in ROWS:
        spans = list(zip(row["words"][::2], row["words"][1::2], strict=True))
        assert all(a < b <= c for (a, b), (c, _) in pairwise(spans))
        assert not any(map(str.isspace, "".join(row["text"][a:b] for a, b in spans)))
