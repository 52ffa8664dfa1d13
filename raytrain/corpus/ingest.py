"""The ingest step: raw files become normalised documents in Parquet shards of a chosen size.

A unit of work is a run of files (or one big file), read in order; it cuts its text into parts of about
`target_shard_bytes`, and the parts of all units, in order, are the shards. The invariant: which row of which shard
a record becomes depends on the files and the configuration alone; no record vanishes uncounted.

A worker takes at most 2 x target_shard_bytes and 128 bytes a document (a shard compressed, and once more to put it),
4 x the longest line that is read (6 x max_document_bytes and 1 MB) and 100 MB (row groups, blocks and what the kernels
make of them); and the window of a zstd file, which says itself how far it looks back: 8 MB, or up to 2 GB of what it
unfolds to where it was written for long distances. A page, a book or a PDF is held whole (formats/).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.config import Section
from raytrain.corpus import normalise as normal
from raytrain.corpus.inventory import SourceFile
from raytrain.corpus.kernels.buffers import Bytes, Offsets, text_buffers
from raytrain.corpus.readers import OWN_FIELDS, START_BYTES, Broken, Raw, Records, read, records_of, texts_array
from raytrain.corpus.section import ORIGINS, VERIFICATIONS, CorpusSection, Source
from raytrain.corpus.streams import BLOCK
from raytrain.errors import UserError
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import TableBytes, table_bytes
from raytrain.store.step import StepContext, StepResult, Task
from raytrain.store.uri import filesystem, versions_of

NAME = "ingest"
KIND = "documents"
VERSION = 4
DOCUMENTS = "documents.parquet"
INDEX = "index.parquet"  # the same rows without the text: most steps need no more
QUARANTINE = "quarantine.parquet"
LISTED_PER_UNIT = 1000  # quarantine entries that are listed; all are counted
# Per source: files and their bytes, bytes of text before and documents and bytes after normalising, repaired texts.
COUNTED = ("files", "raw_bytes", "read_bytes", "documents", "bytes", "repaired")
# What a source gives where a record says nothing itself, and what it may say where that is a choice.
GIVEN = ("domain", "licence", "origin", "verification", "language")
CHOICES = {"origin": ORIGINS, "verification": VERIFICATIONS}
# Libraries on whose version a format's text depends, whatever extractor a source asks for.
EXTRACTORS = {"html": ("resiliparse",), "warc": ("resiliparse",), "epub": ("resiliparse",), "pdf": ("pypdfium2",)}
RECORDS_AT_ONCE = 8192  # that are gathered from many files for one pass of the kernels
ROW_GROUP_BYTES = 16 << 20  # of text: what a shard's writer holds beside what is compressed already
ROW_GROUP_ROWS = 1 << 16  # where texts are short; and of the index
REPEATED = ("source", "domain", "licence", "origin", "verification", "date", "declared_language", "file")
NULLABLE = ("date", "url", "id", "declared_language")


def config_of(corpus: CorpusSection, sources: Sequence[Source]) -> dict[str, Any]:
    """What the documents depend on beside the files and their readers: of a source everything but where it lies."""
    told = {"version": normal.VERSION}
    unicode = {"unicode": unicodedata.unidata_version} if corpus.normalise.form != "none" else {}
    return {
        "target_shard_bytes": corpus.target_shard_bytes,
        "max_document_bytes": corpus.max_document_bytes,
        "normalise": _dump(corpus.normalise) | told | unicode,
        "sources": [_dump(source, exclude={"uri", "usd"}) for source in sources],
    }


def readers_of(files: Sequence[SourceFile], sources: Sequence[Source]) -> dict[str, str]:
    """The libraries that make text of some files, with their versions: other versions may make other text."""
    extractors = {source.name: source.extractor for source in sources}
    names = set()
    for file in files:
        names |= set(EXTRACTORS.get(file.format, ()))
        if file.format in ("html", "warc"):
            names.add(extractors[file.source])
    return {f"reader:{name}": version(name) for name in sorted(names)}


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
    parts = _Parts(writer, task["unit"], task["config"]["target_shard_bytes"])
    for documents in unit.documents():
        parts.add(documents)
    held = parts.finish()
    objects = parts.objects
    if unit.listed:
        objects[QUARANTINE] = writer.put(task["unit"], QUARANTINE, table_bytes(_quarantine_table(unit.listed)))
    facts = {"parts": held, "sources": unit.counts}
    return writer.commit_shard(task["unit"], objects, sum(part["rows"] for part in held), facts)


class _Parts:
    """Cuts a unit's documents into parts behind the document that reaches the target, and puts each in the store."""

    def __init__(self, writer: ArtifactWriter, unit: int, target: int) -> None:
        self.writer, self.unit, self.target = writer, unit, target
        self.objects: dict[str, dict[str, Any]] = {}
        self.parts: list[dict[str, Any]] = []
        self._begin()

    def add(self, documents: Any) -> None:
        while documents.num_rows:
            sizes = np.cumsum(documents["bytes"].to_numpy())
            rows = int(np.searchsorted(sizes, self.target - self.bytes)) + 1
            taken, documents = documents.slice(0, rows), documents.slice(rows)
            self.rows += taken.num_rows
            self.bytes += int(sizes[taken.num_rows - 1])
            self.held.append(taken)
            self.held_rows += taken.num_rows
            self.held_bytes += int(sizes[taken.num_rows - 1])
            if self.bytes >= self.target:
                self._put()
            elif self.held_bytes >= ROW_GROUP_BYTES or self.held_rows >= ROW_GROUP_ROWS:
                self._write()

    def finish(self) -> list[dict[str, Any]]:
        """The parts, of which there is at least one."""
        if self.rows or not self.parts:
            self._put()
        return self.parts

    def _begin(self) -> None:
        schema = documents_schema()
        self.rows = self.bytes = self.held_rows = self.held_bytes = 0
        self.held: list[Any] = []
        self.unindexed: list[Any] = []
        self.documents = TableBytes(schema, REPEATED)
        self.index = TableBytes(schema.remove(schema.get_field_index("text")), REPEATED)

    def _write(self) -> None:
        """A row group of documents; one of the index too where its rows are many enough."""
        import pyarrow as pa

        if self.held:
            table = pa.concat_tables(self.held)
            self.documents.add(table)
            self.unindexed.append(table.drop_columns(["text"]))
        self.held, self.held_rows, self.held_bytes = [], 0, 0
        if sum(table.num_rows for table in self.unindexed) >= ROW_GROUP_ROWS:
            self._write_index()

    def _write_index(self) -> None:
        import pyarrow as pa

        if self.unindexed:
            self.index.add(pa.concat_tables(self.unindexed))
        self.unindexed = []

    def _put(self) -> None:
        self._write()
        self._write_index()
        names = {name: name.replace(".", f"-{len(self.parts):03d}.") for name in (DOCUMENTS, INDEX)}
        for name, table in ((DOCUMENTS, self.documents), (INDEX, self.index)):
            self.objects[names[name]] = self.writer.put(self.unit, names[name], table.finish())
        self.parts.append({"objects": names, "rows": self.rows, "bytes": self.bytes})
        self._begin()


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
        self.listed: list[tuple[int, dict[str, Any]]] = []  # beside the number of its file
        self.counts: dict[str, dict[str, Any]] = {}
        for file in self.files:
            counts = self.counts.setdefault(file["source"], dict.fromkeys(COUNTED, 0) | {"quarantined": {}})
            counts["files"] += 1
            counts["raw_bytes"] += file["bytes"]
        self._names = list(self.counts)
        self._source_of = np.array([self._names.index(file["source"]) for file in self.files])
        self._given = _by_file(self.files, self.sources)

    def documents(self) -> Iterator[Any]:
        """Tables of documents_schema in the order of the files."""
        for records, files in gathered(self._found()):
            yield self._documents(records, files)

    def _found(self) -> Iterator[tuple[int, Raw | Records]]:
        """What the readers found that can be read, beside the number of its file."""
        for number, file in enumerate(self.files):
            with _open(file) as handle:
                source, limit = self.sources[file["source"]], self.config["max_document_bytes"]
                asked = (file["format"], source["text_field"], limit, source["extractor"])
                for found in read(handle, file["path"], *asked):
                    if isinstance(found, Broken):
                        self._set_aside(number, found)
                    else:
                        yield number, found

    def _documents(self, records: Any, files: NDArray[np.int64]) -> Any:
        """Records as documents: too long and empty ones set aside, every other in normal form with its identity."""
        data, offsets = text_buffers(records["text"])
        sizes = np.diff(offsets)
        self._count("read_bytes", files, sizes)
        longest = self.config["max_document_bytes"]
        fits = sizes <= longest
        for row in np.flatnonzero(~fits).tolist():
            detail = f"{sizes[row]} bytes of text, max_document_bytes is {longest}"
            self._set_aside(files[row], Broken(_record(records, row), "oversize", detail, _start(data, offsets, row)))
        if not fits.all():
            records, files = records.filter(fits), files[fits]
            data, offsets = text_buffers(records["text"])
        texts, ends, repaired = normal.normalise_column(data, offsets, self.config["normalise"])
        full = ends[1:] > ends[:-1]
        for row in np.flatnonzero(~full).tolist():
            start = _start(data, offsets, row)
            self._set_aside(files[row], Broken(_record(records, row), "empty", "no text is left", start))
        if not full.all():
            records, files, repaired = records.filter(full), files[full], repaired[full]
            ends = np.concatenate(([0], ends[1:][full]))
        sizes = np.diff(ends)
        for name, numbers in (("documents", np.ones_like(sizes)), ("bytes", sizes), ("repaired", repaired)):
            self._count(name, files, numbers)
        return self._table(records, files, texts, ends)

    def _table(self, records: Any, files: NDArray[np.int64], texts: Bytes, ends: Offsets) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        given = {column: values.take(pa.array(files)) for column, values in self._given.items()}
        columns = {
            "text": texts_array(texts, ends),
            "doc_id": doc_ids(texts, ends),
            "record_id": pc.binary_join_element_wise(given.pop("place"), records["record"].cast(pa.string()), ""),
            "declared_language": given.pop("language"),
            "record": records["record"],
            "bytes": np.diff(ends),
            **given,
        }
        for name in set(OWN_FIELDS) & set(records.column_names):
            own = records[name]
            if name in CHOICES:
                own = pc.if_else(pc.is_in(own, pa.array(CHOICES[name])), own, None)
            columns[name] = pc.coalesce(own, given[name]) if name in given else own
        schema = documents_schema()
        for name in set(schema.names) - set(columns):
            columns[name] = pa.nulls(records.num_rows, pa.string())
        return pa.table([columns[name] for name in schema.names], schema=schema)

    def _count(self, name: str, files: NDArray[np.int64], numbers: NDArray[Any]) -> None:
        sums = np.zeros(len(self._names), np.int64)
        np.add.at(sums, self._source_of[files], numbers)
        for source, number in zip(self._names, sums, strict=True):
            self.counts[source][name] += int(number)

    def _set_aside(self, number: int, broken: Broken) -> None:
        file = self.files[number]
        quarantined = self.counts[file["source"]]["quarantined"]
        quarantined[broken.reason] = quarantined.get(broken.reason, 0) + broken.count
        if len(self.listed) < LISTED_PER_UNIT:
            entry = {
                "source": file["source"],
                "file": file["path"],
                "record": broken.record,
                "reason": broken.reason,
                "detail": broken.detail,
                "start": broken.start.decode("utf-8", "backslashreplace"),
                "count": broken.count,
            }
            self.listed.append((int(number), entry))


