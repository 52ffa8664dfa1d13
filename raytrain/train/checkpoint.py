"""Checkpoints that can be believed: written whole or not at all, checked before they are used, resharded freely.

Tensors go through torch.distributed.checkpoint into a staging folder, from there to the store under keys unique
to the attempt; a manifest with every file's size and SHA-256 comes last, after the newest attempt was read
again. Loading takes the newest *valid* one. The manifest also holds the loss bits of the first microbatch of the
next step: a resume must reproduce them before it may go on. The invariant: no manifest, no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from raytrain.store import Store
from raytrain.store.attempt import check
from raytrain.store.scratch import process_folder
from raytrain.train.parallel import World

MANIFEST = "MANIFEST.json"


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint: state after `step` optimizer steps."""

    prefix: str
    step: int
    attempt: int
    manifest: Mapping[str, Any] = field(repr=False)


def parameter_sha256(named: Mapping[str, Tensor]) -> str:
    """Over tensors sorted by name: name, dtype, shape, little-endian fp32 bytes; a tied tensor has one name."""
    total = hashlib.sha256()
    for name in sorted(named):
        values = named[name].detach().to("cpu", torch.float32).contiguous().numpy()
        total.update(f"{name}\0float32\0{tuple(values.shape)}\0".encode())
        total.update(values.astype("<f4", copy=False).tobytes())
    return total.hexdigest()


def loss_bits(loss: float) -> str:
    """An fp32 value's bits in hex: equal text is equal bits."""
    return struct.pack(">f", loss).hex()


class Checkpoints:
    """The checkpoints of one run, seen from one worker of an attempt."""

    def __init__(self, store: Store, run: str, attempt: int, world: World, keep: int) -> None:
        self.store, self.run, self.attempt, self.world, self.keep = store, run, attempt, world, keep
        self.root = f"runs/{run}/checkpoints"
        self.parent: str | None = None

    def save(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> Checkpoint | None:
        """Commits the state after `step` steps; called by all workers, each with the tensors it owns or shares.

        Returns the checkpoint on the first worker. Raises Superseded when a newer attempt owns the run.
        """
        # A process that died between files and manifest may come again within the attempt: no name is used twice.
        unique = self.world.tell(secrets.token_hex(4))
        prefix = f"{self.root}/step-{step:08d}-a{self.attempt:05d}-{unique}"
        staging = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=process_folder()))
        try:
            folder = Path(self.world.tell(str(staging))) if self._one_node() else staging
            writer = FileSystemWriter(folder, single_file_per_rank=True, sync_files=False)
            save(dict(tensors), storage_writer=writer, no_dist=self.world.size == 1)
            mine = [p for p in sorted(folder.iterdir()) if self._is_mine(p.name)]
            entries: list[tuple[str, dict[str, Any]]] = []
            for path in mine:
                self.store.put(f"{prefix}/{path.name}", path)
                with open(path, "rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
                entries.append((path.name, {"bytes": path.stat().st_size, "sha256": sha256}))
            everyone = self.world.gather(entries)
        finally:
            self.world.gather(None)  # nobody removes a folder that another still reads
            shutil.rmtree(staging, ignore_errors=True)
        done: Checkpoint | None = None
        if self.world.rank == 0:
            check(self.store, self.run, self.attempt)
            manifest = {
                "step": step,
                "attempt": self.attempt,
                "parent": self.parent,
                "files": dict(sorted(item for part in everyone for item in part)),
                **facts,
            }
            self.store.put_if_absent(f"{prefix}/{MANIFEST}", json.dumps(manifest, indent=1, sort_keys=True).encode())
            done = Checkpoint(prefix, step, self.attempt, manifest)
            self._prune(done)
        self.parent = prefix
        return done

    def newest_valid(self, identity: str, complain: Callable[[str], None]) -> Checkpoint | None:
        """The newest checkpoint of this identity whose files are all as their manifest says, on every worker.

        Each bad one is named to `complain` and left where it is.
        """
        found: Checkpoint | None = None
        if self.world.rank == 0:
            for checkpoint in reversed(list_checkpoints(self.store, self.run)):
                trouble = self._trouble(checkpoint, identity)
                if trouble is None:
                    found = checkpoint
                    break
                complain(f"checkpoint {checkpoint.prefix}: {trouble}; trying the one before")
        found = self.world.tell(found)
        self.parent = found.prefix if found else None
        return found

    def load(self, checkpoint: Checkpoint, tensors: Mapping[str, Tensor]) -> None:
        """Fills the given tensors in place; any worker may ask for any of them."""
        local = self.store.local_path(checkpoint.prefix)
        fetched: Path | None = None
        if local is None:
            fetched = Path(tempfile.mkdtemp(prefix="restore-", dir=process_folder()))
            for name in checkpoint.manifest["files"]:
                self.store.fetch(f"{checkpoint.prefix}/{name}", fetched / name)
        try:
            reader = FileSystemReader(local or fetched)  # type: ignore[arg-type]
            load(dict(tensors), storage_reader=reader, no_dist=self.world.size == 1)
        finally:
            if fetched is not None:
                shutil.rmtree(fetched, ignore_errors=True)

    def _trouble(self, checkpoint: Checkpoint, identity: str) -> str | None:
        if checkpoint.manifest.get("identity") != identity:
            return "it is of another configuration"
        for name, entry in checkpoint.manifest["files"].items():
            try:
                data = self.store.get(f"{checkpoint.prefix}/{name}")
            except FileNotFoundError:
                return f"{name} is missing"
            if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                return f"{name} is damaged"
        return None

    def _prune(self, newest: Checkpoint) -> None:
        """Removes all but the last `keep` checkpoints, manifests first, once the newest is committed."""
        for old in list_checkpoints(self.store, self.run)[: -self.keep]:
            if old.prefix == newest.prefix:
                continue
            self.store.delete(f"{old.prefix}/{MANIFEST}")
            for key in self.store.keys(old.prefix):
                self.store.delete(key)

    def _one_node(self) -> bool:
        return len(set(self.world.gather(self.world.node))) == 1

    def _is_mine(self, name: str) -> bool:
        return name.startswith(f"__{self.world.rank}_") or (self.world.rank == 0 and name == ".metadata")


def list_checkpoints(store: Store, run: str) -> list[Checkpoint]:
    """Committed checkpoints by rising (step, attempt)."""
    found = []
    for key in store.keys(f"runs/{run}/checkpoints"):
        if key.endswith(f"/{MANIFEST}"):
            try:
                manifest = json.loads(store.get(key))
            except (FileNotFoundError, ValueError):
                continue  # pruned between listing and reading
            found.append(Checkpoint(key[: -len(MANIFEST) - 1], manifest["step"], manifest["attempt"], manifest))
    return sorted(found, key=lambda c: (c.step, c.attempt))
