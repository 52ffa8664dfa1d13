"""A store: byte objects by key below one URI, on any file system that fsspec speaks.

Objects are written once and never changed, but for the few that say so (`replace`). The invariant: what a key
names is either absent or whole; no reader ever sees half an object.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from raytrain.errors import Unreachable, UserError, disk_full

PROBE_SECONDS = 5.0  # enough for a hiccup; nobody waits minutes to learn of a typing error


class Store:
    """Keys are relative paths with forward slashes. Errors: `FileNotFoundError` for an absent key."""

    def __init__(self, uri: str, *, patience: float | None = None) -> None:
        """`patience` (seconds) says how long S3 is asked again when it fails; None leaves it to the environment."""
        if not uri:
            raise UserError("store: empty; give a folder or a URI such as s3://bucket/prefix")
        try:
            self._fs, root = filesystem(uri, patience)
        except (ImportError, ValueError) as error:
            raise UserError(f"store: {uri!r} cannot be opened: {error}") from None
        self._process, self._patience = os.getpid(), patience
        self.local = isinstance(self._fs, LocalFileSystem)
        self._s3 = _is_s3(uri)
        self.root: str = os.path.abspath(root) if self.local else root.rstrip("/")
        if self._s3 and not self.root:
            raise UserError(f"store: {uri!r} names no bucket; give s3://bucket/prefix")
        self.uri: str = f"file://{self.root}" if self.local else str(self._fs.unstrip_protocol(self.root))

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.uri,)

    @property
    def fs(self) -> Any:
        """The file system behind. A forked child gets its own: connections and their thread stay with the parent."""
        if self._process != os.getpid():
            self._fs, self._process = filesystem(self.uri, self._patience)[0], os.getpid()
        return self._fs

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def path(self, key: str) -> str:
        """The file system's own path of a key."""
        return f"{self.root}/{key}" if key else self.root

    def where(self, key: str) -> str:
        """A key's place as a person would open it: a path on this machine, or a URI."""
        return self.path(key) if self.local else f"{self.uri}/{key}"

    def local_path(self, key: str) -> Path | None:
        """Where a key's bytes lie on this machine's disk, if they do."""
        return Path(self.path(key)) if self.local else None

    def exists(self, key: str) -> bool:
        return bool(self.fs.exists(self.path(key)))

    def size(self, key: str) -> int:
        return int(self.fs.size(self.path(key)))

    def get(self, key: str) -> bytes:
        data: bytes = self.fs.cat_file(self.path(key))
        return data

    def open(self, key: str) -> IO[bytes]:
        """A seekable binary reader."""
        return self.fs.open(self.path(key), "rb")  # type: ignore[no-any-return]

    def fetch(self, key: str, target: Path) -> None:
        """Copies an object of any size to a file on this machine."""
        try:
            self.fs.get_file(self.path(key), str(target))
        except OSError as error:
            raise disk_full(error, str(target)) from error

    def put_if_absent(self, key: str, data: bytes | Path) -> bool:
        """Writes an object unless the key exists; of any number of callers exactly one gets True.

        `data` is the content, or a file on this machine that holds it.
        """
        if self.local:
            return self._link(key, data)
        if self._s3:
            return bool(self.fs.create(self.path(key), data))
        try:
            body = data.read_bytes() if isinstance(data, Path) else data
            self.fs.pipe_file(self.path(key), body, mode="create")
        except FileExistsError:
            return False
        return True

    def put(self, key: str, data: bytes | Path) -> None:
        """Writes a new object whose key is unique to its writer; an existing key is a defect of the caller."""
        if not self.put_if_absent(key, data):
            raise FileExistsError(self.where(key))

    def replace(self, key: str, data: bytes) -> None:
        """Writes a mutable object (a heartbeat, an index that can be remade) as a whole."""
        if self.local:
            target = Path(self.path(key))
            part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    part.write_bytes(data)
                    os.replace(part, target)
                finally:
                    part.unlink(missing_ok=True)
            except OSError as error:
                raise disk_full(error, str(target)) from error
        else:
            self.fs.pipe_file(self.path(key), data)

    def delete(self, key: str) -> None:
        """Removes an object; an absent one is no error."""
        try:
            self.fs.rm_file(self.path(key))
        except FileNotFoundError:
            pass

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix (a folder), sorted; half-written local parts are never among them.

        Nor are folders: some S3 servers show an empty one as an object of no bytes.
        """
        base = self.path(prefix)
        try:
            found = self.fs.find(base)
        except FileNotFoundError:
            return []
        start = len(self.root) + 1
        below = (key for key in found if key.startswith(f"{base}/") and not key.endswith("/"))
        return sorted(key[start:] for key in below if not _is_part(key))

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix, sorted."""
        base = self.path(prefix)
        try:
            entries = self.fs.ls(base, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory")

    def reach(self) -> None:
        """Asks one thing. Raises UserError or OSError, within about 15 s where nothing answers."""
        if not self.local:
            Store(self.uri, patience=PROBE_SECONDS).exists("runs")

    def probe(self) -> None:
        """Proves that the store can be written, read, listed and that put-if-absent has one winner.

        Raises a UserError with the remedy otherwise, within about 15 s where nothing answers. Costs a handful of tiny
        objects, removed again.
        """
        store = Store(self.uri, patience=PROBE_SECONDS)
        key = f".probe/{secrets.token_hex(8)}"
        try:
            first = store.put_if_absent(key, b"first")
            second = store.put_if_absent(key, b"second")
            body = store.get(key)
            listed = key in store.keys(".probe")
            store.delete(key)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"store: {self.uri} cannot be used: {type(error).__name__}: {error}") from None
        if not first or second or body != b"first":
            raise UserError(
                f"store: {self.uri} ignores put-if-absent, so two writers could both win; "
                "use a store with conditional writes (S3, GCS, SeaweedFS, MinIO, a local folder)"
            )
        if not listed:
            raise UserError(f"store: {self.uri} does not list an object that was just written")

    def _link(self, key: str, data: bytes | Path) -> bool:
        target = Path(self.path(key))
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(part, "wb") as file:
                    if isinstance(data, Path):
                        with open(data, "rb") as source:
                            shutil.copyfileobj(source, file, 1 << 20)
                    else:
                        file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(part, target)
            except FileExistsError:
                return False
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise disk_full(error, str(target)) from error
        return True