def gathered(found: Iterable[tuple[int, Raw | Records]]) -> Iterator[tuple[Any, NDArray[np.int64]]]:
    """Records of neighbouring files in columns, and the number of each one's file: as many as pay for a pass."""
    held: list[tuple[Any, NDArray[np.int64]]] = []
    raws: list[Raw] = []
    of: list[int] = []
    rows = size = 0
    for number, some in found:
        if isinstance(some, Raw):
            raws.append(some)
            of.append(number)
            rows, size = rows + 1, size + len(some.text)
        else:
            held += [*_in_columns(raws, of), (some.table, np.full(some.table.num_rows, number))]
            raws, of = [], []
            rows, size = rows + some.table.num_rows, size + some.table["text"].nbytes
        if size >= BLOCK or rows >= RECORDS_AT_ONCE:
            yield _joined([*held, *_in_columns(raws, of)])
            held, raws, of, rows, size = [], [], [], 0, 0
    if rows:
        yield _joined([*held, *_in_columns(raws, of)])


def _in_columns(raws: list[Raw], of: list[int]) -> list[tuple[Any, NDArray[np.int64]]]:
    return [(records_of(raws).table, np.array(of))] if raws else []


def _joined(held: list[tuple[Any, NDArray[np.int64]]]) -> tuple[Any, NDArray[np.int64]]:
    import pyarrow as pa

    tables, files = zip(*held, strict=True)
    return pa.concat_tables(tables, promote_options="default"), np.concatenate(files)


