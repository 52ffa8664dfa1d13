"""What a training will need, by arithmetic: memory a rank, hours, dollars, kWh, and what a budget buys. Pure.

It knows sections and figures, neither stores nor prices' origin. What is assumed rather than computed stands in a named
constant with its source, and comes out with a range. The invariant: FLOPs are counted as the trainer counts them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from raytrain.model.section import ModelSection, padded
from raytrain.train.hardware import Accelerator
from raytrain.train.section import TrainSection

TOKENS_PER_PARAMETER = 20.0  # Hoffmann et al. 2022, table A9: near the best split of a budget
MOST_EPOCHS = 4.0  # Muennighoff et al. 2023, section 6: up to here repeated text is nearly as good as new
MFU = (0.25, 0.40, 0.50)  # of a GPU's bf16 peak; torchtitan 39% (8B on H100), llm.c 41% (124M): a well-fed GPU
CPU_FLOPS = (10e9, 40e9, 100e9)  # a second and thread; measured 31 to 87e9 on two threads with AVX-512 bf16
NODE_OVER_GPUS = 1.5  # watts of a node over its GPUs' data sheets; a DGX H100's most is 1.8


@dataclass(frozen=True)
class Range:
    """A figure with its plausible ends."""

    value: float
    low: float
    high: float

    def __mul__(self, factor: float) -> Range:
        return Range(self.value * factor, self.low * factor, self.high * factor)

    def under(self, total: float) -> Range:
        """`total` over this figure."""
        return Range(total / self.value, total / self.high, total / self.low)

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def exactly(value: float) -> Range:
    """A figure that is known."""
    return Range(value, value, value)


# -- memory ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank at the peak of a step, tensors only.

    Libraries and the allocator's slack come on top: a CPU process's resident memory grew by up to half more.
    """

    parameters: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        return self.parameters + self.gradients + self.optimizer + self.activations

    def as_dict(self) -> dict[str, float]:
        return {
            "parameters": self.parameters,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "total": self.total,
        }


def memory(model: ModelSection, train: TrainSection, vocab_size: int, bf16: bool) -> Memory:
    """The peak of the costliest rank of a resolved `train` section.

    Replicas hold all N parameters in fp32 (4 N). Gradients: one fp32 buffer of 4 N for each partial sum that the tree
    keeps while a rank's microbatches go by, and what ranks swap (see raytrain.train.reduce). Optimizer: Muon's momentum
    (4 bytes a matrix element), AdamW's two moments (8 bytes), each on one of W ranks, and an update's temporaries.
    Activations of one microbatch follow the graph of raytrain.model.decoder in the manner of Korthikanti et al. 2022,
    section 4.1: what each operation keeps for its backward, with the residual stream and the norms in fp32, matrices'
    inputs in the compute type, and three fp32 copies of the logits while the loss turns round.
    """
    counts = model.parameter_counts(vocab_size)
    n, world = float(sum(counts.values())), train.workers_max
    assert train.microbatches and train.batch_sequences
    buffers = _buffers(train.microbatches, world)
    muon = float(counts["matrices"]) if train.optimizer == "muon" else 0.0
    largest = float(max(counts["embedding"], counts["matrices"] / model.depth / 3))
    tokens = train.batch_sequences / train.microbatches * model.context
    return Memory(
        parameters=4 * n,
        gradients=4 * n * buffers,
        optimizer=(4 * muon + 8 * (n - muon)) / world + 8 * largest,
        activations=_activations(model, vocab_size, tokens, bf16),
    )


