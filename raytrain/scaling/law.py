"""The scaling law L(N, D) = E + A / N^alpha + B / D^beta and what follows from it. Pure arithmetic, numpy alone.

Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", equation 10. N counts all parameters, D the
tokens trained on, L nats a token. Compute stands for C = 6 N D where budgets are split, as there. The invariant: a
function here takes a law and gives figures; it knows nothing of how the law was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
NAMES = ("A", "B", "E", "alpha", "beta")
FLOPS_PER_PARAMETER_TOKEN = 6.0  # Kaplan et al. 2020, section 2.1: two forward, four backward


@dataclass(frozen=True)
class Law:
    """One law; its fields may be arrays of one shape, which is then a law for each element."""

    A: float | Array
    B: float | Array
    E: float | Array
    alpha: float | Array
    beta: float | Array

    @classmethod
    def of(cls, values: Mapping[str, float | Array]) -> Law:
        return cls(**{name: values[name] for name in NAMES})

    def as_dict(self) -> dict[str, float]:
        """The fields of a single law by name."""
        return {name: float(value) for name, value in asdict(self).items()}

    def loss(self, parameters: float | Array, tokens: float | Array) -> Array:
        """Nats a token of a model with so many parameters after so many tokens."""
        return np.asarray(self.E + self.A / np.power(parameters, self.alpha) + self.B / np.power(tokens, self.beta))

    @property
    def exponent(self) -> Array:
        """a in N* ~ C^a."""
        return np.asarray(self.beta / (np.asarray(self.alpha) + self.beta))

    def optimum(self, flops: float | Array) -> tuple[Array, Array]:
        """(parameters, tokens) of least loss for a compute budget (Hoffmann et al. 2022, equation 4), never below one.

        In logarithms, since a law that the data leave open may put the scale beyond all numbers.
        """
        product = np.log(np.asarray(flops) / FLOPS_PER_PARAMETER_TOKEN)
        total = np.asarray(self.alpha) + self.beta
        scale = (np.log(self.alpha) + np.log(self.A) - np.log(self.beta) - np.log(self.B)) / total
        parameters = np.clip(scale + self.exponent * product, 0.0, product)
        return np.exp(parameters), np.exp(product - parameters)