def _by_file(files: Sequence[dict[str, Any]], sources: Mapping[str, Any]) -> dict[str, Any]:
    """What is the same for all records of a file: a column each, a row for each file."""
    import pyarrow as pa

    columns = {name: [sources[file["source"]][name] for file in files] for name in GIVEN}
    columns["source"] = [file["source"] for file in files]
    columns["file"] = [file["path"] for file in files]
    columns["place"] = [f"{file['source']}/{file['path']}/" for file in files]
    return {name: pa.array(values, pa.string()) for name, values in columns.items()}


def doc_ids(texts: Bytes, ends: Offsets) -> Any:
    """The identities of texts that lie end to end: XXH3-128 of their UTF-8, in hex."""
    import pyarrow as pa

    from raytrain.corpus.kernels.xxh3 import hexdigests

    digits = pa.py_buffer(hexdigests(texts, ends))
    return pa.Array.from_buffers(pa.binary(32), len(ends) - 1, [None, digits]).cast(pa.binary()).cast(pa.string())


def _record(records: Any, row: int) -> int:
    return int(records["record"][int(row)].as_py())


def _start(data: Bytes, offsets: Offsets, row: int) -> bytes:
    return bytes(data[offsets[row] : min(offsets[row] + START_BYTES, offsets[row + 1])])


