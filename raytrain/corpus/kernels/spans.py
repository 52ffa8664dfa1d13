"""The kernel of span deduplication: of each text a fair sample of its runs of words, with the bytes they cover.

Winnowing (Schleimer, Wilkerson and Aiken 2003): of every `window` neighbouring runs the one with the smallest hash.
The invariant: two texts that share a run of ngram + window - 1 words share a sampled run inside it, wherever it
stands; and the sampled runs of a longer shared stretch overlap, so that together they cover it but for its ends.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets
from raytrain.corpus.kernels.characters import CACHED, classes
from raytrain.corpus.kernels.ngrams import power_of, room_for, run_hash, split_places

Ints = NDArray[np.int64]


def samples(data: Bytes, offsets: Offsets, ngram: int, window: int) -> tuple[NDArray[np.uint64], Ints, Ints, Ints]:
    """(hash, text, first byte, end byte in the text) of each sampled run of `ngram` words."""
    room = 1 << 12
    while True:
        hashes, out = np.empty(room, np.uint64), np.empty((room, 3), np.int64)
        found = _samples(data, offsets, ngram, window, classes(), hashes, out)
        if found <= room:
            return hashes[:found], out[:found, 0], out[:found, 1], out[:found, 2]
        room = int(found)


@njit(**CACHED)
def _samples(data, offsets, ngram, window, kinds, hashes, out):  # type: ignore[no-untyped-def]
    """Fills what there is room for; returns how many there are."""
    room = room_for(offsets)
    state, begins, ends = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    runs = np.empty(room, np.uint64)
    power = power_of(ngram)
    total = 0
    for d in range(offsets.shape[0] - 1):
        start = offsets[d]
        n = split_places(data, start, offsets[d + 1], kinds, state, begins, ends)
        many = n - ngram + 1
        if many <= 0:  # begins and ends beyond its words are those of the text before
            continue
        for k in range(many):
            runs[k] = run_hash(state, k, ngram, power)
        least = -1
        for last in range(min(window, many) - 1, many):
            first = max(0, last - window + 1)
            before = least
            if least < first:
                least = first
                for k in range(first + 1, last + 1):
                    if runs[k] <= runs[least]:
                        least = k
            elif runs[last] <= runs[least]:
                least = last
            if least != before:
                if total < hashes.shape[0]:
                    hashes[total] = runs[least]
                    out[total, 0] = d
                    out[total, 1] = begins[least] - start
                    out[total, 2] = ends[least + ngram - 1] - start
                total += 1
    return total
