"""Checks of this machine and the store that cost seconds now and hours later."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from raytrain.errors import UserError
from raytrain.store import Store
from raytrain.train.hardware import cpu_flags

Finding = dict[str, Any]


def examine(store: Store) -> list[Finding]:
    """One finding a check: {check, ok, text}; `ok` is False only for what would stop a run."""
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("store", lambda: _store(store)),
        ("disk", lambda: _disk(store)),
        ("memory", _memory),
        ("cpu", _cpu),
        ("compiler", _compiler),
        ("ports", _ports),
        ("clock", lambda: _clock(store)),
    ]
    findings = []
    for name, check in checks:
        try:
            ok, text = check()
        except UserError as error:
            ok, text = False, str(error)
        except OSError as error:
            ok, text = False, f"{type(error).__name__}: {error}"
        findings.append({"check": name, "ok": ok, "text": text})
    return findings


def _python() -> tuple[bool, str]:
    version = ".".join(map(str, sys.version_info[:3]))
    return sys.version_info[:2] == (3, 11), f"Python {version}" + (
        "" if sys.version_info[:2] == (3, 11) else "; 3.11 is needed"
    )


def _packages() -> tuple[bool, str]:
    extras = {"data": ("pyarrow", "numba"), "train": ("torch",), "engine": ("ray",), "flows": ("prefect",)}
    have = [e for e, names in extras.items() if all(importlib.util.find_spec(n) for n in names)]
    missing = [e for e in extras if e not in have]
    note = f"; not installed: {', '.join(missing)}" if missing else ""
    return bool(have), f"extras {', '.join(have) or 'none'}{note}"


def _store(store: Store) -> tuple[bool, str]:
    start = time.perf_counter()
    store.probe()
    return True, f"{store.uri}: written, read, listed, put-if-absent honoured, in {time.perf_counter() - start:.2f} s"


def _disk(store: Store) -> tuple[bool, str]:
    place = store.root if store.local and os.path.exists(store.root) else "/"
    free = shutil.disk_usage(place).free / 2**30
    return free >= 1, f"{free:.1f} GiB free at {place}" + ("" if free >= 1 else "; at least 1 GiB is needed")


def _memory() -> tuple[bool, str]:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    shm = shutil.disk_usage("/dev/shm").free / 2**30 if os.path.isdir("/dev/shm") else 0.0
    return total >= 2, f"{total:.1f} GiB, /dev/shm {shm:.1f} GiB free"


def _cpu() -> tuple[bool, str]:
    flags = cpu_flags()
    units = sorted(flags & {"avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16"})
    bf16 = bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})
    return (
        True,
        f"{os.cpu_count()} cores, {' '.join(units) or 'no vector units'}; training in {'bf16' if bf16 else 'fp32'}",
    )


def _compiler() -> tuple[bool, str]:
    found = [c for c in ("gcc", "g++", "clang") if shutil.which(c)]
    return True, ", ".join(found) or "none (needed only to build packages that ship no wheel)"


def _ports() -> tuple[bool, str]:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError as error:
            return False, f"no port can be bound on loopback: {error}"
    return True, "loopback ports can be bound"


def _clock(store: Store) -> tuple[bool, str]:
    if not store.local:
        return True, "not compared: attempts are told apart by counters, not by clocks"
    key = f".probe/clock-{os.getpid()}"
    store.replace(key, b"")
    path = store.local_path(key)
    assert path is not None
    skew = abs(path.stat().st_mtime - time.time())
    store.delete(key)
    return skew < 5, f"the store's clock is {skew:.1f} s from ours"
