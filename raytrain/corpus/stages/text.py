"""The text stages: every number that the shipped rules decide by, in one pass (kernels/text_stats.py).

One stage for each word splitter, of which a recipe runs those that its rule sets name. The invariant: which stage a
threshold speaks of is settled by the rule set's splitter, never by chance.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from raytrain.corpus.kernels.columns import COLUMNS, COUNTS, SPLITTERS
from raytrain.corpus.section import CorpusSection
from raytrain.corpus.stages.stage import Stage


def columns(documents: Any, config: Mapping[str, Any]) -> Any:
    """A table with the columns of kernels/columns.py: counts as int64, the rest as double."""
    import numpy as np
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers
    from raytrain.corpus.kernels.text_stats import text_stats

    stats = text_stats(*text_buffers(documents.column("text")), config["splitter"])
    return pa.table(
        {
            name: stats[:, i].astype(np.int64) if name in COUNTS else np.ascontiguousarray(stats[:, i])
            for i, name in enumerate(COLUMNS)
        }
    )


def stage_of(splitter: str) -> Stage:
    """The stage that counts by the words of one splitter: `text` is that of the default, the others carry its name."""

    def config_of(corpus: CorpusSection) -> dict[str, Any]:
        """The splitter, and the version of Unicode by whose letters and blanks it splits."""
        return {"splitter": splitter, "unicode": unicodedata.unidata_version}

    name = "text" if splitter == SPLITTERS[0] else f"text_{splitter}"
    return Stage(name=name, version=2, columns_out=COLUMNS, columns=columns, config_of=config_of)


STAGES = tuple(stage_of(splitter) for splitter in SPLITTERS)
STAGE = STAGES[0]
