"""Difficulty bins: a number of each document becomes one of a few levels, and quantiles of these become bins.

Pure. Bins are cut within each domain, into about equal bytes, so that a curriculum over bins leaves the mixture over
domains as it is. Numbers are first rounded to LEVELS steps of a fixed scale: tallies can then be added, and
quantiles are exact. The invariant: a document's bin depends on the corpus, not on how it is cut into shards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from raytrain.config import Section
from raytrain.corpus.coded import Coded

LEVELS = 1024
Measure = Literal["words", "rarity", "compression"]
Tally = dict[str, dict[int, int]]
"""Bytes by level, by domain."""


class DifficultySection(Section):
    """How documents are cut into difficulty bins, 0 the easiest; `train.curriculum` weighs them."""

    by: Measure = Field(
        default="rarity", description="words (length), rarity (bits a word) or compression (bytes under zstd / bytes)"
    )
    bins: int = Field(default=4, ge=2, le=16, description="of about equal bytes, within each domain")


def levels(by: Measure, values: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.int64]:
    """[0, LEVELS) for each value: words on a logarithmic scale to 2^24, rarity to 32 bits, compression to 1.28."""
    held = np.asarray(values, np.float64)
    share = {"words": np.log2(1 + held) / 24, "rarity": held / 32, "compression": held / 1.28}[by]
    return np.clip((share * LEVELS).astype(np.int64), 0, LEVELS - 1)


def tally(domains: Coded, level: NDArray[np.int64], size: NDArray[np.int64]) -> Tally:
    """Bytes by domain and level of some documents."""
    cells, where = np.unique(domains.codes * LEVELS + level, return_inverse=True)
    found: Tally = {}
    for cell, held in zip(cells.tolist(), np.bincount(where, size).astype(np.int64).tolist(), strict=True):
        found.setdefault(str(domains.values[cell // LEVELS]), {})[cell % LEVELS] = held
    return found


def edges(tallies: Iterable[Tally], bins: int) -> dict[str, list[int]]:
    """By domain the levels at which bins 1, 2 ... begin: each bin ends with the level that brings it to its share.

    A level is never split, so a bin may be empty where one level holds more than a bin's share.
    """
    sums: dict[str, Counter[int]] = {}
    for one in tallies:
        for domain, held in one.items():
            sums.setdefault(domain, Counter()).update(held)
    found = {}
    for domain, counter in sorted(sums.items()):
        sizes = np.zeros(LEVELS)
        sizes[list(counter)] = list(counter.values())
        below = np.cumsum(sizes)
        found[domain] = [int(np.searchsorted(below, below[-1] * k / bins - 1e-9)) + 1 for k in range(1, bins)]
    return found


def bins(domains: Coded, level: NDArray[np.int64], cut: Mapping[str, Sequence[int]]) -> NDArray[np.int64]:
    """The bin of each document by its domain's edges; 0 in a domain of which nothing is kept."""
    many = max((len(held) for held in cut.values()), default=0)
    held = np.array([cut.get(str(name), [LEVELS] * many) for name in domains.values], np.int64)
    held = held.reshape(len(domains.values), many)[domains.codes]
    return np.asarray((held <= level[:, None]).sum(axis=1), np.int64)
