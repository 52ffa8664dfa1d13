"""General compressors as a yardstick: exactly the tools' own sizes, over the documents' own bytes."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys

import pytest

from raytrain.evaluate.compress import compressed_bits_per_byte, conditional_xz

WORDS = [b"whale", b"ship", b"sea", b"captain", b"the", b"of", b"and", b"white", b"harpoon", b"upon"]


def prose(seed: int, words: int) -> bytes:
    draw = random.Random(seed)
    return b" ".join(draw.choice(WORDS) for _ in range(words))


@pytest.mark.skipif(shutil.which("xz") is None, reason="the xz command is not installed")
def test_xz_is_the_commands_own_size_with_9e() -> None:
    documents = [prose(1, 900), prose(2, 10), prose(3, 4000)]
    # One thread: since 5.6 xz writes blocks with sizes when it may use several, some bytes more.
    command = ["xz", "-9e", "-T1", "--format=xz", "--stdout"]
    packed = subprocess.run(command, input=b"\n".join(documents), capture_output=True, check=True).stdout
    assert compressed_bits_per_byte(documents)["xz"] == len(packed) * 8 / sum(map(len, documents))


def test_newlines_between_documents_are_paid_for_but_not_divided_by() -> None:
    one, two = prose(1, 500), prose(2, 500)
    apart = compressed_bits_per_byte([one, two])["xz"]
    together = compressed_bits_per_byte([one + b"\n" + two])["xz"]
    assert apart is not None
    assert together is not None
    size = len(one) + len(two)
    assert apart * size == pytest.approx(together * (size + 1))


def test_ppmd_is_variant_h_of_order_6_with_16_mb() -> None:
    pyppmd = pytest.importorskip("pyppmd")
    document = prose(7, 5000)
    found = compressed_bits_per_byte([document])["ppmd"]
    encoder = pyppmd.Ppmd7Encoder(6, 1 << 24)
    stream = encoder.encode(document) + encoder.flush()
    assert found == len(stream) * 8 / len(document)
    assert pyppmd.Ppmd7Decoder(6, 1 << 24).decode(stream, len(document)) == document


def test_ppmd_is_none_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyppmd", None)
    assert compressed_bits_per_byte([prose(1, 50)])["ppmd"] is None


def test_training_text_that_knows_the_documents_makes_them_nearly_free() -> None:
    documents = [random.Random(k).randbytes(3000) for k in range(3)]
    known = b"\n".join([random.Random(9).randbytes(20_000), *documents])
    assert conditional_xz(known, documents) < 0.5  # what is left is LZMA2's chunk headers
    assert conditional_xz(random.Random(10).randbytes(20_000), documents) == pytest.approx(8, rel=0.02)


def test_nothing_to_measure_is_an_error() -> None:
    for documents in ([], [b""], [b"", b""]):
        with pytest.raises(ValueError, match="no byte"):
            compressed_bits_per_byte(documents)
        with pytest.raises(ValueError, match="no byte"):
            conditional_xz(b"text", documents)


def test_the_same_documents_give_the_same_figures() -> None:
    documents = [prose(k, 300) for k in range(5)]
    assert compressed_bits_per_byte(documents) == compressed_bits_per_byte(list(documents))
