"""Fitting the law: robust, from many starts at once, with a bootstrap that says how little may be known.

Minimises the sum of Huber losses (delta 1e-3) of log prediction - log loss (Hoffmann et al. 2022, section 3.3), with
the prediction in the logsumexp form of its appendix D.3. All starts, and all resamples of the bootstrap, descend
together: damped Gauss-Newton on iteratively reweighted residuals, with the analytic gradient, in coordinates centred
on the data, where the problem is well conditioned. The invariant: equal points, seed and settings give equal figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from raytrain.scaling.law import NAMES, Array, Law

DELTA = 1e-3
STARTS, DRAWS = 2000, 500
SCREEN_ROUNDS, POLISH_ROUNDS, DRAW_ROUNDS = 40, 400, 80
POLISHED = 40  # of the best screened starts
ASKED = 100  # random starts that are followed to their end, to see how many find the best law
LOOK_EVERY, STILL = 20, 1e-10  # rounds after which a descent that gained no more than this share ends
SAME_RATIO = 1e-3  # objectives within this share of the best count as having reached it
EXPONENTS = (0.01, 3.0)  # the box of alpha and beta
_FLOOR = 1e-3  # E is at least this share of the lowest loss
_DEEP = 16.0  # a term is at least exp(-16) of the mean loss at the centre of the data


@dataclass(frozen=True)
class Points:
    """Finished runs: parameters, tokens and held-out loss in nats a token, float64 [points]."""

    parameters: Array
    tokens: Array
    loss: Array

    @classmethod
    def of(cls, rows: Sequence[tuple[float, float, float]]) -> Points:
        n, d, loss = np.asarray(rows, dtype=np.float64).reshape(-1, 3).T
        return cls(n, d, loss)

    def __len__(self) -> int:
        return len(self.loss)


@dataclass(frozen=True)
class Fit:
    """The best law, how the starts agreed on it, and the laws of the bootstrap's resamples."""

    law: Law
    objective: float
    agreement: float
    """Share of ASKED random starts that ended within SAME_RATIO of the best objective."""
    spread: dict[str, float]
    """Over the starts that ended there: the range of each exponent, and the log range of A, B and E."""
    at_bound: tuple[str, ...]
    """Parameters that lie on the edge of the box."""
    draws: Array
    """Laws of the resamples [draws, 5] in the order of NAMES."""

    def drawn(self) -> Law:
        """The resampled laws as one law of arrays."""
        return Law(*self.draws.T)


