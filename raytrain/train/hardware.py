"""What processors and accelerators can do. No torch, so that a doctor and a plan can ask without it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Accelerator:
    """A GPU by its maker's data sheet: dense bf16 (V100: fp16) FLOP/s, bytes of memory, watts."""

    flops: float
    memory: float
    watts: float


ACCELERATORS = {
    "H100": Accelerator(989e12, 80e9, 700),
    "H200": Accelerator(989e12, 141e9, 700),
    "A100-40GB": Accelerator(312e12, 40e9, 400),
    "A100": Accelerator(312e12, 80e9, 400),
    "L40S": Accelerator(362e12, 48e9, 350),
    "A10G": Accelerator(70e12, 24e9, 300),
    "A6000": Accelerator(155e12, 48e9, 300),
    "V100": Accelerator(125e12, 16e9, 300),
    "L4": Accelerator(121e12, 24e9, 72),
}
"""By a part of the device's name; the first that fits counts."""


def accelerator(name: str) -> Accelerator | None:
    """The data sheet of a device by the name that its driver or a price table gives, None for an unknown one."""
    return next((known for part, known in ACCELERATORS.items() if part in name), None)


def this_node() -> str:
    """What this machine is called in the ledger: RAYTRAIN_NODE where a framework sets it, else the host name."""
    return os.environ.get("RAYTRAIN_NODE") or socket.gethostname()


def cpu_flags() -> set[str]:
    """The processor's feature flags, empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    line = next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())
