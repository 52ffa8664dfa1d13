"""XXH3-128 of many texts at once: what a document's identity is made of.

After the specification (Yann Collet, xxHash, doc/xxhash_spec.md, section XXH3), seed 0, default secret. The invariant:
the same digests as the reference library's for every length. All arithmetic is unsigned, modulo 2^64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from raytrain.corpus.kernels.characters import CACHED

U = np.uint64
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
# The secret's eight bytes from each place on, as a little-endian number.
SECRET = np.array([int.from_bytes(_SECRET[i : i + 8], "little") for i in range(len(_SECRET) - 7)], np.uint64)
P32_1, P32_2, P32_3 = U(0x9E3779B1), U(0x85EBCA77), U(0xC2B2AE3D)
P64_1, P64_2, P64_3 = U(0x9E3779B185EBCA87), U(0xC2B2AE3D27D4EB4F), U(0x165667B19E3779F9)
P64_4, P64_5 = U(0x85EBCA77C2B2AE63), U(0x27D4EB2F165667C5)
MX1, MX2 = U(0x165667919E3779F9), U(0x9FB21C651E98DF25)
START = np.array([P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1], np.uint64)
LOW = U(0xFFFFFFFF)
HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
STRIPE = U(64)


@njit(**CACHED)
def hexdigests(data, offsets):  # type: ignore[no-untyped-def]
    """32 hex digits for each text data[offsets[i]:offsets[i + 1]], end to end."""
    texts = len(offsets) - 1
    out = np.empty(32 * texts, np.uint8)
    lanes = np.empty(8, np.uint64)
    for text in range(texts):
        start, size = U(offsets[text]), U(offsets[text + 1] - offsets[text])
        if size <= U(16):
            low, high = _short(data, start, size)
        elif size <= U(240):
            low, high = _middle(data, start, size)
        else:
            low, high = _long(data, start, size, lanes)
        for digit in range(16):
            shift = U(60 - 4 * digit)
            out[32 * text + digit] = HEX[(high >> shift) & U(15)]
            out[32 * text + 16 + digit] = HEX[(low >> shift) & U(15)]
    return out


@njit(**CACHED)
def _read32(data, i):  # type: ignore[no-untyped-def]
    return U(data[i]) | U(data[i + U(1)]) << U(8) | U(data[i + U(2)]) << U(16) | U(data[i + U(3)]) << U(24)


@njit(**CACHED)
def _read64(data, i):  # type: ignore[no-untyped-def]
    return _read32(data, i) | _read32(data, i + U(4)) << U(32)


@njit(**CACHED)
def _swap(value, size):  # type: ignore[no-untyped-def]
    """The lowest `size` bytes in the opposite order."""
    out = U(0)
    for _ in range(size):
        out = out << U(8) | value & U(255)
        value >>= U(8)
    return out


@njit(**CACHED)
def _product(a, b):  # type: ignore[no-untyped-def]
    """(low, high) 64 bits of a product."""
    low = (a & LOW) * (b & LOW)
    left, right = (a >> U(32)) * (b & LOW), (a & LOW) * (b >> U(32))
    middle = (low >> U(32)) + (left & LOW) + right
    return a * b, (left >> U(32)) + (middle >> U(32)) + (a >> U(32)) * (b >> U(32))


@njit(**CACHED)
def _folded(a, b):  # type: ignore[no-untyped-def]
    low, high = _product(a, b)
    return low ^ high


@njit(**CACHED)
def _avalanche(h):  # type: ignore[no-untyped-def]
    h = (h ^ h >> U(37)) * MX1
    return h ^ h >> U(32)


@njit(**CACHED)
def _avalanche64(h):  # type: ignore[no-untyped-def]
    h = (h ^ h >> U(33)) * P64_2
    h = (h ^ h >> U(29)) * P64_3
    return h ^ h >> U(32)


@njit(**CACHED)
def _short(data, i, size):  # type: ignore[no-untyped-def]
    """(low, high) of a text of at most 16 bytes."""
    if size == U(0):
        return _avalanche64(SECRET[64] ^ SECRET[72]), _avalanche64(SECRET[80] ^ SECRET[88])
    if size < U(4):
        last = U(data[i + size - U(1)])
        low = U(data[i]) << U(16) | U(data[i + (size >> U(1))]) << U(24) | last | size << U(8)
        high = _swap(low, 4)
        high = (high << U(13) | high >> U(19)) & LOW
        low, high = low ^ (SECRET[0] ^ SECRET[4]) & LOW, high ^ (SECRET[8] ^ SECRET[12]) & LOW
        return _avalanche64(low), _avalanche64(high)
    if size <= U(8):
        value = _read32(data, i) | _read32(data, i + size - U(4)) << U(32)
        low, high = _product(value ^ SECRET[16] ^ SECRET[24], P64_1 + (size << U(2)))
        high += low << U(1)
        low ^= high >> U(3)
        low = (low ^ low >> U(35)) * MX2
        return low ^ low >> U(28), _avalanche(high)
    first, last = _read64(data, i), _read64(data, i + size - U(8))
    low, high = _product(first ^ last ^ SECRET[32] ^ SECRET[40], P64_1)
    low += (size - U(1)) << U(54)
    last ^= SECRET[48] ^ SECRET[56]
    high += last + (last & LOW) * (P32_2 - U(1))
    low ^= _swap(high, 8)
    mixed, above = _product(low, P64_2)
    return _avalanche(mixed), _avalanche(above + high * P64_2)


@njit(**CACHED)
def _mix16(data, i, secret):  # type: ignore[no-untyped-def]
    return _folded(_read64(data, i) ^ SECRET[secret], _read64(data, i + U(8)) ^ SECRET[secret + U(8)])


@njit(**CACHED)
def _mix32(data, low, high, first, second, secret):  # type: ignore[no-untyped-def]
    low += _mix16(data, first, secret)
    low ^= _read64(data, second) + _read64(data, second + U(8))
    high += _mix16(data, second, secret + U(16))
    high ^= _read64(data, first) + _read64(data, first + U(8))
    return low, high


@njit(**CACHED)
def _middle(data, i, size):  # type: ignore[no-untyped-def]
    """(low, high) of a text of 17 to 240 bytes."""
    low, high = size * P64_1, U(0)
    end = i + size
    if size <= U(128):
        for pair in range((np.int64(size) - 1) // 32, -1, -1):
            step = U(16 * pair)
            low, high = _mix32(data, low, high, i + step, end - step - U(16), U(2) * step)
    else:
        for k in range(np.int64(size) // 32):
            step = U(32 * k)
            secret = step if k < 4 else step - U(125)
            low, high = _mix32(data, low, high, i + step, i + step + U(16), secret)
            if k == 3:
                low, high = _avalanche(low), _avalanche(high)
        low, high = _mix32(data, low, high, end - U(16), end - U(32), U(103))
    mixed = low * P64_1 + high * P64_4 + size * P64_2
    return _avalanche(low + high), U(0) - _avalanche(mixed)


@njit(**CACHED)
def _accumulate(data, i, secret, lanes):  # type: ignore[no-untyped-def]
    for lane in range(8):
        value = _read64(data, i + U(8 * lane))
        key = value ^ SECRET[secret + U(8 * lane)]
        lanes[lane ^ 1] += value
        lanes[lane] += (key & LOW) * (key >> U(32))


@njit(**CACHED)
def _long(data, i, size, lanes):  # type: ignore[no-untyped-def]
    """(low, high) of a text of more than 240 bytes; `lanes` is scratch for eight numbers."""
    lanes[:] = START
    end = i + size
    stripes = np.int64((size - U(1)) // STRIPE)
    for stripe in range(stripes):
        _accumulate(data, i + U(64 * stripe), U(8 * (stripe % 16)), lanes)
        if stripe % 16 == 15:
            for lane in range(8):
                held = lanes[lane]
                lanes[lane] = (held ^ held >> U(47) ^ SECRET[128 + 8 * lane]) * P32_1
    _accumulate(data, end - STRIPE, U(121), lanes)
    return _merged(lanes, 11, size * P64_1), _merged(lanes, 117, ~(size * P64_2))


@njit(**CACHED)
def _merged(lanes, secret, total):  # type: ignore[no-untyped-def]
    for pair in range(4):
        at = secret + 16 * pair
        total += _folded(lanes[2 * pair] ^ SECRET[at], lanes[2 * pair + 1] ^ SECRET[at + 8])
    return _avalanche(total)
