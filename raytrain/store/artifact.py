"""Artifacts: immutable results of a step, content-addressed by what went in, committed shard by shard.

An artifact lies below `<kind>/<id>/`. Its objects carry names unique to the attempt that wrote them; a
put-if-absent record per shard says which of them count; `MANIFEST.json` comes last. The invariant: without a
manifest there is no artifact, and what no record names is garbage that no reader looks at.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import raytrain
from raytrain.config import canonical_json, digest
from raytrain.errors import UserError
from raytrain.store.uri import Store

SCHEMA_VERSION = 1
MANIFEST = "MANIFEST.json"
ZSTD_LEVEL = 1  # English prose: 350 MB per CPU second to 0.33 of its size; level 3: 230 to 0.29


def artifact_id(step: str, version: int, config: Mapping[str, Any], parents: Sequence[str]) -> str:
    """The identity of a step's result: step, its version, its own configuration, its parents' ids.

    The store, the cost, the time and the number of workers never enter.
    """
    return digest({"step": step, "version": version, "config": dict(config), "parents": list(parents)})


@dataclass(frozen=True)
class Artifact:
    """A committed artifact: `manifest` says what it holds, `shards` in shard order."""

    store: Store
    prefix: str
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.manifest["artifact_id"])

    @property
    def shards(self) -> list[dict[str, Any]]:
        return list(self.manifest["shards"])

    @property
    def facts(self) -> dict[str, Any]:
        """Small figures that the step left for reports."""
        return dict(self.manifest["facts"])

    def key(self, shard: int, name: str) -> str:
        """The store key of the object `name` of a shard."""
        return str(self.shards[shard]["objects"][name]["key"])

    def get(self, shard: int, name: str) -> bytes:
        """An object's bytes, checked against the size and SHA-256 that its record gives."""
        entry = self.shards[shard]["objects"][name]
        data = self.store.get(entry["key"])
        if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise UserError(
                f"{self.store.where(entry['key'])}: damaged ({len(data)} bytes, checksum differs from its record); "
                f"delete {self.prefix} and run again"
            )
        return data


def open_artifact(store: Store, prefix: str) -> Artifact | None:
    """The artifact at a prefix, or None while it has no manifest."""
    try:
        raw = store.get(f"{prefix}/{MANIFEST}")
    except FileNotFoundError:
        return None
    return Artifact(store, prefix, json.loads(raw))


class ArtifactWriter:
    """Writes one artifact, possibly together with other processes that write other shards of it.

    It can be made anew in any process from (store, prefix); it holds no state but a random part of object names.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self.store = store
        self.prefix = prefix
        self._unique = secrets.token_hex(4)

    def record(self, shard: int) -> dict[str, Any] | None:
        """The record of a shard that is already committed, by whomever."""
        try:
            return dict(json.loads(self.store.get(self._record_key(shard))))
        except FileNotFoundError:
            return None

    def put(self, shard: int, name: str, data: bytes) -> dict[str, Any]:
        """Writes an object of a shard; the entry returned goes into `commit_shard`."""
        stem, dot, suffix = name.partition(".")
        key = f"{self.prefix}/{shard:05d}-{stem}-{self._unique}{dot}{suffix}"
        self.store.put(key, data)
        return {"key": key, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def commit_shard(
        self, shard: int, objects: Mapping[str, dict[str, Any]], rows: int, facts: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Makes a shard's objects count. If another writer was first, its record is returned and ours is garbage."""
        record = {"shard": shard, "rows": rows, "objects": dict(objects), "facts": dict(facts or {})}
        if self.store.put_if_absent(self._record_key(shard), canonical_json(record).encode()):
            return record
        won = self.record(shard)
        assert won is not None
        return won

    def commit(
        self,
        *,
        artifact: str,
        step: str,
        version: int,
        config: Mapping[str, Any],
        parents: Mapping[str, str],
        shards: Sequence[Mapping[str, Any]],
        facts: Mapping[str, Any] | None = None,
        cost: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Puts the manifest and returns the artifact; if another writer was first, theirs.

        `sha256` covers the shards' contents and facts in order and nothing else, so that equal data have equal sums
        whoever wrote them, where and when.
        """
        ordered = sorted((dict(s) for s in shards), key=lambda s: s["shard"])
        content = [[s["rows"], sorted((n, o["sha256"]) for n, o in s["objects"].items()), s["facts"]] for s in ordered]
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "artifact_id": artifact,
            "step": step,
            "version": version,
            "config": dict(config),
            "parents": dict(parents),
            "rows": sum(s["rows"] for s in ordered),
            "bytes": sum(o["bytes"] for s in ordered for o in s["objects"].values()),
            "sha256": digest(content, 64),
            "shards": ordered,
            "facts": dict(facts or {}),
            "cost": dict(cost or {}),
            "code": raytrain.__version__,
        }
        body = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
        self.store.put_if_absent(f"{self.prefix}/{MANIFEST}", body)
        done = open_artifact(self.store, self.prefix)
        assert done is not None
        return done

    def _record_key(self, shard: int) -> str:
        return f"{self.prefix}/records/{shard:05d}.json"


class TableBytes:
    """Tables of one schema, one below the other, as deterministic zstd Parquet: equal tables give equal bytes.

    What was added is held compressed, a row group each time. `repeated` names the columns whose values stand often, if
    that is known: only these are written through a dictionary then.
    """

    def __init__(self, schema: Any, repeated: Sequence[str] | None = None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._sink = pa.BufferOutputStream()
        self._file = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=ZSTD_LEVEL,
            use_dictionary=True if repeated is None else list(repeated),
        )

    def add(self, table: Any) -> None:
        self._file.write_table(table)

    def finish(self) -> bytes:
        """The file; nothing can be added any more."""
        self._file.close()
        return bytes(self._sink.getvalue())


def table_bytes(table: Any, repeated: Sequence[str] | None = None) -> bytes:
    """A table as deterministic zstd Parquet."""
    sink = TableBytes(table.schema, repeated)
    sink.add(table)
    return sink.finish()


def read_table(artifact: Artifact, shard: int, name: str, columns: list[str] | None = None) -> Any:
    """A shard's Parquet object as a pyarrow table, its checksum verified.

    On this thread alone: shards are the unit of parallelism, and pyarrow's idle pools can abort an interpreter that
    exits. `pq.read_table` asks its I/O pool even when told not to use threads; ParquetFile does not.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(artifact.get(shard, name)), pre_buffer=False)
    table = file.read(columns=columns, use_threads=False)
    return table if columns is None else table.select(columns)
