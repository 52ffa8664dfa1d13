"""Summing gradients over one fixed binary tree, so that no number of workers changes a bit.

The leaves are the microbatches of a step. A worker owns a contiguous run of leaves and adds up the aligned
subtrees that it owns whole, like a binary counter; the workers swap these partial sums, each receives those of
the parameters that it updates, and finishes the tree in the same shape. The tree is the contract; who computes
which leaf is an optimisation. The invariant: for given leaf gradients the total has the same bits for any W.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from raytrain.train.batch_plan import leaves_of
from raytrain.train.parallel import World

Node = tuple[int, int]
"""A node of the tree by the leaves [first, last) below it."""

_ALIGN = 16  # floats: every parameter starts on a cache line, whatever stands before it


def subtrees(first: int, last: int, leaves: int) -> list[Node]:
    """The maximal nodes of the tree that cover leaves [first, last) exactly, left to right."""

    def cover(a: int, b: int) -> list[Node]:
        if last <= a or b <= first:
            return []
        if first <= a and b <= last:
            return [(a, b)]
        return cover(a, (a + b) // 2) + cover((a + b) // 2, b)

    return cover(0, leaves)


def finish(parts: dict[Node, Tensor], node: Node) -> Tensor:
    """Adds the parts below a node in the tree's shape; parts may be overwritten."""
    if node in parts:
        return parts[node]
    middle = (node[0] + node[1]) // 2
    return finish(parts, (node[0], middle)).add_(finish(parts, (middle, node[1])))


@dataclass(frozen=True)
class Layout:
    """Where parameters lie in a flat fp32 buffer [workers, chunk]: a worker's chunk holds what it updates."""

    owner: dict[str, int]
    offset: dict[str, int]
    chunk: int
    workers: int


def lay_out(shapes: dict[str, torch.Size], cost: dict[str, float], workers: int) -> Layout:
    """Gives whole parameters to workers, the costliest first to the least loaded."""
    load = [0.0] * workers
    owner: dict[str, int] = {}
    for name in sorted(shapes, key=lambda n: (-cost[n], n)):
        owner[name] = min(range(workers), key=lambda w: (load[w], w))
        load[owner[name]] += cost[name]
    used = [0] * workers
    offset: dict[str, int] = {}
    for name in sorted(shapes):
        offset[name] = used[owner[name]]
        used[owner[name]] += -(-shapes[name].numel() // _ALIGN) * _ALIGN
    return Layout(owner, offset, max(used), workers)


def adopt(model: nn.Module, layout: Layout, device: torch.device) -> Tensor:
    """Moves a model's parameters into one flat buffer [workers x chunk] that they become views of."""
    flat = torch.zeros(layout.workers * layout.chunk, device=device)
    for name, parameter in model.named_parameters():
        view = place(flat, layout, name, parameter.shape)
        view.copy_(parameter.data)
        parameter.data = view
    return flat


def place(flat: Tensor, layout: Layout, name: str, shape: torch.Size) -> Tensor:
    """A parameter's view into a flat buffer."""
    start = layout.owner[name] * layout.chunk + layout.offset[name]
    return flat[start : start + shape.numel()].view(shape)


class GradientTree:
    """Accumulates a step's leaf gradients and exchanges them. Gradients are handed in as `parameter.grad` views."""

    def __init__(self, model: nn.Module, layout: Layout, world: World, leaves: int) -> None:
        self.layout, self.world, self.leaves = layout, world, leaves
        self._parameters = dict(model.named_parameters())
        self._mine = leaves_of(world.rank, world.size, leaves)
        self._covers = [
            subtrees(r.start, r.stop, leaves) for r in (leaves_of(k, world.size, leaves) for k in range(world.size))
        ]
        self._width = max(len(c) for c in self._covers)
        size = world.size * layout.chunk
        self._free: list[Tensor] = []
        self._size = size
        self._stack: list[tuple[Node, Tensor]] = []
        self._device = world.device
        self._send = torch.zeros(world.size, self._width, layout.chunk, device=world.device) if world.size > 1 else None
        self._receive = torch.empty_like(self._send) if self._send is not None else None

    def open_leaf(self) -> None:
        """Points every parameter's gradient into a zeroed buffer; backward then adds into it."""
        buffer = self._free.pop() if self._free else torch.empty(self._size, device=self._device)
        buffer.zero_()
        for name, parameter in self._parameters.items():
            parameter.grad = place(buffer, self.layout, name, parameter.shape)
        self._open = buffer

    def close_leaf(self, leaf: int) -> None:
        """Adds the finished leaf to its siblings as far up the tree as they are complete."""
        node, total = (leaf, leaf + 1), self._open
        while self._stack:
            (first, last), other = self._stack[-1]
            size = node[1] - node[0]
            if last != node[0] or last - first != size or first % (2 * size):
                break
            self._stack.pop()
            other.add_(total)
            self._free.append(total)
            node, total = (first, node[1]), other
        self._stack.append((node, total))

    def exchange(self) -> Tensor:
        """The summed gradient of this worker's chunk [chunk]; call once after all own leaves are closed."""
        stack, self._stack = self._stack, []
        assert [node for node, _ in stack] == self._covers[self.world.rank]
        root = (0, self.leaves)
        if self._send is None or self._receive is None:
            (_, total), *_ = stack
            self._free.append(total)  # reused at the next step only
            return total
        for k, (_, total) in enumerate(stack):
            self._send[:, k].copy_(total.view(self.world.size, -1))
            self._free.append(total)
        dist.all_to_all_single(self._receive, self._send)
        parts = {node: self._receive[r, k] for r, cover in enumerate(self._covers) for k, node in enumerate(cover)}
        return finish(parts, root)
