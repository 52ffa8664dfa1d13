"""The ingest step: raw files become normalised documents in Parquet shards of a chosen size.

A unit of work is a run of files (or one big file), read in order; it cuts its text into parts of about
`target_shard_bytes`, and the parts of all units, in order, are the shards. The invariant: which row of which shard
a record becomes depends on the files and the configuration alone; no record vanishes uncounted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raytrain.config import Section
from raytrain.corpus import normalise as normal
from raytrain.corpus.inventory import SourceFile
from raytrain.corpus.readers import Broken, Raw, read
from raytrain.corpus.section import ORIGINS, CorpusSection, Source
from raytrain.errors import UserError
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task
from raytrain.store.uri import filesystem

NAME = "ingest"
KIND = "documents"
VERSION = 2
DOCUMENTS = "documents.parquet"
INDEX = "index.parquet"  # the same rows without the text: most steps need no more
QUARANTINE = "quarantine.parquet"
LISTED_PER_UNIT = 1000  # quarantine entries that are listed; all are counted
# Per source: files and their bytes, bytes of text before and documents and bytes after normalising, repaired texts.
COUNTED = ("files", "raw_bytes", "read_bytes", "documents", "bytes", "repaired")
NULLABLE = ("date", "url", "id", "declared_language")


def config_of(corpus: CorpusSection, sources: Sequence[Source]) -> dict[str, Any]:
    """What the documents depend on beside the files: of a source everything but where it lies."""
    return {
        "target_shard_bytes": corpus.target_shard_bytes,
        "max_document_bytes": corpus.max_document_bytes,
        "normalise": _dump(corpus.normalise) | {"version": normal.VERSION},
        "sources": [_dump(source, exclude={"uri"}) for source in sources],
    }


def run(ctx: StepContext, files: Sequence[SourceFile]) -> StepResult:
    """Reads `files` (see inventory.py) into documents. Raises a UserError when a source gives none at all."""
    sources = {source["name"]: source for source in ctx.config["sources"]}
    units = plan(files, int(ctx.config["target_shard_bytes"]))
    shared = {"store": ctx.store.uri, "prefix": ctx.prefix}
    options = {k: ctx.config[k] for k in ("target_shard_bytes", "max_document_bytes", "normalise")}
    tasks = [
        {
            **shared,
            "unit": i,
            "files": [file.as_dict() for file in unit],
            "sources": {file.source: sources[file.source] for file in unit},
            "config": options,
        }
        for i, unit in enumerate(units)
    ]
    records = ctx.map_shards(ingest_unit, tasks, "ingest")
    facts = _facts(records)
    for i, source in enumerate(ctx.config["sources"]):
        _refuse_empty(i, source["name"], files, facts)
    if facts["quarantined"]:
        ctx.say(f"set aside: {', '.join(f'{n} {reason}' for reason, n in facts['quarantined'].items())}")
    return StepResult(shards_of(records), facts)


def plan(files: Sequence[SourceFile], target_bytes: int) -> list[list[SourceFile]]:
    """Units of work: neighbouring files until their bytes reach the target; a bigger file stands alone."""
    units: list[list[SourceFile]] = []
    size = target_bytes
    for file in files:
        if size + file.bytes > target_bytes or not units:
            units.append([])
            size = 0
        units[-1].append(file)
        size += file.bytes
    return units


def ingest_unit(task: Task) -> Task:
    """Reads one unit's files and commits its parts under the unit's record."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["unit"])
    if done is not None:
        return done
    unit = _Unit(task)
    objects: dict[str, dict[str, Any]] = {}
    parts: list[dict[str, Any]] = []

    def write(rows: list[dict[str, Any]]) -> None:
        table = _documents_table(rows)
        names = {name: name.replace(".", f"-{len(parts):03d}.") for name in (DOCUMENTS, INDEX)}
        for name, held in ((DOCUMENTS, table), (INDEX, table.drop_columns(["text"]))):
            objects[names[name]] = writer.put(task["unit"], names[name], table_bytes(held))
        parts.append({"objects": names, "rows": len(rows), "bytes": sum(row["bytes"] for row in rows)})

    held: list[dict[str, Any]] = []
    size = 0
    for row in unit.rows():
        held.append(row)
        size += row["bytes"]
        if size >= task["config"]["target_shard_bytes"]:
            write(held)
            held, size = [], 0
    if held or not parts:
        write(held)
    if unit.listed:
        objects[QUARANTINE] = writer.put(task["unit"], QUARANTINE, table_bytes(_quarantine_table(unit.listed)))
    facts = {"parts": parts, "sources": unit.counts}
    return writer.commit_shard(task["unit"], objects, sum(part["rows"] for part in parts), facts)


