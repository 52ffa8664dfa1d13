"""The text stage: every number that the Gopher, C4 and FineWeb rules decide by, in one pass (kernels/text_stats.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from raytrain.corpus.kernels.columns import COLUMNS, COUNTS, SPLITTER
from raytrain.corpus.section import CorpusSection
from raytrain.corpus.stages.stage import Stage


def config_of(corpus: CorpusSection) -> dict[str, Any]:
    """Nothing of a recipe moves these numbers; the splitter's name stands here because thresholds hang on it."""
    return {"splitter": SPLITTER}


def columns(documents: Any, config: Mapping[str, Any]) -> Any:
    """A table with the columns of kernels/columns.py: counts as int64, the rest as double."""
    import numpy as np
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.text_stats import text_stats

    stats = text_stats(*text_buffers(documents.column("text")))
    return pa.table(
        {
            name: stats[:, i].astype(np.int64) if name in COUNTS else np.ascontiguousarray(stats[:, i])
            for i, name in enumerate(COLUMNS)
        }
    )


STAGE = Stage(name="text", version=1, columns_out=COLUMNS, columns=columns, config_of=config_of)
