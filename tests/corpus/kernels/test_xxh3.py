"""Our XXH3-128 is the reference library's, for texts of every length."""

from __future__ import annotations

import numpy as np
from xxhash import xxh3_128_hexdigest

from raytrain.corpus.kernels.xxh3 import hexdigests

LENGTHS = (*range(530), 1023, 1024, 1025, 1087, 1088, 1089, 2048, 2049, 5000, 70_001)


def test_the_digests_of_the_reference_library_for_every_length() -> None:
    data = np.frombuffer(np.random.default_rng(0).bytes(sum(LENGTHS)), np.uint8)
    offsets = np.cumsum([0, *LENGTHS])
    found = bytes(hexdigests(data, offsets)).decode()
    for i, length in enumerate(LENGTHS):
        text = bytes(data[offsets[i] : offsets[i + 1]])
        assert len(text) == length
        assert found[32 * i : 32 * i + 32] == xxh3_128_hexdigest(text)
