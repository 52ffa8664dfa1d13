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
from raytrain.errors import UserError
from raytrain.store import Artifact, Store

LIST = "forgotten/list"
FOUND = "forgotten/found"  # which of the listed ids each documents artifact holds: looked for once


@dataclass(frozen=True)
class Entry:
    """`at` is the Unix time at which it was listed first."""

    id: str
    reason: str
    at: float


def forget(store: Store, ids: Iterable[str], reason: str) -> tuple[list[Entry], list[Entry]]:
    """Puts ids on the list: (those that are new on it, those that were there and keep their first reason).

    Raises a UserError where no reason is given.
    """
    if not reason.strip():
        raise UserError("--reason is empty; say why: it is kept with the list for those who ask later")
    new, known = [], []
    for name in dict.fromkeys(ids):
        key, entry = f"{LIST}/{digest(name, 32)}.json", Entry(name, reason.strip(), round(time.time(), 3))
        if store.put_if_absent(key, canonical_json(asdict(entry)).encode()):
            new.append(entry)
        else:
            known.append(Entry(**json.loads(store.get(key))))
    return new, known


def listed(store: Store) -> list[Entry]:
    """All entries, the oldest first."""
    held = [Entry(**json.loads(store.get(key))) for key in store.keys(LIST)]
    return sorted(held, key=lambda entry: (entry.at, entry.id))


def among(documents: Artifact) -> list[str]:
    """The listed ids that these documents hold, sorted."""
    store = documents.store
    ids = sorted(entry.id for entry in listed(store))
    if not ids:
        return []
    key = f"{FOUND}/{documents.id}-{digest(ids)}.json"
    try:
        return list(json.loads(store.get(key)))
    except FileNotFoundError:
        pass
    import pyarrow as pa  # where torch stands alone, what was found before is read
    import pyarrow.compute as pc

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


def since(documents: Artifact, corpus: Artifact) -> list[str]:
    """Which ids among these documents were listed after `corpus` had been made of them."""
    return sorted(set(among(documents)) - set(corpus.manifest["config"].get("forgotten", ())))


def held(documents: Artifact, corpus: Artifact) -> int:
    """How many records a corpus of these documents keeps that are to be forgotten."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from raytrain.corpus.select import KEPT

    ids, many = pa.array(since(documents, corpus), pa.string()), 0
    for record in corpus.shards if len(ids) else ():
        table = shard_table(corpus.store, record, KEPT, ["doc_id", "record_id"])
        either = pc.or_(*(pc.is_in(table.column(name), value_set=ids) for name in ("doc_id", "record_id")))
        many += pc.sum(either).as_py() or 0
    return many