@dataclass(frozen=True)
class _Problem:
    """Points in centred logarithms, and the box of theta = (a, b, e, alpha, beta) in those coordinates."""

    x: Array
    y: Array
    target: Array
    centre: tuple[float, float]
    low: Array
    high: Array

    @classmethod
    def of(cls, points: Points) -> _Problem:
        x, y, target = np.log(points.parameters), np.log(points.tokens), np.log(points.loss)
        least, mean = float(target.min()), float(target.mean())
        small, large = EXPONENTS
        low = np.array([mean - _DEEP, mean - _DEEP, least + np.log(_FLOOR), small, small])
        high = np.array([mean + 3.0, mean + 3.0, least, large, large])
        return cls(x - x.mean(), y - y.mean(), target, (float(x.mean()), float(y.mean())), low, high)

    def starts(self, count: int, random: np.random.Generator) -> Array:
        """Random laws that all pass near the mean loss: E, exponents and the split of the rest are drawn."""
        alpha, beta = np.exp(random.uniform(np.log(0.05), np.log(1.5), (2, count)))
        share, split = random.uniform(0.02, 0.98, (2, count))
        level = np.exp(self.target.mean())
        bottom = np.minimum(share * level, np.exp(self.high[2]) * 0.999)
        theta = np.stack([np.log((level - bottom) * split), np.log((level - bottom) * (1 - split)), np.log(bottom)], 1)
        drawn = np.concatenate([theta, alpha[:, None], beta[:, None]], 1)
        return np.asarray(np.clip(drawn, self.low, self.high))

    def residuals(self, theta: Array) -> tuple[Array, Array]:
        """Log prediction - log loss [k, n] and its Jacobian [k, n, 5]."""
        a, b, e, alpha, beta = (column[:, None] for column in theta.T)
        terms = np.stack(np.broadcast_arrays(a - alpha * self.x, b - beta * self.y, e))
        top = terms.max(0)
        weights = np.exp(terms - top)
        total = weights.sum(0)
        s = weights / total
        jacobian = np.stack([s[0], s[1], s[2], -s[0] * self.x, -s[1] * self.y], 2)
        return top + np.log(total) - self.target, jacobian

    def objective(self, residuals: Array, weights: Array) -> Array:
        size = np.abs(residuals)
        huber = np.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA))
        return np.asarray((weights * huber).sum(1))

    def descend(self, theta: Array, weights: Array, rounds: int) -> tuple[Array, Array]:
        """`rounds` damped steps from each row of theta [k, 5] under case weights [k or 1, n]: (theta, objective)."""
        theta, damping = theta.copy(), np.full(len(theta), 1e-2)
        residuals, jacobian = self.residuals(theta)
        value = self.objective(residuals, weights)
        eye, before = np.eye(5), value
        for number in range(rounds):
            if number % LOOK_EVERY == 0 and number:
                if (before - value <= STILL * before).all():
                    break
                before = value
            pull = weights * np.minimum(1.0, DELTA / np.maximum(np.abs(residuals), 1e-300))
            weighted = jacobian * pull[:, :, None]
            gradient = (weighted * residuals[:, :, None]).sum(1)
            held = ((theta <= self.low) & (gradient > 0)) | ((theta >= self.high) & (gradient < 0))
            normal = np.swapaxes(weighted, 1, 2) @ jacobian
            scale = np.einsum("kii->ki", normal)
            scale = np.maximum(scale, 1e-12 * scale.max(1, keepdims=True) + 1e-300)
            normal = normal + eye * (damping[:, None] * scale)[:, None, :]
            free = ~held
            normal = np.where(free[:, :, None] & free[:, None, :], normal, eye * scale[:, None, :])
            step = np.linalg.solve(normal, np.where(free, gradient, 0.0)[:, :, None])[:, :, 0]
            trial = np.clip(theta - step, self.low, self.high)
            there, slope = self.residuals(trial)
            found = self.objective(there, weights)
            better = found < value
            theta = np.where(better[:, None], trial, theta)
            residuals = np.where(better[:, None], there, residuals)
            jacobian = np.where(better[:, None, None], slope, jacobian)
            value = np.where(better, found, value)
            damping = np.clip(np.where(better, damping / 4, damping * 6), 1e-12, 1e8)
        return theta, value

    def laws(self, theta: Array) -> Array:
        """(A, B, E, alpha, beta) of each row, the centring undone."""
        a, b, e, alpha, beta = theta.T
        large = np.log(np.finfo(np.float64).max) - 1  # an A beyond all numbers is at the bound anyway
        return np.stack(
            [
                np.exp(np.minimum(a + alpha * self.centre[0], large)),
                np.exp(np.minimum(b + beta * self.centre[1], large)),
                np.exp(e),
                alpha,
                beta,
            ],
            1,
        )


def fit(points: Points, *, seed: int = 0, starts: int = STARTS, draws: int = DRAWS) -> Fit:
    """Fits the law. Raises ValueError for fewer than three points, or figures that are not positive and finite.

    Fewer points than parameters still give a law; `identify` then says how little it means.
    """
    values = np.stack([points.parameters, points.tokens, points.loss])
    if len(points) < 3 or not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError("a law is fitted to three points or more, all figures positive and finite")
    problem, random = _Problem.of(points), np.random.default_rng(seed)
    once = np.ones((1, len(points)))
    screened, value = problem.descend(problem.starts(starts, random), once, SCREEN_ROUNDS)
    order = np.argsort(value, kind="stable")
    asked = screened[:ASKED]  # the starts are in random order
    ends, reached = problem.descend(np.concatenate([asked, screened[order[:POLISHED]]]), once, POLISH_ROUNDS)
    best = int(np.argmin(reached))
    least = float(reached[best])
    near = reached <= least * (1 + SAME_RATIO) + 1e-15
    edge = (np.abs(ends[best] - problem.low) < 1e-6) | (np.abs(ends[best] - problem.high) < 1e-6)
    cases = random.multinomial(len(points), np.full(len(points), 1 / len(points)), draws).astype(np.float64)
    return Fit(
        law=Law(*problem.laws(ends[best : best + 1])[0].tolist()),
        objective=least,
        agreement=float(near[: len(asked)].mean()),
        spread=dict(zip(NAMES, np.ptp(ends[near], 0).tolist(), strict=True)),
        at_bound=tuple(name for name, there in zip(NAMES, edge, strict=True) if there),
        draws=_bootstrap(problem, ends[best], cases),
    )


def _bootstrap(problem: _Problem, best: Array, cases: Array) -> Array:
    """A law for each resample of the points (Efron 1979): from the best law, and from laws beside it."""
    if not len(cases):
        return np.empty((0, 5))
    found, least = problem.descend(np.tile(best, (len(cases), 1)), cases, DRAW_ROUNDS)
    for alpha, beta in ((0.5, 2.0), (2.0, 0.5)):
        beside = np.clip(best * np.array([1, 1, 1, alpha, beta]), problem.low, problem.high)
        other, value = problem.descend(np.tile(beside, (len(cases), 1)), cases, DRAW_ROUNDS)
        better = value < least
        found, least = np.where(better[:, None], other, found), np.where(better, value, least)
    return problem.laws(found)
