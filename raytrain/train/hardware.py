"""What the processor can do. No torch, so that a doctor can ask without it."""

from __future__ import annotations

from pathlib import Path


def cpu_flags() -> set[str]:
    """The processor's feature flags, empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    line = next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())
