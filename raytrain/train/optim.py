"""The optimizer step, shared out: every parameter is updated whole by its one owner, then handed to all.

Matrices inside the blocks go to Muon (Jordan et al. 2024) or AdamW, everything else to AdamW (Loshchilov and
Hutter 2019). The invariant: an update depends on the parameter's own gradient, state and the global norm only, so
who owns it changes nothing.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from raytrain.model.decoder import Decoder
from raytrain.train.parallel import World
from raytrain.train.reduce import Layout, adopt, lay_out
from raytrain.train.section import TrainSection

_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13
_NS = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024: slope at zero as steep as five iterations allow
_NS_STEPS = 5
_RMS = 0.2  # an AdamW update's usual root mean square (Liu et al. 2025, section 2.2)


def orthogonalise(update: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest semi-orthogonal matrix of `update` [m, n], roughly, by Newton-Schulz; the result in `dtype`."""
    a, b, c = _NS
    x = update.to(dtype)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(_NS_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Optimizer:
    """Owns the flat parameter buffer, this worker's optimizer state and the update."""

    def __init__(self, model: Decoder, section: TrainSection, world: World, dtype: torch.dtype) -> None:
        self.section, self.world, self._dtype = section, world, dtype
        self.parameters = dict(model.named_parameters())
        shapes = {n: p.shape for n, p in self.parameters.items()}
        muon = section.optimizer == "muon"
        self.kind = {
            n: "muon" if muon and p.dim() == 2 and n.startswith("blocks.") else "adamw"
            for n, p in self.parameters.items()
        }
        self.layout: Layout = lay_out(shapes, {n: self._cost(n) for n in shapes}, world.size)
        self.flat = adopt(model, self.layout, world.device)
        self.owned = [n for n in sorted(shapes) if self.layout.owner[n] == world.rank]
        self.state: dict[str, dict[str, Tensor]] = {n: self._fresh(n) for n in self.owned}

    def norms(self, chunk: Tensor) -> Tensor:
        """Squared gradient norms by parameter, float64 [parameters] by name, zero where another worker owns."""
        squares = torch.zeros(len(self.parameters), dtype=torch.float64)
        if self.owned:
            found = torch.stack([torch.linalg.vector_norm(self._grad(chunk, name)) for name in self.owned])
            index = {name: i for i, name in enumerate(sorted(self.parameters))}
            squares[[index[name] for name in self.owned]] = found.double().square().cpu()
        return squares

    @torch.no_grad()
    def step(self, chunk: Tensor, scale: float, rate: float, step: int) -> None:
        """Applies one update with gradients `chunk * scale`, then gives every worker all parameters."""
        chunk.mul_(scale)
        for name in self.owned:
            parameter, gradient, state = self.parameters[name], self._grad(chunk, name), self.state[name]
            if parameter.dim() >= 2 and self.section.weight_decay:
                parameter.mul_(1 - rate * self.section.weight_decay)
            if self.kind[name] == "muon":
                momentum = state["momentum"].mul_(self.section.momentum).add_(gradient)
                update = orthogonalise(gradient.add(momentum, alpha=self.section.momentum), self._dtype)
                parameter.add_(update.float(), alpha=-rate * _RMS * math.sqrt(max(parameter.shape)))
            else:
                beta1, beta2 = self.section.beta1, self.section.beta2
                first = state["first"].lerp_(gradient, 1 - beta1)
                second = state["second"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                root = second.sqrt().div_(math.sqrt(1 - beta2 ** (step + 1))).add_(1e-8)
                parameter.addcdiv_(first, root, value=-rate / (1 - beta1 ** (step + 1)))
        if self.world.size > 1:
            mine = self.flat.view(self.world.size, -1)[self.world.rank].clone()
            _all_gather(self.flat, mine)

    def _grad(self, chunk: Tensor, name: str) -> Tensor:
        start, shape = self.layout.offset[name], self.parameters[name].shape
        return chunk[start : start + shape.numel()].view(shape)

    def _fresh(self, name: str) -> dict[str, Tensor]:
        keys = ("momentum",) if self.kind[name] == "muon" else ("first", "second")
        return {key: torch.zeros_like(self.parameters[name]) for key in keys}

    def _cost(self, name: str) -> float:
        """Rough FLOPs of an update, to share the work evenly."""
        parameter = self.parameters[name]
        size = float(parameter.numel())
        return size * (20 + (_NS_STEPS * 6.0 * min(parameter.shape) if self.kind[name] == "muon" else 0))
