"""How much of each group a run trains on, and when: the mixture over domains, the curriculum over bins within each.

Pure. A domain's share is the mixture's at every moment, whatever its bins: within it a bin counts by its size times
the stage's weight. Where a stage's weights leave a domain nothing (it holds none of those bins), it is read as it is.
The invariant: without a curriculum, bins change no domain's share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raytrain.errors import UserError
from raytrain.tokens.order import BLOCK, Stage, block_shares
from raytrain.train.section import TrainSection

Groups = Sequence[tuple[str, int]]
"""(domain, difficulty bin) of each group."""


def stages(groups: Groups, windows: Sequence[int], train: TrainSection) -> tuple[Stage, ...]:
    """The stages of an order over groups of so many windows, for a resolved section.

    A stage begins at the block of 1,024 sequences nearest to its share of the run. Raises UserError for weights that
    the corpus cannot serve, and for a stage too short to hold a block.
    """
    mixture = _mixture(groups, windows, train.mixture)
    if not train.curriculum:
        return (Stage(0, block_shares(_weights(groups, windows, mixture, None))),)
    bins = 1 + max(held for _, held in groups)
    given = len(train.curriculum[0].bins)
    if given != bins:
        there = f"{bins} difficulty bins" if bins > 1 else "no difficulty bins: set corpus.difficulty"
        raise UserError(f"train.curriculum: weights for {given} bins; the corpus has {there}")
    assert train.max_steps and train.batch_sequences
    total = train.max_steps * train.batch_sequences
    starts = [round(share * total / BLOCK) for share in (0.0, *(stage.until for stage in train.curriculum[:-1]))]
    for i, (start, after) in enumerate(zip(starts, [*starts[1:], total / BLOCK], strict=True)):
        if start >= after:
            raise UserError(
                f"train.curriculum: stage {i + 1} lasts less than {BLOCK} sequences, the least that can differ; this "
                f"run has {total}: make it longer, or take fewer stages"
            )
    return tuple(
        Stage(start, block_shares(_weights(groups, windows, mixture, stage.bins)))
        for start, stage in zip(starts, train.curriculum, strict=True)
    )


def _mixture(groups: Groups, windows: Sequence[int], asked: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of each domain: its size, or what is asked for where it holds anything."""
    sizes: dict[str, int] = {}
    for (domain, _), count in zip(groups, windows, strict=True):
        sizes[domain] = sizes.get(domain, 0) + count
    if asked is None:
        return {domain: float(size) for domain, size in sizes.items()}
    for domain in asked:
        if domain not in sizes:
            raise UserError(f"train.mixture: no domain {domain!r} in the corpus; there are {', '.join(sizes)}")
    weights = {domain: asked.get(domain, 0.0) if size else 0.0 for domain, size in sizes.items()}
    if not sum(weights.values()):
        raise UserError("train.mixture: every domain that it weighs is empty")
    return weights


def _weights(
    groups: Groups, windows: Sequence[int], mixture: Mapping[str, float], bins: Sequence[float] | None
) -> list[float]:
    """The weight of each group."""
    plain = dict.fromkeys(mixture, 0.0)
    weighed = dict.fromkeys(mixture, 0.0)
    for (domain, bin_), count in zip(groups, windows, strict=True):
        plain[domain] += count
        weighed[domain] += count * (bins[bin_] if bins else 1.0)
    found = []
    for (domain, bin_), count in zip(groups, windows, strict=True):
        own = count * bins[bin_] / weighed[domain] if bins and weighed[domain] else count / max(plain[domain], 1.0)
        found.append(mixture[domain] * own)
    return found