def shards_of(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The shards in order: each part of each unit; a unit's quarantine goes with its first part."""
    shards: list[dict[str, Any]] = []
    for record in records:
        for i, part in enumerate(record["facts"]["parts"]):
            objects = {name: record["objects"][unique] for name, unique in part["objects"].items()}
            if i == 0 and QUARANTINE in record["objects"]:
                objects[QUARANTINE] = record["objects"][QUARANTINE]
            facts = {"bytes": part["bytes"]}
            shards.append({"shard": len(shards), "rows": part["rows"], "objects": objects, "facts": facts})
    return shards


class _Unit:
    """Reads a unit's files; keeps what was counted and set aside on the way."""

    def __init__(self, task: Task) -> None:
        self.files = task["files"]
        self.sources = task["sources"]
        self.config = task["config"]
        self.listed: list[dict[str, Any]] = []
        self.counts: dict[str, dict[str, Any]] = {}

    def rows(self) -> Iterator[dict[str, Any]]:
        for file in self.files:
            source = self.sources[file["source"]]
            counts = self.counts.setdefault(
                file["source"],
                dict.fromkeys(COUNTED, 0) | {"quarantined": {}},
            )
            counts["files"] += 1
            counts["raw_bytes"] += file["bytes"]
            with _open(file) as handle:
                limit = self.config["max_document_bytes"]
                for found in read(handle, file["path"], file["format"], source["text_field"], limit):
                    row = self._row(file, source, found, counts)
                    if row is not None:
                        yield row

    def _row(
        self, file: dict[str, Any], source: dict[str, Any], found: Raw | Broken, counts: dict[str, Any]
    ) -> dict[str, Any] | None:
        from xxhash import xxh3_128_hexdigest

        if isinstance(found, Broken):
            self._set_aside(file, found, counts)
            return None
        raw = found.text.encode("utf-8")
        counts["read_bytes"] += len(raw)
        if len(raw) > self.config["max_document_bytes"]:
            detail = f"{len(raw)} bytes of text, max_document_bytes is {self.config['max_document_bytes']}"
            self._set_aside(file, Broken(found.record, "oversize", detail, raw[:80]), counts)
            return None
        text, repaired = normal.normalise(found.text, self.config["normalise"])
        if not text:
            self._set_aside(file, Broken(found.record, "empty", "no text is left", raw[:80]), counts)
            return None
        data = text.encode("utf-8")
        counts["documents"] += 1
        counts["bytes"] += len(data)
        counts["repaired"] += repaired
        origin = found.fields.get("origin")
        return {
            "text": text,
            "doc_id": xxh3_128_hexdigest(data),
            "record_id": f"{file['source']}/{file['path']}/{found.record}",
            "source": file["source"],
            "domain": found.fields.get("domain", source["domain"]),
            "licence": found.fields.get("licence", source["licence"]),
            "origin": origin if origin in ORIGINS else source["origin"],
            "date": found.fields.get("date"),
            "url": found.fields.get("url"),
            "id": found.fields.get("id"),
            "declared_language": source["language"],
            "file": file["path"],
            "record": found.record,
            "bytes": len(data),
        }

    def _set_aside(self, file: dict[str, Any], broken: Broken, counts: dict[str, Any]) -> None:
        quarantined = counts["quarantined"]
        quarantined[broken.reason] = quarantined.get(broken.reason, 0) + broken.count
        if len(self.listed) < LISTED_PER_UNIT:
            self.listed.append(
                {
                    "source": file["source"],
                    "file": file["path"],
                    "record": broken.record,
                    "reason": broken.reason,
                    "detail": broken.detail,
                    "start": broken.start.decode("utf-8", "backslashreplace"),
                    "count": broken.count,
                }
            )


def _open(file: dict[str, Any]) -> Any:
    try:
        fs, path = filesystem(file["uri"])
        size = int(fs.size(path))
        if size != file["bytes"]:
            raise UserError(
                f"{file['uri']}: changed while it was read ({file['bytes']} bytes when listed, {size} now); "
                "run the same command again when it is at rest"
            )
        return fs.open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"{file['uri']}: vanished since it was listed; run the same command again") from None


