"""The process's place among its peers: rank, device, precision, threads. No framework but torch.

The invariant: nothing here changes what is computed, only where.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from raytrain.train.hardware import accelerator, cpu_flags, this_node


@dataclass(frozen=True)
class World:
    """One worker among `size`; `leader` is the first worker of its node."""

    rank: int
    size: int
    leader: bool
    node: str
    device: torch.device

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """All-reduces a CPU tensor in place; exact where every element is non-zero on one worker only."""
        if self.size > 1:
            on_device = values.to(self.device)
            dist.all_reduce(on_device)
            values.copy_(on_device)
        return values

    def tell(self, value: Any) -> Any:
        """The first worker's picklable value, on every worker."""
        box = [value]
        if self.size > 1:
            dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every worker's picklable value, in the order of ranks, on every worker."""
        if self.size == 1:
            return [value]
        box: list[Any] = [None] * self.size
        dist.all_gather_object(box, value)
        return box


def join(threads: int) -> World:
    """Joins the process group that torchrun or Ray Train describes, and fixes the number of CPU threads."""
    torch.set_num_threads(threads)
    cuda = torch.cuda.is_available()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if "RANK" in os.environ and not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group("nccl" if cuda else "gloo")
    rank = dist.get_rank() if dist.is_initialized() else 0
    size = dist.get_world_size() if dist.is_initialized() else 1
    return World(rank, size, local == 0, this_node(), device)


def leave() -> None:
    """Closes the process group of `join`, so that peers notice at once; torch aborts a process that exits with one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def precision(wanted: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The compute type and the reason for it, in words."""
    if wanted == "fp32":
        return torch.float32, "fp32, as the recipe says"
    if device.type == "cuda":
        has, name = torch.cuda.is_bf16_supported(), torch.cuda.get_device_name(device)
    else:
        flags = cpu_flags()
        has = bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
        name = "this CPU"
    if wanted == "bf16":
        return torch.bfloat16, f"bf16, as the recipe says{'' if has else f' ({name} has no bf16 unit: slow)'}"
    if has:
        return torch.bfloat16, f"bf16: {name} has bf16 units"
    return torch.float32, f"fp32: {name} has no bf16 unit"


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The device's matrix peak in FLOP/s: from the data sheet where known, else measured (about 0.2 s)."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = accelerator(name)
        if known is not None and dtype == torch.bfloat16:
            return known.flops
    return _measured_peak(device, dtype)


def _measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    import time

    n = 4096 if device.type == "cuda" else 1024
    a = torch.randn(n, n, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2.0 * n**3 / best
