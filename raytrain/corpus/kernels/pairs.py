"""Kernels over candidate pairs: which rows of a band meet, and how alike two sorted sets of shingles are."""

from __future__ import annotations

import numpy as np
from numba import njit

from raytrain.corpus.kernels import EXACT, NEAR, TEMPLATE
from raytrain.corpus.kernels.minhash import jaccard


@njit(nogil=True, cache=True)
def pairs(keys, texts, docs, all_pairs):  # type: ignore[no-untyped-def]
    """Pairs of rows sorted by (key, text, doc), as [pairs, 3]; may hold one pair several times."""
    n = keys.shape[0]
    first = np.empty(n, np.int64)  # of a group's texts, the first document each
    out = np.empty((max(16, n), 3), np.int64)
    total = 0
    start = 0
    while start < n:
        end = start
        many = 0
        while end < n and keys[end] == keys[start]:
            if end == start or texts[end] != texts[end - 1]:
                first[many] = docs[end]
                many += 1
            end += 1
        exact = keys[start] & np.uint64(1)
        if exact:
            need = end - start
        elif many <= all_pairs:
            need = many * (many - 1) // 2
        else:
            need = 2 * many
        if total + need > out.shape[0]:
            grown = np.empty((2 * (total + need), 3), np.int64)
            grown[:total] = out[:total]
            out = grown
        if exact:
            head = docs[start]
            for k in range(start + 1, end):
                if texts[k] != texts[k - 1]:
                    head = docs[k]
                else:
                    out[total, 0], out[total, 1], out[total, 2] = head, docs[k], EXACT
                    total += 1
        elif many > 1:
            group = np.sort(first[:many])
            for i in range(1, many):
                begin = 0 if many <= all_pairs else i - 1
                for j in range(begin, i):
                    out[total, 0], out[total, 1] = group[j], group[i]
                    out[total, 2] = NEAR if many <= all_pairs else TEMPLATE
                    total += 1
                if many > all_pairs and i > 1:
                    out[total, 0], out[total, 1], out[total, 2] = group[0], group[i], TEMPLATE
                    total += 1
        start = end
    return out[:total]


@njit(nogil=True, cache=True)
def similarities(a, b, hashes, bounds):  # type: ignore[no-untyped-def]
    """Jaccard similarity float64 [pairs] of sets a[i] and b[i]; set k is hashes[bounds[k]:bounds[k + 1]], sorted."""
    out = np.empty(a.shape[0], np.float64)
    for i in range(a.shape[0]):
        left = hashes[bounds[a[i]] : bounds[a[i] + 1]]
        right = hashes[bounds[b[i]] : bounds[b[i] + 1]]
        out[i] = jaccard(left, right)
    return out
