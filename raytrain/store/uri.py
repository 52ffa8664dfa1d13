"""A store: byte objects by key below one URI, on any file system that fsspec speaks.

Objects are written once and never changed, but for the few that say so (`replace`). The invariant: what a key
names is either absent or whole; no reader ever sees half an object.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from raytrain.errors import UserError, disk_full


class Store:
    """Keys are relative paths with forward slashes. Errors: `FileNotFoundError` for an absent key."""

    def __init__(self, uri: str) -> None:
        if not uri:
            raise UserError("store: empty; give a folder or a URI such as s3://bucket/prefix")
        try:
            fs, root = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise UserError(f"store: {uri!r} cannot be opened: {error}") from None
        self.fs: Any = fs
        self.local = isinstance(fs, LocalFileSystem)
        self.root: str = os.path.abspath(root) if self.local else root.rstrip("/")
        self.uri: str = f"file://{self.root}" if self.local else str(fs.unstrip_protocol(self.root))

    def __repr__(self) -> str:
        return f"Store({self.uri!r})"

    def path(self, key: str) -> str:
        """The file system's own path of a key."""
        return f"{self.root}/{key}" if key else self.root

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

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Writes an object unless the key exists; of any number of callers exactly one gets True."""
        if self.local:
            return self._link(key, data)
        try:
            self.fs.pipe_file(self.path(key), data, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if "PreconditionFailed" in str(error) or "412" in str(error):
                return False
            raise
        self._forget_listing(key)
        return True

    def put(self, key: str, data: bytes) -> None:
        """Writes a new object whose key is unique to its writer; an existing key is a defect of the caller."""
        if not self.put_if_absent(key, data):
            raise FileExistsError(self.path(key))

    def put_file(self, key: str, source: Path) -> None:
        """Like `put`, from a file of any size on this machine."""
        if self.local:
            target = Path(self.path(key))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
                fsspec.filesystem("file").cp_file(str(source), str(part))
                _sync_rename(part, target)
            except OSError as error:
                raise disk_full(error, str(target)) from error
        else:
            self.fs.put_file(str(source), self.path(key))
            self._forget_listing(key)

    def replace(self, key: str, data: bytes) -> None:
        """Writes a mutable object (a heartbeat, an index that can be remade) as a whole."""
        if self.local:
            target = Path(self.path(key))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
                part.write_bytes(data)
                os.replace(part, target)
            except OSError as error:
                raise disk_full(error, str(target)) from error
        else:
            self.fs.pipe_file(self.path(key), data)
            self._forget_listing(key)

    def delete(self, key: str) -> None:
        """Removes an object; an absent one is no error."""
        try:
            self.fs.rm_file(self.path(key))
        except FileNotFoundError:
            pass

    def keys(self, prefix: str) -> list[str]:
        """All keys below a prefix (a folder), sorted; half-written local parts are never among them."""
        base = self.path(prefix)
        self.fs.invalidate_cache(base)
        try:
            found = self.fs.find(base)
        except FileNotFoundError:
            return []
        start = len(self.root) + 1
        return sorted(key[start:] for key in found if not _is_part(key))

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders directly below a prefix, sorted."""
        base = self.path(prefix)
        self.fs.invalidate_cache(base)
        try:
            entries = self.fs.ls(base, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory")

    def probe(self) -> None:
        """Proves that the store can be written, read, listed and that put-if-absent has one winner.

        Raises a UserError with the remedy otherwise. Costs a handful of tiny objects, removed again.
        """
        key = f".probe/{secrets.token_hex(8)}"
        try:
            first = self.put_if_absent(key, b"first")
            second = self.put_if_absent(key, b"second")
            body = self.get(key)
            listed = key in self.keys(".probe")
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"store: {self.uri} cannot be used: {type(error).__name__}: {error}") from None
        finally:
            try:
                self.delete(key)
            except Exception:  # the probe's finding matters, not its leftovers
                pass
        if not first or second or body != b"first":
            raise UserError(
                f"store: {self.uri} ignores put-if-absent, so two writers could both win; "
                "use a store with conditional writes (S3, GCS, SeaweedFS, MinIO, a local folder)"
            )
        if not listed:
            raise UserError(f"store: {self.uri} does not list an object that was just written")

    def _link(self, key: str, data: bytes) -> bool:
        target = Path(self.path(key))
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(part, "wb") as file:
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

    def _forget_listing(self, key: str) -> None:
        self.fs.invalidate_cache(self.path(key).rsplit("/", 1)[0])


def _is_part(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.startswith(".") and name.endswith(".part")


def _sync_rename(part: Path, target: Path) -> None:
    descriptor = os.open(part, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(part, target)


def walk_files(uri: str) -> Iterator[tuple[str, str, int, str]]:
    """Files at or below a URI as (uri, relative path, size, version), sorted by relative path.

    `version` is an etag or a modification time: with uri and size it keys a cache of content hashes. Hidden files
    are passed over. A glob pattern in the URI selects files. Raises UserError when nothing is there.
    """
    fs, root = fsspec.core.url_to_fs(uri)
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
    except (FileNotFoundError, PermissionError, OSError) as error:
        raise UserError(f"{uri}: cannot be listed: {error}") from None
    rows = []
    for path, info in found.items():
        relative = path[len(base) :].lstrip("/")
        if any(part.startswith(".") for part in relative.split("/")):
            continue
        version = str(info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("LastModified") or "")
        rows.append((f"file://{path}" if local else fs.unstrip_protocol(path), relative, int(info["size"]), version))
    if not rows:
        raise UserError(f"{uri}: no such file or folder, or nothing in it")
    return iter(sorted(rows, key=lambda row: row[1]))
