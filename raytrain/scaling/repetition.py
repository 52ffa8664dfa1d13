"""What repeated text is worth: Muennighoff et al. 2023, "Scaling Data-Constrained Language Models", equations 5 and 6.

D' = U + U R* (1 - exp(-R / R*)) with U unique tokens, R = D / U - 1 repetitions: the first ones count nearly as new,
after some R* more the rest counts for nothing. Parameters beyond what U tokens call for fade the same way. The
constants are those of their appendix A, fitted on 182 models of 7 M to 9 B parameters, up to 500 passes; other text
and other regularisation (theirs had dropout) may forgive more or less. Several domains, each with its own passes, add
up their D' here: an extension that the paper does not test. Pure. The invariant: text that is read once costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytrain.scaling.law import Law

TOKENS_FADE = 15.387756  # R*_D
PARAMETERS_FADE = 5.309743  # R*_N
LAW = Law(
    A=float(np.exp(6.255414)), B=float(np.exp(7.3049974)), E=float(np.exp(0.6254804)), alpha=0.3526596, beta=0.3526596
)
CITATION = "Muennighoff et al. 2023, appendix A (C4)"
FITTED = (7e6, 9e9)  # parameters of the smallest and the largest model behind LAW


@dataclass(frozen=True)
class Repeated:
    """A training on several domains: what each holds, what is read of it."""

    unique: tuple[float, ...]
    """Tokens that are read at all: those there are, or fewer."""
    seen: tuple[float, ...]

    @classmethod
    def of(cls, there: Sequence[float], seen: Sequence[float]) -> Repeated:
        return cls(tuple(min(t, s) for t, s in zip(there, seen, strict=True)), tuple(seen))

    @property
    def effective(self) -> tuple[float, ...]:
        """Fresh tokens that would teach as much, by domain."""
        return tuple(effective(u, d, TOKENS_FADE) for u, d in zip(self.unique, self.seen, strict=True))

    def loss(self, parameters: float, law: Law = LAW) -> tuple[float, float]:
        """(nats a token to be expected, and what they would be if every token read were new)."""
        read = sum(self.seen)
        return (
            _loss(law, parameters, sum(self.unique), sum(self.effective)),
            _loss(law, parameters, read, read),
        )


def effective(unique: float, used: float, fade: float) -> float:
    """Equation 5: what `used` is worth of which only `unique` is new; all of it when nothing repeats."""
    if not unique or used <= unique:
        return used
    return float(unique + unique * fade * -np.expm1(-(used / unique - 1) / fade))


def called_for(law: Law, tokens: float) -> float:
    """U_N: the parameters that so many tokens are the compute-optimal amount for (0.051 a token under LAW)."""
    return float((law.alpha * law.A * tokens**law.beta / (law.beta * law.B)) ** (1 / law.alpha))


def _loss(law: Law, parameters: float, unique: float, tokens: float) -> float:
    needed = min(called_for(law, unique), parameters)
    return float(law.loss(effective(needed, parameters, PARAMETERS_FADE), tokens))
