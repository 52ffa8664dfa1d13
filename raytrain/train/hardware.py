"""What the processor can do. No torch, so that a doctor can ask without it."""

from __future__ import annotations

import os
import socket
from pathlib import Path


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
