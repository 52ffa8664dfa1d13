"""The minhash stage: a signature per document from which dedup finds candidates without reading texts."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from raytrain.corpus.section import CorpusSection
from raytrain.corpus.stages.stage import Stage


def config_of(corpus: CorpusSection) -> dict[str, Any]:
    """Not how values are grouped into bands: one set of signatures serves every grouping of as many values.

    The version of Unicode says what a word is made of; dedup, which splits by it too, has these as its parent.
    """
    dedup, unicode = corpus.dedup, unicodedata.unidata_version
    return {"values": dedup.bands * dedup.rows, "ngram": dedup.ngram, "unit": dedup.unit, "unicode": unicode}


def columns(documents: Any, config: Mapping[str, Any]) -> Any:
    """`signature` (values x uint32, little-endian) and `shingles` (how many, repeated ones counted)."""
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.minhash import signatures

    values, counts = signatures(
        *text_buffers(documents.column("text")), config["ngram"], config["values"], config["unit"] == "character"
    )
    width = 4 * config["values"]
    column = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(counts), [None, pa.py_buffer(values.astype("<u4").tobytes())]
    )
    return pa.table({"signature": column, "shingles": counts})


STAGE = Stage(
    name="minhash",
    version=3,
    columns_out=("signature", "shingles"),
    columns=columns,
    config_of=config_of,
)
OBJECT = STAGE.object
