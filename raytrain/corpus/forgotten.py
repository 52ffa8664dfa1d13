"""Documents that are to be forgotten: a durable list in the store, which every corpus made from then on honours.

An entry is a document id (a text, wherever it stands) or a record id (one record). What was made before stays as it
is; `raytrain data forget` says what that is. The invariant: an entry is never taken back, and only corpora of
documents that hold one of the listed ids change by it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from raytrain.config import canonical_json, digest
from raytrain.corpus.attributes import shard_table
from raytrain.corpus.ingest import INDEX
from raytrain.store import Artifact, Store

LIST = "forgotten/list"
FOUND = "forgotten/found"  # which of the listed ids each documents artifact holds: looked for once


@dataclass(frozen=True)
class Entry:
    """`at` is the Unix time at which it was listed first."""

    id: str
    reason: str
    at: float


def forget(store: Store, ids: Iterable[str], reason: str) -> list[Entry]:
    """Puts ids on the list; one that is there already keeps its first reason."""
    held = []
    for name in ids:
        key, entry = f"{LIST}/{digest(name, 32)}.json", Entry(name, reason, round(time.time(), 3))
        if not store.put_if_absent(key, canonical_json(asdict(entry)).encode()):
            entry = Entry(**json.loads(store.get(key)))
        held.append(entry)
    return held


def listed(store: Store) -> list[Entry]:
    """All entries, the oldest first."""
    held = [Entry(**json.loads(store.get(key))) for key in store.keys(LIST)]
    return sorted(held, key=lambda entry: (entry.at, entry.id))


def among(documents: Artifact) -> list[str]:
    """The listed ids that these documents hold, sorted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    store = documents.store
    ids = sorted(entry.id for entry in listed(store))
    if not ids:
        return []
    key = f"{FOUND}/{documents.id}-{digest(ids)}.json"
    try:
        return list(json.loads(store.get(key)))
    except FileNotFoundError:
        pass
    found: set[str] = set()
    for record in documents.shards:
        for name in ("doc_id", "record_id"):
            column = shard_table(store, record, INDEX, [name]).column(name)
            found.update(column.filter(pc.is_in(column, value_set=pa.array(ids))).to_pylist())
    store.put_if_absent(key, canonical_json(sorted(found)).encode())
    return sorted(found)


def hidden(documents: Artifact) -> frozenset[str]:
    """All listed ids, and the record ids of these documents whose texts are listed: what nobody is to be shown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {entry.id for entry in listed(documents.store)}
    texts = pa.array(sorted(found), pa.string())
    for record in documents.shards if found else ():
        index = shard_table(documents.store, record, INDEX, ["doc_id", "record_id"])
        found.update(index.filter(pc.is_in(index.column("doc_id"), value_set=texts)).column("record_id").to_pylist())
    return frozenset(found)
