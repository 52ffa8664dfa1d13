"""What raw files the sources hold, and what is in them: the identity of everything that follows.

Lists and hashes, reads nothing else. The invariant: an identity depends on relative paths and content alone,
never on where the files lie, when they were written or what store is used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from raytrain.config import digest
from raytrain.corpus.section import Source
from raytrain.errors import Unreachable, UserError
from raytrain.store import Store
from raytrain.store.uri import open_file, walk_files

Format = Literal["jsonl", "parquet", "txt", "html", "csv", "warc", "epub", "pdf", "datatrove", "megatron", "nanogpt"]
COMPRESSIONS = (".gz", ".zst")
ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "txt",
    ".text": "txt",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".csv": "csv",
    ".tsv": "csv",
    ".warc": "warc",
    ".wet": "warc",
    ".epub": "epub",
    ".pdf": "pdf",
}
BLOCK = 1 << 20
READERS_AT_ONCE = 4


@dataclass(frozen=True)
class SourceFile:
    """A raw file of a source: `path` is relative to the source's URI, `sha256` is of the bytes as they lie there.

    `version` is what its file system says of it beside the size (an etag, a time), empty where it says nothing.
    """

    source: str
    uri: str
    path: str
    bytes: int
    sha256: str
    format: Format
    version: str = field(default="", compare=False)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def inventory(sources: Sequence[Source], store: Store, say: Callable[[str], None]) -> list[SourceFile]:
    """The files of all sources in order (source as listed, relative path), each with its hash.

    Hashes are remembered in the store by (uri, size, version), so that a second look costs a listing. Raises a
    UserError naming the source when it is empty, cannot be listed or read, or holds nothing of a known format.
    """
    if not sources:
        raise UserError("sources: none given; list at least one with a name and a uri")
    names = [source.name for source in sources]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UserError(f"sources[{i}].name: {name!r} is taken by sources[{names.index(name)}]; names are unique")
    files: list[SourceFile] = []
    for i, source in enumerate(sources):
        files += _of_source(i, source, store, say)
    return files


def source_ids(files: Sequence[SourceFile]) -> dict[str, str]:
    """Per source, in order, the hash of its sorted (relative path, size, sha256)."""
    rows: dict[str, list[list[str | int]]] = {}
    for file in files:
        rows.setdefault(file.source, []).append([file.path, file.bytes, file.sha256])
    return {name: digest(sorted(held)) for name, held in rows.items()}


def format_of(path: str) -> Format | None:
    """A file's format by its name's ending, below a compression's ending; None for an unknown one."""
    name = path.rsplit("/", 1)[-1].lower()
    for compression in COMPRESSIONS:
        name = name.removesuffix(compression)
    stem, dot, ending = name.rpartition(".")
    return ENDINGS.get(dot + ending) if stem else None


def listing_digest(sources: Sequence[Source]) -> str:
    """What lies in the sources by listing alone: 16 hex digits over (source, uri, size, version) of their files.

    No content is read. Equal digests mean equal objects; a file that was written anew with equal content differs.
    """
    rows = [[s.name, *row[:4]] for i, s in enumerate(sources) for row in _listed(i, s)[0]]
    return digest(sorted(rows))


def _listed(index: int, source: Source) -> tuple[list[tuple[str, str, int, str, Format]], int]:
    """A source's files of a known format, and how many were passed over."""
    where = f"sources[{index}] ({source.name})"
    try:
        found = list(walk_files(source.uri))
    except UserError as error:
        raise UserError(f"{where}: {error}; correct its uri") from None
    except (ImportError, ValueError) as error:
        raise UserError(f"{where}: uri {source.uri!r} cannot be opened: {error}") from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpx2", "httpcore", "huggingface_hub"):
            raise
        raise UserError(f"{where}: {source.uri} cannot be listed: {error}; is the hub reachable?") from None
    known: list[tuple[str, str, int, str, Format]] = []
    for uri, path, size, version in found:
        form = format_of(path) if source.format == "auto" else source.format
        if form:
            known.append((uri, path, size, version, form))
    if not known:
        raise UserError(
            f"{where}: {source.uri} holds {len(found)} files, none of a known format "
            f"({', '.join(ENDINGS)}, also .gz and .zst); set sources[{index}].format"
        )
    return known, len(found) - len(known)


def _of_source(index: int, source: Source, store: Store, say: Callable[[str], None]) -> list[SourceFile]:
    where = f"sources[{index}] ({source.name})"
    known, passed_over = _listed(index, source)
    if not any(size for _, _, size, _, _ in known):
        raise UserError(f"{where}: every file of {source.uri} is empty; put text there or drop the source")
    if passed_over:
        say(f"{source.name}: {passed_over} files of unknown format are passed over")
    cache_key = f"cache/inventory/{digest(source.uri)}.json"
    cache = _load(store, cache_key)
    hashes = _hashes(where, known, cache, say)
    fresh = {_cache_name(row): sha for row, sha in zip(known, hashes, strict=True) if row[3]}
    if fresh != cache:
        store.replace(cache_key, json.dumps(fresh).encode())
    return [
        SourceFile(source.name, uri, path, size, sha, form, version)
        for (uri, path, size, version, form), sha in zip(known, hashes, strict=True)
    ]


def _hashes(
    where: str, rows: Sequence[tuple[str, str, int, str, Format]], cache: dict[str, str], say: Callable[[str], None]
) -> list[str]:
    missing = [row for row in rows if not row[3] or _cache_name(row) not in cache]
    if sum(row[2] for row in missing) > 100 * BLOCK:
        say(f"{where}: hashing {len(missing)} files, {sum(row[2] for row in missing) / 1e6:,.0f} MB")
    try:
        with ThreadPoolExecutor(READERS_AT_ONCE) as pool:
            new = dict(zip((row[0] for row in missing), pool.map(_sha256, (row[0] for row in missing)), strict=True))
    except Unreachable:
        raise
    except OSError as error:
        raise UserError(f"{where}: cannot be read: {error}; check its permissions or drop it from the source") from None
    return [new[row[0]] if row[0] in new else cache[_cache_name(row)] for row in rows]


def _cache_name(row: tuple[str, str, int, str, Format]) -> str:
    return f"{row[0]}|{row[2]}|{row[3]}"


def _load(store: Store, key: str) -> dict[str, str]:
    try:
        return dict(json.loads(store.get(key)))
    except (FileNotFoundError, ValueError):
        return {}


def _sha256(uri: str) -> str:
    state = hashlib.sha256()
    with open_file(uri) as file:
        while block := file.read(BLOCK):
            state.update(block)
    return state.hexdigest()
