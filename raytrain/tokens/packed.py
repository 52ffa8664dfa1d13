"""Documents' ids laid one behind the other: the kernel that fills a token shard. It decides nothing."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True)
def pack(ids, starts, rows, end_id, out):  # type: ignore[no-untyped-def]
    """Copies the documents `rows` into `out`, each with `end_id` behind it."""
    at = 0
    for row in rows:
        for i in range(starts[row], starts[row + 1]):
            out[at] = ids[i]
            at += 1
        out[at] = end_id
        at += 1
