"""The n-grams of evaluation sets, as rows that a worker turns into a table: which item, and where in it.

A run of `ngram` words within one field is a gram; a field of fewer, but at least `shortest`, is one gram as a whole.
Grams that many items of a set share (its instructions) tell no item apart and are left out, as Brown et al. 2020
(appendix C) leave out what collides too often. The invariant: an item's `words` are those that some gram of it covers,
so an exact copy of the item reaches an overlap of 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.evalsets.items import Item

COMMON = 10  # items of a set that may share a gram
GRAM = np.dtype([("hash", "<u8"), ("item", "<i8"), ("first", "<i8"), ("words", "<i8")])


def index(items: Iterable[Item], ngram: int, shortest: int) -> tuple[NDArray[np.void], Any]:
    """Grams [n] of GRAM sorted by (hash, item, first), and a row an item: `item` (its name), `words` (0: too short)."""
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.ngrams import grams, word_counts

    held = list(items)
    texts = pa.array([text for item in held for text in item.texts], pa.large_string())
    owner = np.repeat(np.arange(len(held)), [len(item.texts) for item in held])
    counts = word_counts(*text_buffers(texts))
    hashes, bounds = grams(*text_buffers(texts), ngram)
    text = np.repeat(np.arange(len(texts)), np.diff(bounds))
    rows = np.zeros(len(hashes), GRAM)
    rows["hash"], rows["item"] = hashes, owner[text]
    starts = np.concatenate(([0], np.cumsum(counts)))[:-1]  # fields one behind the other: a gram never spans two
    rows["first"] = starts[text] + np.arange(len(hashes)) - bounds[text]
    rows["words"] = np.minimum(counts[text], ngram)
    rows = np.sort(rows[counts[text] >= shortest], order=["hash", "item", "first"])
    rows = rows[~_common(rows)]
    item, _, _, covered = merge(rows["item"], rows["first"], rows["first"] + rows["words"])
    words = np.bincount(item, covered, len(held)).astype(np.int64)
    return rows, pa.table({"item": pa.array([item.name for item in held], pa.string()), "words": words})


def merge(
    group: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Intervals [first, end) joined within their group where they touch: (group, first, end, length), sorted."""
    order = np.lexsort((end, first, group))
    group, first, end = group[order], first[order], end[order]
    if not len(group):
        return group, first, end, end - first
    # The furthest end so far, group by group: groups are kept apart by more than any end.
    span = int(end.max()) + 1
    rank = np.concatenate(([0], np.cumsum(group[1:] != group[:-1])))
    furthest = np.maximum.accumulate(end + rank * span) - rank * span
    fresh = np.ones(len(group), np.bool_)
    fresh[1:] = (rank[1:] != rank[:-1]) | (first[1:] > furthest[:-1])
    heads = np.flatnonzero(fresh)
    last = furthest[np.append(heads[1:], len(group)) - 1]
    return group[heads], first[heads], last, last - first[heads]


def _common(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows' grams stand in more than COMMON items."""
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = rows["hash"][1:] != rows["hash"][:-1]
    other = fresh.copy()
    other[1:] |= rows["item"][1:] != rows["item"][:-1]
    gram = np.cumsum(fresh) - 1
    return np.bincount(gram, other)[gram] > COMMON if len(rows) else np.zeros(0, np.bool_)
