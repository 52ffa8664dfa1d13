"""Clusters of duplicates and who survives: pure decisions over verified pairs.

A cluster is whatever hangs together by equal texts, equal URLs, verified similarity or a shared template, through
any number of steps: a split must not cut it. Removal is stricter. Documents are taken best first (by rank, then by
number), and one goes only for one that stays: of the same text, the same URL, or verified to be alike. At last, of
what stays, a text goes that is contained in a longer one of no worse licence, unless others went for its sake. The
invariants: nothing is removed for resembling what is itself gone, and the order of the input does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.dedup.pool import NODE

RULES = ("", "exact", "url", "near", "contained")
LINK = np.dtype(
    [
        *((f"{end}_{half}", "<u8") for end in "ab" for half in ("high", "low")),
        ("jaccard", "<f8"),
        ("containment", "<f8"),
        ("rule", "<i8"),  # 0 for a template that is only shared, else the place in RULES of near or contained
        ("longer", "<i8"),  # which end holds the other: 0 for a, 1 for b
    ]
)
MEMBER = np.dtype([*NODE.descr, ("url_high", "<u8"), ("url_low", "<u8"), ("earlier", "?")])
DECISION = np.dtype(
    [
        ("doc", "<i8"),
        ("of", "<i8"),  # the document that stays in its place, -1 if it stays itself
        ("rule", "<i8"),  # place in RULES
        ("jaccard", "<f8"),
        ("containment", "<f8"),
        ("high", "<u8"),  # of the cluster: the smallest id in it
        ("low", "<u8"),
    ]
)
_SEEN = [(name, "<u8") for name in ("rank", "url_high", "url_low", "id_high", "id_low")]
DECIDED = np.dtype([*DECISION.descr, *_SEEN])  # a decision, and what the tables tell of the document beside


def decide(members: NDArray[Any], links: NDArray[Any]) -> NDArray[Any]:
    """A DECISION for each of the `members` (MEMBER rows, one a document), sorted by document.

    Members of equal (high, low) are copies; those of equal URL hash (0, 0 is none) share their address. Links are
    between texts; one whose text no member has says nothing.
    """
    from raytrain.corpus.kernels.clusters import clusters, survivors

    members = members[np.lexsort((members["doc"], members["rank"]))]
    texts, (left, right) = _numbered(members, links)
    held = (left >= 0) & (right >= 0)
    left, right, links = left[held], right[held], links[held]
    urls = _groups(members["url_high"], members["url_low"])
    urls[(members["url_high"] == 0) & (members["url_low"] == 0)] = -1
    out = np.zeros(len(members), DECISION)
    out["doc"] = members["doc"]
    edges = _edges(left, right, links)
    earlier = np.ascontiguousarray(members["earlier"])  # a kernel is compiled anew for strides
    of, rule, link = survivors(texts, urls, earlier, members["rank"] >> np.uint64(56), *edges)
    out["of"], out["rule"] = np.where(of >= 0, members["doc"][np.maximum(of, 0)], -1), rule
    for name in ("jaccard", "containment"):
        values = np.append(links[name], 1.0)  # a copy is like its original; URLs say nothing of texts
        out[name] = np.where(rule == RULES.index("url"), np.nan, np.where(of >= 0, values[link], np.nan))
    root = clusters(texts, urls, left, right)
    order = np.lexsort((members["low"], members["high"], root))
    first = np.searchsorted(root[order], root)
    out["high"], out["low"] = members["high"][order[first]], members["low"][order[first]]
    return out[np.argsort(out["doc"])]


def _numbered(members: NDArray[Any], links: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """The number of each member's text, and of the text at each end of the links, -1 where no member has it."""
    high = np.concatenate([members["high"], links["a_high"], links["b_high"]])
    low = np.concatenate([members["low"], links["a_low"], links["b_low"]])
    groups = _groups(high, low)
    count, many = len(members), len(links)
    known = np.zeros(int(groups.max(initial=-1)) + 1, np.bool_)
    known[groups[:count]] = True
    ends = [groups[count : count + many], groups[count + many :]]
    return groups[:count], [np.where(known[end], end, -1) for end in ends]


def _groups(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Equal numbers for equal pairs, from 0."""
    order = np.lexsort((low, high))
    fresh = np.ones(len(order), np.int64)
    fresh[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    out = np.empty(len(order), np.int64)
    out[order] = np.cumsum(fresh) - 1
    return out


def _edges(
    left: NDArray[np.int64], right: NDArray[np.int64], links: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Accepted links in both directions, by text: (bounds, other text, link, rule, 1 where the other is longer)."""
    which = np.flatnonzero(links["rule"] > 0)
    ends = np.concatenate([left[which], right[which]])
    order = np.argsort(ends, kind="stable")
    texts = int(max(left.max(initial=-1), right.max(initial=-1))) + 1
    bounds = np.searchsorted(ends[order], np.arange(texts + 1))
    other = np.concatenate([right[which], left[which]])[order]
    longer = np.concatenate([links["longer"][which] == 1, links["longer"][which] == 0])[order]
    link = np.tile(which, 2)[order]
    return bounds, other, link, links["rule"][link], longer.astype(np.int64)
