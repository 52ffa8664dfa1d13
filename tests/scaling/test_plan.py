"""A plan's arithmetic agrees with what a training is then seen to need."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from raytrain.model.decoder import Decoder
from raytrain.model.section import ModelSection
from raytrain.scaling.plan import Machines, Range, _buffers, balanced, longest, memory
from raytrain.train.batch_plan import leaves_of
from raytrain.train.optim import Optimizer
from raytrain.train.parallel import World
from raytrain.train.reduce import GradientTree, subtrees
from raytrain.train.section import TrainSection

VOCABULARY = 4096
FACTOR = 1.1  # memory: foreseen against the allocator's peak, either way


def peak_bytes(model: ModelSection, train: TrainSection, dtype: torch.dtype) -> int:
    """The most that tensors held at once over two steps, by the allocator's own events."""
    world = World(0, 1, True, "here", torch.device("cpu"))
    assert train.microbatches and train.batch_sequences
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        decoder = Decoder(model, VOCABULARY)
        optimizer = Optimizer(decoder, train, world, dtype)
        tree = GradientTree(decoder, optimizer.layout, world, train.microbatches)
        for step in range(2):
            for leaf in range(train.microbatches):
                ids = torch.randint(VOCABULARY, (train.batch_sequences // train.microbatches, model.context))
                tree.open_leaf()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    loss = decoder(ids, ids)
                torch.autograd.backward(loss)
                tree.close_leaf(leaf)
            optimizer.step(tree.exchange(), 1e-5, 1e-3, step)
    assert seen.profiler is not None and seen.profiler.kineto_results is not None
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    return max(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "batch", "leaves", "optimizer"),
    [
        (torch.float32, 16, 1, "muon"),
        (torch.bfloat16, 16, 1, "muon"),
        (torch.float32, 8, 8, "adamw"),
        (torch.bfloat16, 8, 4, "adamw"),
    ],
)
def test_memory_is_as_foreseen(dtype: torch.dtype, batch: int, leaves: int, optimizer: str) -> None:
    model = ModelSection(depth=3)
    train = TrainSection.model_validate(
        {"batch_sequences": batch, "microbatches": leaves, "optimizer": optimizer, "max_steps": 2}
    ).resolved(model, VOCABULARY)
    measured = peak_bytes(model, train, dtype)
    foreseen = memory(model, train, VOCABULARY, dtype == torch.bfloat16).total
    assert measured / FACTOR <= foreseen <= measured * FACTOR, f"{foreseen / 1e6:.0f} MB, {measured / 1e6:.0f} MB"


@settings(deadline=None)
@given(world=st.integers(1, 16), power=st.integers(0, 6))
def test_gradient_buffers_are_those_that_the_tree_holds(world: int, power: int) -> None:
    leaves = 1 << power
    world = min(world, leaves)
    sent = max(len(subtrees(r.start, r.stop, leaves)) for r in (leaves_of(k, world, leaves) for k in range(world)))
    most = _buffers(leaves, world)
    assert most >= (3 * sent if world > 1 else power + 1)
    assert most <= 3 * sent + power + 1


def test_more_workers_share_the_optimizer_and_nothing_else() -> None:
    model, train = ModelSection(depth=4), TrainSection(max_steps=10, batch_sequences=16, microbatches=16)
    one, four = (memory(model, train.model_copy(update={"workers": w}), VOCABULARY, True) for w in (1, 4))
    assert one.parameters == four.parameters == 4 * model.parameters(VOCABULARY)
    assert four.optimizer < one.optimizer and four.activations == one.activations


machines = st.builds(
    Machines,
    workers=st.integers(1, 64),
    workers_a_node=st.integers(1, 8),
    flops=st.floats(1e9, 1e15).map(lambda f: Range(f, f / 2, f * 2)),
    usd_per_hour=st.floats(0.01, 100),
    watts=st.floats(10, 10_000),
)


@settings(deadline=None)
@given(machines=machines, usd=st.floats(0.01, 1e6))
def test_what_a_sum_buys_costs_that_sum(machines: Machines, usd: float) -> None:
    flops = machines.affordable(usd)
    assert machines.usd(flops.value).value == pytest.approx(usd)
    assert flops.low <= flops.value <= flops.high
    cost = machines.usd(flops.value)
    assert cost.low <= cost.value <= cost.high


def test_free_machines_have_no_budget() -> None:
    with pytest.raises(ValueError, match="free machines"):
        Machines(1, 1, Range(1e9, 1e9, 1e9), 0.0, 65.0).affordable(1.0)


@settings(deadline=None)
@given(flops=st.floats(1e13, 1e24))
def test_the_balanced_size_is_the_largest_that_fits(flops: float) -> None:
    model = ModelSection(depth=4)
    found = balanced(model, VOCABULARY, flops)
    if found is None:
        shape = ModelSection(depth=1)
        assert 20 * shape.parameters(VOCABULARY) * shape.flops_per_token(VOCABULARY) > flops
        return
    assert found.tokens >= 20 * found.parameters
    assert found.tokens * ModelSection(depth=found.depth).flops_per_token(VOCABULARY) == pytest.approx(flops)
    larger = ModelSection(depth=found.depth + 1)
    assert found.depth == 256 or 20 * larger.parameters(VOCABULARY) * larger.flops_per_token(VOCABULARY) > flops
    assert longest(model, VOCABULARY, flops).tokens == pytest.approx(flops / model.flops_per_token(VOCABULARY))
