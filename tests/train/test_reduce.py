from __future__ import annotations

import itertools

import torch
from hypothesis import given
from hypothesis import strategies as st

from raytrain.train.reduce import finish, lay_out, subtrees


@given(st.sampled_from([1, 2, 4, 8, 16, 32]), st.data())
def test_subtrees_cover_a_run_of_leaves_exactly(leaves: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, leaves - 1))
    last = data.draw(st.integers(first + 1, leaves))
    nodes = subtrees(first, last, leaves)
    assert [x for a, b in nodes for x in range(a, b)] == list(range(first, last))
    for a, b in nodes:
        assert (b - a) & (b - a - 1) == 0
        assert a % (b - a) == 0


@given(st.integers(1, 8))
def test_the_tree_gives_the_same_bits_for_any_sharing(world: int) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(50) * 10.0 ** (i % 7 - 3) for i in range(8)]
    whole = finish({(i, i + 1): leaf.clone() for i, leaf in enumerate(leaves)}, (0, 8))
    parts = {}
    for r in range(world):
        for node in subtrees(8 * r // world, 8 * (r + 1) // world, 8):
            own = {(i, i + 1): leaves[i].clone() for i in range(*node)}
            parts[node] = finish(own, node)
    assert torch.equal(finish(parts, (0, 8)), whole)


def test_every_parameter_has_one_owner_and_a_place_of_its_own() -> None:
    shapes = {f"p{i}": torch.Size([i + 1, 7]) for i in range(9)}
    layout = lay_out(shapes, {n: float(s.numel()) for n, s in shapes.items()}, 3)
    assert set(layout.owner.values()) == {0, 1, 2}
    spans = sorted((layout.owner[n], layout.offset[n], layout.offset[n] + shapes[n].numel()) for n in shapes)
    for (w1, _, end), (w2, start, _) in itertools.pairwise(spans):
        assert w1 != w2 or end <= start
    assert all(end <= layout.chunk for _, _, end in spans)