def _documents_table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    return pa.Table.from_pylist(rows, schema=documents_schema())


def documents_schema() -> Any:
    """The columns of a documents shard."""
    import pyarrow as pa

    names = ("doc_id", "record_id", "source", "domain", "licence", "origin", *NULLABLE, "file")
    return pa.schema(
        [
            pa.field("text", pa.large_string(), nullable=False),
            *(pa.field(name, pa.string(), nullable=name in NULLABLE) for name in names),
            pa.field("record", pa.int64(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
        ]
    )


def _quarantine_table(rows: list[dict[str, Any]]) -> Any:
    import pyarrow as pa

    text = [(name, pa.string()) for name in ("source", "file", "reason", "detail", "start")]
    return pa.Table.from_pylist(rows, schema=pa.schema([*text, ("record", pa.int64()), ("count", pa.int64())]))


def _facts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    sources: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for record in records:
        for name, counts in record["facts"]["sources"].items():
            numbers = {key: value for key, value in counts.items() if key != "quarantined"}
            sources.setdefault(name, Counter()).update(numbers)
            reasons.setdefault(name, Counter()).update(counts["quarantined"])
    total: Counter[str] = sum(sources.values(), Counter())
    every: Counter[str] = sum(reasons.values(), Counter())
    return {
        **{key: total[key] for key in COUNTED},
        "quarantined": dict(sorted(every.items())),
        "sources": {
            name: {**held, "quarantined": dict(sorted(reasons[name].items()))} for name, held in sources.items()
        },
    }


def _refuse_empty(index: int, name: str, files: Sequence[SourceFile], facts: Mapping[str, Any]) -> None:
    held = facts["sources"].get(name, {"documents": 0, "quarantined": {}})
    if held["documents"]:
        return
    uris = [file.uri for file in files if file.source == name]
    where = f"{uris[0]} and {len(uris) - 1} more" if len(uris) > 1 else "".join(uris)
    why = ", ".join(f"{count} {reason}" for reason, count in held["quarantined"].items()) or "every file is empty"
    hint = {
        "missing_text": f"set sources[{index}].text_field to the field that holds the text",
        "bad_json": f"set sources[{index}].format, or mend the file: one JSON object a line",
        "oversize": "raise corpus.max_document_bytes, or cut the text into documents (jsonl)",
        "not_utf8": "convert it to UTF-8, for example with iconv",
        "broken_stream": "fetch the file again, it is damaged",
    }
    worst = max(held["quarantined"], key=held["quarantined"].__getitem__, default="")
    remedy = hint.get(worst, "put text there or drop the source")
    raise UserError(f"sources[{index}] ({name}): {where} gave no document ({why}); {remedy}")


def _dump(section: Section, exclude: set[str] | None = None) -> dict[str, Any]:
    return section.model_dump(mode="json", exclude=exclude)
