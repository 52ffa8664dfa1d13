"""Kernels over groups and links of documents: who stays, and what hangs together.

Documents come best first; texts and URLs are numbers, links go between texts by bounds: text t has entries
bounds[t]:bounds[t + 1]. The invariant: whoever goes, goes for one that stays, by a rule that holds between the two.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raytrain.corpus.kernels.characters import CACHED

_EXACT, _URL, _NEAR, _CONTAINED = 1, 2, 3, 4


@njit(**CACHED)
def survivors(texts, urls, earlier, classes, bounds, others, links, rules, longer):  # type: ignore[no-untyped-def]
    """(of, rule, link) of each document: the document that stays or -1, why, and by which link (-1: by none)."""
    n = texts.shape[0]
    of, rule, by = np.full(n, -1, np.int64), np.zeros(n, np.int64), np.full(n, -1, np.int64)
    many = max(bounds.shape[0] - 1, 0)
    texts_in_all = max(many, texts.max() + 1 if n else 0)
    stays = np.full(texts_in_all, -1, np.int64)  # by text, the document of it that stays
    address = np.full(urls.max() + 1 if n else 0, -1, np.int64)
    wanted = np.zeros(n, np.bool_)  # others went for it as near or of its URL
    for i in range(n):
        t, u = texts[i], urls[i]
        if not earlier[i]:
            if stays[t] >= 0:
                of[i], rule[i] = stays[t], _EXACT
                continue
            if u >= 0 and address[u] >= 0:
                of[i], rule[i] = address[u], _URL
                wanted[of[i]] = True
                continue
            for e in range(bounds[t] if t < many else 0, bounds[t + 1] if t < many else 0):
                keeper = stays[others[e]]
                if rules[e] == _NEAR and keeper >= 0 and (of[i] < 0 or keeper < of[i]):
                    of[i], rule[i], by[i] = keeper, _NEAR, links[e]
            if of[i] >= 0:
                wanted[of[i]] = True
                continue
        if stays[t] < 0:
            stays[t] = i
        if u >= 0 and address[u] < 0:
            address[u] = i
    _contained(texts, earlier, classes, bounds, others, links, rules, longer, stays, wanted, of, rule, by)
    return of, rule, by


@njit(**CACHED)
def _contained(  # type: ignore[no-untyped-def]
    texts, earlier, classes, bounds, others, links, rules, longer, stays, wanted, of, rule, by
):
    """Of the texts that stay, removes those held in a longer one; the worst first, so that chains end at a stayer."""
    many = max(bounds.shape[0] - 1, 0)
    keeps = np.zeros(texts.shape[0], np.bool_)  # something went for it here
    gone = np.full(texts.shape[0], -1, np.int64)
    for i in range(texts.shape[0] - 1, -1, -1):
        t = texts[i]
        if of[i] >= 0 or earlier[i] or wanted[i] or keeps[i] or t >= many or stays[t] != i:
            continue
        best, edge = -1, -1
        for e in range(bounds[t], bounds[t + 1]):
            keeper = stays[others[e]]
            held = rules[e] == _CONTAINED and longer[e] and keeper >= 0 and of[keeper] < 0
            if held and classes[keeper] <= classes[i] and (best < 0 or keeper < best):
                best, edge = keeper, e
        if best >= 0:
            of[i], rule[i], by[i] = best, _CONTAINED, links[edge]
            gone[i] = best
            keeps[best] = True
    for i in range(texts.shape[0]):
        if rule[i] == _EXACT and gone[of[i]] >= 0:  # copies of what went go for the same
            by[i], rule[i] = by[of[i]], _CONTAINED
            of[i] = gone[of[i]]


@njit(**CACHED)
def clusters(texts, urls, left, right):  # type: ignore[no-untyped-def]
    """A number for each document, equal for all that hang together by text, URL or link."""
    count = 0
    for array in (texts, left, right):
        if array.shape[0]:
            count = max(count, array.max() + 1)
    addresses = urls.max() + 1 if urls.shape[0] else 0
    parent = np.arange(count + max(addresses, 0))
    for i in range(left.shape[0]):
        _union(parent, left[i], right[i])
    for i in range(texts.shape[0]):
        if urls[i] >= 0:
            _union(parent, texts[i], count + urls[i])
    out = np.empty(texts.shape[0], np.int64)
    for i in range(texts.shape[0]):
        out[i] = _root(parent, texts[i])
    return out


@njit(**CACHED)
def _root(parent, node):  # type: ignore[no-untyped-def]
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # path halving
        node = parent[node]
    return node


@njit(**CACHED)
def _union(parent, a, b):  # type: ignore[no-untyped-def]
    low, high = _root(parent, a), _root(parent, b)
    if low > high:
        low, high = high, low
    parent[high] = low
