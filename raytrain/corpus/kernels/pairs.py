"""Kernels of the search for duplicates: rows by partition, band keys, who meets in a band, what two sets share."""

from __future__ import annotations

import numpy as np
from numba import njit

from raytrain.corpus.kernels import NEAR, TEMPLATE
from raytrain.corpus.kernels.characters import CACHED
from raytrain.corpus.kernels.minhash import scatter, shared


@njit(**CACHED)
def partition_order(parts, count):  # type: ignore[no-untyped-def]
    """(order, cuts): rows order[cuts[p]:cuts[p + 1]] are partition p's, in their own order (a counting sort)."""
    cuts = np.zeros(count + 1, np.int64)
    for i in range(parts.shape[0]):
        cuts[parts[i] + 1] += 1
    for p in range(count):
        cuts[p + 1] += cuts[p]
    free = cuts[:-1].copy()
    order = np.empty(parts.shape[0], np.int64)
    for i in range(parts.shape[0]):
        order[free[parts[i]]] = i
        free[parts[i]] += 1
    return order, cuts


@njit(**CACHED)
def band_keys(values, bands, keys):  # type: ignore[no-untyped-def]
    """Fills keys [documents, bands] from values [documents, bands x rows]: equal iff the band's rows are (in 2^64)."""
    rows = values.shape[1] // bands
    for d in range(values.shape[0]):
        for band in range(bands):
            key = np.uint64(band + 1) << np.uint64(40)
            for r in range(rows):
                key = scatter(key ^ np.uint64(values[d, band * rows + r]))
            keys[d, band] = key


@njit(**CACHED)
def pairs(keys, docs, own, all_pairs):  # type: ignore[no-untyped-def]
    """Pairs [pairs, (a, b, kind)] with a < b and a < own, of rows sorted by key; may hold one several times."""
    n = keys.shape[0]
    out = np.empty((max(16, n // 4), 3), np.int64)
    total = 0
    start = 0
    while start < n:
        end = start + 1
        while end < n and keys[end] == keys[start]:
            end += 1
        many = end - start
        if many > 1:
            group = np.sort(docs[start:end])
            ours = np.searchsorted(group, own)
            need = many * (many - 1) // 2 if many <= all_pairs else 3 * many
            if total + need > out.shape[0]:
                grown = np.empty((2 * (total + need), 3), np.int64)
                grown[:total] = out[:total]
                out = grown
            for i in range(ours):
                if many <= all_pairs:
                    for j in range(i + 1, many):
                        out[total, 0], out[total, 1], out[total, 2] = group[i], group[j], NEAR
                        total += 1
                    continue
                if i > 0:
                    out[total, 0], out[total, 1], out[total, 2] = group[i - 1], group[i], TEMPLATE
                    total += 1
                if i > 1:
                    out[total, 0], out[total, 1], out[total, 2] = group[0], group[i], TEMPLATE
                    total += 1
                if ours < many:  # and with the first of the earlier corpora
                    out[total, 0], out[total, 1], out[total, 2] = group[i], group[ours], TEMPLATE
                    total += 1
        start = end
    return out[:total]


@njit(**CACHED)
def in_common(a, b, hashes, bounds):  # type: ignore[no-untyped-def]
    """How many hashes sets a[i] and b[i] share, int64 [pairs]; set k is hashes[bounds[k]:bounds[k + 1]], sorted."""
    out = np.empty(a.shape[0], np.int64)
    for i in range(a.shape[0]):
        out[i] = shared(hashes[bounds[a[i]] : bounds[a[i] + 1]], hashes[bounds[b[i]] : bounds[b[i] + 1]])
    return out