def _buffers(leaves: int, world: int) -> int:
    """Gradient buffers of the rank with most leaves: the tree's stack at its deepest, and twice what is sent."""
    most = 0
    for rank in range(world):
        stack: list[tuple[int, int]] = []
        for leaf in range(leaves * rank // world, leaves * (rank + 1) // world):
            most, node = max(most, len(stack) + 1), (leaf, leaf + 1)
            while stack and stack[-1][1] == node[0] and _siblings(stack[-1], node):
                node = (stack.pop()[0], node[1])
            stack.append(node)
        most = max(most, len(stack) + (2 * len(stack) if world > 1 else 0))
    return most


def _siblings(left: tuple[int, int], right: tuple[int, int]) -> bool:
    size = right[1] - right[0]
    return left[1] - left[0] == size and left[0] % (2 * size) == 0


def _activations(model: ModelSection, vocab_size: int, tokens: float, bf16: bool) -> float:
    s = model.resolved()
    assert s.width and s.heads and s.kv_heads and s.ffn_width
    d, q, f = s.width, s.heads * s.head_size, s.ffn_width
    k, v = s.kv_heads * s.head_size, padded(vocab_size)
    c = 2 if bf16 else 4  # bytes of the compute type
    norm = 4 * d + 4 * d  # input and normalised input, fp32

    def read(matrices: int) -> int:
        """A norm's output as what it feeds keeps it: cast for each matrix, or once as it is."""
        return 2 * matrices * d if bf16 else 4 * d

    turned = 8 * (q + k) if s.qk_norm else 0  # the norms of queries and keys; the rotation keeps nothing
    attention = norm + read(3) + turned + c * 3 * q + c * q
    feed_forward = norm + read(2) + 4 * c * f
    loss = 3 * 4 * v  # fp32: log-softmax, its gradient, the logits' gradient
    weights = 2 * (model.parameter_counts(vocab_size)["matrices"] + v * d) if bf16 else 0  # cast once a microbatch
    return tokens * (s.depth * (attention + feed_forward) + norm + read(1) + loss) + weights


# -- time and money -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machines:
    """What carries a training: workers on nodes of one kind. FLOP/s are a worker's, achieved."""

    workers: int
    workers_a_node: int
    flops: Range
    usd_per_hour: float
    """Of one node."""
    watts: float
    """Of one node."""

    @property
    def nodes(self) -> int:
        return -(-self.workers // self.workers_a_node)

    def hours(self, flops: float) -> Range:
        """Wall time of so many training FLOPs."""
        return self.flops.under(flops / self.workers / 3600)

    def usd(self, flops: float) -> Range:
        return self.hours(flops) * (self.nodes * self.usd_per_hour)

    def kwh(self, flops: float) -> Range:
        return self.hours(flops) * (self.nodes * self.watts / 1000)

    def affordable(self, usd: float) -> Range:
        """Training FLOPs that a sum pays for. ValueError when the machines cost nothing."""
        if self.usd_per_hour <= 0:
            raise ValueError("free machines: any sum pays for anything")
        return self.flops * (usd / (self.nodes * self.usd_per_hour) * 3600 * self.workers)


def assumed_flops(gpu: Accelerator | None, threads: int) -> Range:
    """A worker's FLOP/s where nothing was measured: a GPU's share of its peak, or CPU threads."""
    if gpu is not None:
        low, value, high = (share * gpu.flops for share in MFU)
    else:
        low, value, high = (flops * threads for flops in CPU_FLOPS)
    return Range(value, low, high)


# -- what a budget buys ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """A size of the dial and its horizon."""

    depth: int
    parameters: int
    tokens: float


def longest(model: ModelSection, vocab_size: int, flops: float) -> Choice:
    """The largest horizon of a given model."""
    return Choice(model.depth, model.parameters(vocab_size), flops / model.flops_per_token(vocab_size))


def nearest(model: ModelSection, vocab_size: int, parameters: float) -> ModelSection:
    """The dial's shape whose size is nearest to a number of parameters, by ratio."""
    sizes = (_of_depth(model, depth) for depth in range(1, 257))
    return min(sizes, key=lambda s: abs(math.log(s.parameters(vocab_size) / max(parameters, 1.0))))


def _of_depth(model: ModelSection, depth: int) -> ModelSection:
    """The dial's own shape, whatever width the recipe gives."""
    return ModelSection(depth=depth, context=model.context, tied=model.tied, qk_norm=model.qk_norm)


def balanced(model: ModelSection, vocab_size: int, flops: float) -> Choice | None:
    """The largest depth of the dial that a budget trains on 20 tokens a parameter, None where none fits.

    The dial's own shapes are taken, whatever width the recipe gives.
    """
    best = None
    for depth in range(1, 257):
        shape = _of_depth(model, depth)
        n = shape.parameters(vocab_size)
        if TOKENS_PER_PARAMETER * n * shape.flops_per_token(vocab_size) > flops:
            break
        best = Choice(depth, n, flops / shape.flops_per_token(vocab_size))
    return best
