"""The choice of survivors among documents that pass, for whoever knows more than dedup does.

Dedup looks at all documents, select keeps only those that its rules pass: a good text must not go for the sake of
a copy that is itself rejected. The invariant: select's choice uses dedup's verified pairs and no others, and what
earlier corpora have stays removed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup.clusters import DECISION, LINK, MEMBER, RULES, decide
from raytrain.corpus.dedup.pool import halves_of
from raytrain.store import Artifact

PAIRS = "pairs.parquet"
EARLIER = "earlier.parquet"
COMPANY = ("doc", "doc_id", "rank", "url")
"""The columns of a document that has company: its number and id, and dedup's `rank` and `url`."""

__all__ = ["COMPANY", "DECISION", "EARLIER", "PAIRS", "RULES", "accepted", "among", "members_of"]


def among(passing: Any, dedup: Artifact) -> NDArray[Any]:
    """DECISION rows for the documents of `passing`, a table of COMPANY's columns."""
    held = [members_of(passing)]
    held += [members_of(shard_table(dedup.store, record, EARLIER), True) for record in _with(dedup, EARLIER)]
    decided = decide(np.concatenate(held), accepted(dedup))
    return np.asarray(decided[np.isin(decided["doc"], passing.column("doc").to_numpy())])


def members_of(table: Any, earlier: bool = False) -> NDArray[Any]:
    """MEMBER rows of a table of COMPANY's columns."""
    import pyarrow.compute as pc

    rows = np.zeros(table.num_rows, MEMBER)
    rows["doc"], rows["rank"] = table.column("doc").to_numpy(), table.column("rank").to_numpy()
    rows["high"], rows["low"] = halves_of(table.column("doc_id"))
    rows["url_high"], rows["url_low"] = halves_of(pc.fill_null(table.column("url"), "0" * 32))
    rows["earlier"] = earlier
    return rows


def accepted(dedup: Artifact) -> NDArray[Any]:
    """All pairs of texts that dedup accepted, as links."""
    held = [np.zeros(0, LINK)]
    for record in _with(dedup, PAIRS):
        table = shard_table(dedup.store, record, PAIRS)
        table = table.filter(table.column("accepted"))
        rows = np.zeros(table.num_rows, LINK)
        for end in "ab":
            rows[f"{end}_high"], rows[f"{end}_low"] = halves_of(table.column(f"{end}_doc_id"))
        for name in ("jaccard", "containment"):
            rows[name] = table.column(name).to_numpy()
        alike = np.array([rule.startswith("jaccard") for rule in table.column("rule").to_pylist()], np.bool_)
        rows["rule"] = np.where(alike, RULES.index("near"), RULES.index("contained"))
        rows["longer"] = table.column("b_shingles").to_numpy() > table.column("a_shingles").to_numpy()
        held.append(rows)
    return np.concatenate(held)


def _with(dedup: Artifact, name: str) -> list[dict[str, Any]]:
    return [record for record in dedup.shards if name in record["objects"]]