def _is_part(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.startswith(".") and name.endswith(".part")


def filesystem(uri: str, patience: float | None = None) -> tuple[Any, str]:
    """The file system of a URI and its own path there: the one way to anything that may lie outside this machine.

    It remembers no listing, since other processes write too. Raises ImportError or ValueError for an unknown scheme.
    """
    if _is_s3(uri):
        from raytrain.store.s3 import PatientS3, connect

        return connect(patience), str(PatientS3._strip_protocol(uri))
    fs, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    return fs, str(root)


def open_file(uri: str, patience: float | None = None) -> IO[bytes]:
    """A binary reader of a file anywhere. OSError when it cannot be read, UserError when the place is at fault."""
    try:
        fs, path = filesystem(uri, patience)
    except (ImportError, ValueError) as error:
        raise OSError(str(error)) from None
    return fs.open(path, "rb")  # type: ignore[no-any-return]


def read_text(uri: str) -> str:
    """A small UTF-8 file that a person has named. OSError or UnicodeDecodeError when it cannot be read, soon."""
    with open_file(uri, PROBE_SECONDS) as file:
        return file.read().decode("utf-8")


def _is_s3(uri: str) -> bool:
    return uri.startswith(("s3://", "s3a://"))


def walk_files(uri: str) -> Iterator[tuple[str, str, int, str]]:
    """Files at or below a URI as (uri, relative path, size, version), sorted by relative path.

    `version` is an etag or a modification time: with uri and size it keys a cache of content hashes. Hidden files
    are passed over. A glob pattern in the URI selects files. Raises UserError when nothing is there.
    """
    try:
        fs, root = filesystem(uri)
    except (ImportError, ValueError) as error:
        raise UserError(f"{uri}: cannot be opened: {error}") from None
    local = isinstance(fs, LocalFileSystem)
    root = os.path.abspath(root) if local else root.rstrip("/")
    try:
        if any(c in root for c in "*?["):
            base = root[: min(root.index(c) for c in "*?[" if c in root)].rsplit("/", 1)[0]
            found = {k: v for k, v in fs.glob(root, detail=True).items() if v["type"] == "file"}
        elif fs.isfile(root):
            base, found = root.rsplit("/", 1)[0], {root: fs.info(root)}
        else:
            base, found = root, fs.find(root, detail=True)
    except Unreachable:
        raise
    except OSError as error:
        raise UserError(f"{uri}: cannot be listed: {error}") from None
    rows = []
    for path, info in found.items():
        relative = path[len(base) :].lstrip("/")
        if path.endswith("/") or any(part.startswith(".") for part in relative.split("/")):
            continue  # "folders" that consoles make on S3 are objects of no bytes
        version = next(iter(versions_of(info)), "")
        rows.append((f"file://{path}" if local else fs.unstrip_protocol(path), relative, int(info["size"]), version))
    if not rows:
        raise UserError(f"{uri}: no such file or folder, or nothing in it")
    return iter(sorted(rows, key=lambda row: row[1]))


def versions_of(info: Mapping[str, Any]) -> list[str]:
    """What a file system says of a file that changes when it is written anew: etag, time, Hugging Face's blob."""
    return [str(info[mark]) for mark in ("ETag", "etag", "mtime", "LastModified", "blob_id") if info.get(mark)]
