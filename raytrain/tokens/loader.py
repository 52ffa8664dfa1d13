"""Reading token shards: any window of any group, and the validation documents, with numpy alone.

Shards on a local disk are mapped, others are fetched once into a cache folder by checksum. The invariant: a
window's tokens depend on the artifact only, not on how or where it is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raytrain.errors import UserError, disk_full
from raytrain.store import Artifact


@dataclass(frozen=True)
class ValidationDocument:
    """A validation document: tokens uint32 [n] that end with end-of-text, UTF-8 bytes, domain (see Tokens.domains)."""

    tokens: np.ndarray
    bytes: int
    domain: int


class Tokens:
    """The token shards of one artifact. Opening verifies every shard's size, and fetched shards' checksums."""

    def __init__(self, artifact: Artifact, cache: Path | None = None) -> None:
        self.artifact = artifact
        self.facts = artifact.facts
        self.groups: list[tuple[str, int]] = [(g["domain"], g["bin"]) for g in self.facts["groups"]]
        self.domains: list[str] = list(dict.fromkeys(domain for domain, _ in self.groups))
        self._dtype = np.dtype(self.facts["dtype"])
        self._cache = cache or cache_folder()
        self._parts: list[list[np.ndarray]] = []
        self._ends: list[np.ndarray] = []
        self.part_shards: list[list[int]] = []
        for k in range(len(self.groups)):
            name = f"train-{k}.bin"
            shards = [s["shard"] for s in artifact.shards if name in s["objects"]]
            parts = [self._open(s, name) for s in shards]
            self.part_shards.append(shards)
            self._parts.append(parts)
            self._ends.append(np.cumsum([len(p) for p in parts], dtype=np.int64))

    def tokens_in(self, group: int) -> int:
        return int(self._ends[group][-1]) if len(self._ends[group]) else 0

    def windows(self, length: int) -> tuple[int, ...]:
        """How many windows of `length` tokens, each with the token that follows, every group holds."""
        return tuple(max(0, (self.tokens_in(k) - 1) // length) for k in range(len(self.groups)))

    def window(self, group: int, index: int, length: int) -> np.ndarray:
        """Window `index` of a group: int64 [length + 1], inputs and the last target."""
        return self.read(group, index * length, length + 1).astype(np.int64)

    def read(self, group: int, start: int, count: int) -> np.ndarray:
        """`count` tokens of a group's stream from `start`, over shard bounds."""
        pieces = []
        part = int(np.searchsorted(self._ends[group], start, side="right"))
        while count:
            base = int(self._ends[group][part - 1]) if part else 0
            piece = self._parts[group][part][start - base : start - base + count]
            pieces.append(piece)
            start, count, part = start + len(piece), count - len(piece), part + 1
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    def shard_of(self, group: int, start: int) -> tuple[int, int]:
        """The shard that holds a position of a group's stream, and the position in that shard's .bin."""
        part = int(np.searchsorted(self._ends[group], start, side="right"))
        base = int(self._ends[group][part - 1]) if part else 0
        return self.part_shards[group][part], start - base

    def validation(self) -> list[ValidationDocument]:
        """All validation documents, in shard and row order."""
        documents = []
        for shard in self.artifact.shards:
            if "validation.bin" not in shard["objects"]:
                continue
            tokens = self._open(shard["shard"], "validation.bin")
            index = np.frombuffer(self.artifact.get(shard["shard"], "validation.idx"), "<i8").reshape(-1, 3)
            start = 0
            for end, size, group in index.tolist():
                domain = self.domains.index(self.groups[group][0])
                documents.append(ValidationDocument(tokens[start:end].astype(np.uint32), size, domain))
                start = end
        return documents

    def _open(self, shard: int, name: str) -> np.ndarray:
        entry = self.artifact.shards[shard]["objects"][name]
        path = self.artifact.store.local_path(entry["key"]) or self._fetched(entry)
        try:
            size = path.stat().st_size
        except OSError as error:
            raise UserError(f"tokens: {path} cannot be read: {error.strerror}") from None
        if size != entry["bytes"]:
            raise UserError(f"tokens: {path} has {size} bytes, its record says {entry['bytes']}; delete and re-run")
        return np.memmap(path, self._dtype, "r") if size else np.empty(0, self._dtype)

    def _fetched(self, entry: Mapping[str, Any]) -> Path:
        """A remote object's copy in the cache, fetched once a node however many workers ask for it together."""
        path = self._cache / f"{entry['sha256']}.bin"
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with open(path.with_suffix(".lock"), "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists() or path.stat().st_size != entry["bytes"]:
                    self._fetch(entry, path)
        except OSError as error:
            raise disk_full(error, f"RAYTRAIN_CACHE {self._cache}") from error
        return path

    def _fetch(self, entry: Mapping[str, Any], path: Path) -> None:
        part = path.with_suffix(".part")
        self.artifact.store.fetch(entry["key"], part)
        with open(part, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise UserError(f"tokens: {entry['key']} is damaged: its checksum differs from its record")
        part.replace(path)


def cache_folder() -> Path:
    """Where copies of remote objects lie: RAYTRAIN_CACHE, or `raytrain` in the user's cache folder.

    Names are checksums: the folder serves all runs and stores, and may be emptied whenever nothing trains.
    """
    given = os.environ.get("RAYTRAIN_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raytrain"
