"""What else is known of a document that a corpus rejected: whose copy it is, which evaluation items stand in it.

Looked up in the artifacts that the corpus was made from; no text is read but that of the matches. The invariant:
a document is named by its record id, and by its corpus where that is an earlier one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from raytrain.corpus import contamination
from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup.survivors import EARLIER
from raytrain.corpus.ingest import INDEX
from raytrain.store import Artifact, open_artifact

MOST_MATCHES = 20  # of a document
_NUMBERED = re.compile(r"^(.*) document (\d+)$")  # how select names another document among a reason's numbers


def document(corpus: Artifact, number: int) -> dict[str, Any]:
    """`record_id`, `doc_id` and `corpus` of a document by dedup's number; `corpus` is None for one's own.

    The corpus's own documents come first, then those of each earlier corpus. Of one that is gone from the store only
    the doc_id is known.
    """
    import pyarrow.compute as pc

    store, parents = corpus.store, corpus.manifest["parents"]
    dedup = open_artifact(store, f"dedup/{parents['dedup']}")
    earlier = [held for held in dedup.facts.get("earlier", ()) if held["first"] <= number] if dedup else []
    prefix = earlier[-1]["artifact"] if earlier else None
    of = open_artifact(store, prefix) if prefix else corpus
    documents = open_artifact(store, f"documents/{of.manifest['parents']['documents']}") if of else None
    left = number - (earlier[-1]["first"] if earlier else 0)
    for record in documents.shards if documents else ():
        if left < record["rows"]:
            table = shard_table(store, record, INDEX, ["record_id", "doc_id"])
            return {**dict(table.slice(left, 1).to_pylist()[0]), "corpus": prefix}
        left -= record["rows"]
    for record in dedup.shards if dedup else ():
        if EARLIER in record["objects"]:
            table = shard_table(store, record, EARLIER, ["doc", "doc_id"])
            for row in table.filter(pc.equal(table.column("doc"), number)).to_pylist():
                return {"record_id": None, "doc_id": row["doc_id"], "corpus": prefix}
    raise RuntimeError(f"{corpus.prefix}: no document {number}")


def named(found: Mapping[str, Any]) -> str:
    """A document as a person reads it."""
    name = str(found["record_id"] or found["doc_id"])
    return f"{name} of {found['corpus']}" if found["corpus"] else name


def matches(corpus: Artifact, shard: int, row: int) -> list[dict[str, Any]]:
    """The runs of words of evaluation items that stand in a document: set, item, its overlap, bytes and the words."""
    import pyarrow.compute as pc

    made = _contamination(corpus)
    if made is None:
        return []
    table = shard_table(corpus.store, made.shards[shard], contamination.MATCHES)
    rows = table.filter(pc.equal(table.column("row"), row)).drop_columns(["row"]).to_pylist()
    return sorted(rows, key=lambda one: (-one["overlap"], one["set"], one["item"], one["start"]))[:MOST_MATCHES]


def told(rows: Iterable[Mapping[str, Any]], corpus: Artifact | None) -> list[dict[str, Any]]:
    """Samples of a corpus, each with its `shard`: other documents named, matches given and marked where they show."""
    if corpus is None:
        return []
    name = cache(lambda number: named(document(corpus, number)))
    contaminated = _contamination(corpus) is not None
    return [_told(row, corpus, name, contaminated) for row in rows]


def _told(row: Mapping[str, Any], corpus: Artifact, name: Any, contaminated: bool) -> dict[str, Any]:
    import pyarrow.compute as pc

    numbers = []
    for one in row.get("numbers") or ():
        other = _NUMBERED.match(str(one["column"]))
        numbers.append({**one, "column": f"{other[1]} {name(int(other[2]))}"} if other else one)
    if not contaminated or not any(str(one["rule"]).startswith("decontamination.") for one in numbers):
        return {**row, "numbers": numbers}
    documents = open_artifact(corpus.store, f"documents/{corpus.manifest['parents']['documents']}")
    if documents is None:
        return {**row, "numbers": numbers}
    ids = shard_table(corpus.store, documents.shards[row["shard"]], INDEX, ["record_id"]).column("record_id")
    found = matches(corpus, row["shard"], pc.index(ids, row["record_id"]).as_py())
    places = [(row["text"].find(one["text"]), len(one["text"])) for one in found]
    spans = [*row["spans"], *([at, at + length] for at, length in places if at >= 0)]
    return {**row, "numbers": numbers, "matches": found, "spans": spans}


def _contamination(corpus: Artifact) -> Artifact | None:
    made = corpus.manifest["parents"].get("contamination")
    return open_artifact(corpus.store, f"{contamination.KIND}/{made}") if made else None
