"""What general compressors make of the held-out documents: the yardstick beside a model's bits per byte. Pure.

It knows bytes, not tokens or models. The invariant: the documents are compressed in order, joined by one newline,
and every figure is divided by the documents' own bytes, newlines not counted, so that all of them stand beside the
model's (which pays for its end-of-text in the newline's place).
"""

from __future__ import annotations

import importlib
import lzma
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PPMD_ORDER, PPMD_MEMORY = 6, 16 << 20  # 7-Zip's defaults for its method PPMd (`7z -m0=ppmd`)


def compressed_bits_per_byte(documents: Sequence[bytes]) -> dict[str, float | None]:
    """Bits a byte by `xz` (exactly `xz -9e`) and by `ppmd`, None where pyppmd is not installed.

    ppmd is PPMd variant H (Shkarin 2002) as 7-Zip has it, of order 6 and with 16 MB of memory: the bare stream,
    without a container. ValueError when the documents hold no byte.
    """
    size = _bytes(documents)
    joined = b"\n".join(documents)
    with ThreadPoolExecutor(2) as pool:  # both release the interpreter's lock
        xz, ppmd = pool.submit(_xz, joined), pool.submit(_ppmd, joined)
        packed = ppmd.result()
        return {"xz": xz.result() * 8 / size, "ppmd": None if packed is None else packed * 8 / size}


def conditional_xz(train: bytes, documents: Sequence[bytes]) -> float:
    """Bits a byte that the documents cost `xz -9e` when it has seen the training text before.

    (len(xz(train + newline + documents)) - len(xz(train))) * 8 / bytes, after the conditional compression distance of
    Cilibrasi and Vitányi (2005). xz looks back 64 MiB: of a longer training text it knows the end only. ValueError
    when the documents hold no byte.
    """
    size = _bytes(documents)
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(_xz, b"\n".join([train, *documents]))
        alone = pool.submit(_xz, train)
        return (whole.result() - alone.result()) * 8 / size


def _bytes(documents: Sequence[bytes]) -> int:
    size = sum(map(len, documents))
    if not size:
        raise ValueError("the documents hold no byte to measure by")
    return size


def _xz(data: bytes) -> int:
    """The bytes that `xz -9e` writes, its container and CRC64 included."""
    return len(lzma.compress(data, lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME))


def _ppmd(data: bytes) -> int | None:
    try:
        pyppmd: Any = importlib.import_module("pyppmd")  # optional, and without types
    except ImportError:
        return None
    encoder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_MEMORY)
    return len(encoder.encode(data)) + len(encoder.flush())
