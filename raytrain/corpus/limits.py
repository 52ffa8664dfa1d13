"""How much of a corpus one origin may be: shares of the kept bytes, and who goes where there is too much.

Pure. Documents of an origin are drawn by the hash of their text, so that more of one kind of text never decides
which of another stays. The invariant: after the cut no origin holds more than its share of the bytes that are left.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.coded import Coded


def allowances(held: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """Bytes that each origin over its share may keep, given the bytes that each holds.

    What is cut from one makes the whole smaller and may put another over its share: origins are added until none is.
    Those that are limited leave total = rest / (1 - sum of their shares), rest being the bytes of the others.
    """
    over: set[str] = set()
    while True:
        rest = sum(size for origin, size in held.items() if origin not in over)
        open_share = 1 - sum(shares[origin] for origin in over)
        total = rest / open_share if open_share > 1e-12 else 0.0
        more = {o for o, share in shares.items() if o not in over and held.get(o, 0) > share * total}
        if not more:
            return {origin: int(shares[origin] * total) for origin in sorted(over)}
        over |= more


def thresholds(
    origin: Coded, size: NDArray[np.int64], draws: NDArray[np.uint64], shares: Mapping[str, float]
) -> dict[str, int]:
    """Per origin over its share the draw from which its documents go, so that those below fit the allowance.

    Whole documents leave a little less than is allowed, which makes the whole smaller: repeated until all fit.
    """
    held = {name: sums[0] for name, sums in origin.sums([size]).items()}
    found: dict[str, int] = {}
    while allowed := allowances(held, shares):
        for name, most in allowed.items():
            own = np.flatnonzero(origin.where(lambda value, name=name: (value or "unknown") == name))  # type: ignore[misc]
            own = own[np.argsort(draws[own], kind="stable")]
            fits = int(np.searchsorted(np.cumsum(size[own]), most, side="right"))
            if fits < len(own):
                found[name] = int(draws[own[fits]])
            held[name] = int(size[own][draws[own] < np.uint64(found[name])].sum())
    return found


def over(origin: Coded, draws: NDArray[np.uint64], limits: Mapping[str, int]) -> NDArray[np.bool_]:
    """Which documents go for their origin's share, by what `thresholds` found."""
    failed = np.zeros(len(draws), np.bool_)
    for name, draw in limits.items():
        mine = origin.where(lambda value, name=name: (value or "unknown") == name)  # type: ignore[misc]
        failed |= mine & (draws >= np.uint64(draw))
    return failed