def _open(file: dict[str, Any]) -> Any:
    try:
        fs, path = filesystem(file["uri"])
        now = fs.info(path)
        size, marks = int(now["size"]), versions_of(now)
        if size != file["bytes"] or (file["version"] and marks and file["version"] not in marks):
            raise UserError(
                f"{file['uri']}: changed while it was read ({file['bytes']} bytes when listed, {size} now"
                f"{'' if size != file['bytes'] else ', written anew'}); "
                "run the same command again when it is at rest"
            )
        return fs.open(path, "rb")
    except FileNotFoundError:
        raise UserError(f"{file['uri']}: vanished since it was listed; run the same command again") from None


def documents_schema() -> Any:
    """The columns of a documents shard."""
    import pyarrow as pa

    names = ("doc_id", "record_id", "source", "domain", "licence", "origin", "verification", *NULLABLE, "file")
    return pa.schema(
        [
            pa.field("text", pa.large_string(), nullable=False),
            *(pa.field(name, pa.string(), nullable=name in NULLABLE) for name in names),
            pa.field("record", pa.int64(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
        ]
    )


def _quarantine_table(listed: list[tuple[int, dict[str, Any]]]) -> Any:
    import pyarrow as pa

    rows = [entry for _, entry in sorted(listed, key=lambda held: (held[0], held[1]["record"]))]
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
