"""The documents that are searched for duplicates: the corpus's own, then those that earlier corpora keep.

Document i is row i - first of the shard that begins at `first`; earlier corpora are numbered behind the corpus's
own, and never judged: whoever equals one of theirs goes. Preference among documents is one number, its rank; the
smallest stays. The invariant: of an earlier corpus only small columns and stored signatures are read here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import check_aligned, shard_table
from raytrain.corpus.ingest import INDEX
from raytrain.errors import UserError
from raytrain.store import Artifact, Store, open_artifact
from raytrain.store.step import StepContext, Task

NODE = np.dtype([("doc", "<i8"), ("high", "<u8"), ("low", "<u8"), ("rank", "<u8")])
SENDER_DOCUMENTS = 1_000_000  # of neighbouring shards that one task sends: with 14 bands 224 MB of rows, 1 GB of work
SENDER_BYTES = (
    1_000_000_000  # of their text: sampled runs are half of it in rows, shingles of words a third more than it
)
SENDERS = 64  # at least, where there are as many shards: smaller corpora are not to wait for one worker
RANGE_DOCUMENTS = 1_000_000  # of which one task compares the pairs
RANGES = 32
_KEPT = {"corpora": ("kept.parquet", "row"), "dedup": ("dedup.parquet", "duplicate_of")}


@dataclass(frozen=True)
class Pool:
    """`shards` in order, as tasks carry them; the first `own` documents are the corpus's, the others earlier ones'."""

    shards: Sequence[Mapping[str, Any]]
    own: int
    documents: int

    @property
    def range_documents(self) -> int:
        """Documents a range: pairs are compared by the range of their first document."""
        return max(1, min(RANGE_DOCUMENTS, max(RANGE_DOCUMENTS // 50, -(-self.documents // RANGES))))

    @property
    def ranges(self) -> int:
        return max(1, -(-self.documents // self.range_documents))

    def senders(self) -> list[list[Mapping[str, Any]]]:
        """Runs of shards, one task each: within both bounds, but for a shard that is beyond one by itself."""
        many = max(1, self.documents // max(1, min(len(self.shards), SENDERS)))
        most = min(SENDER_DOCUMENTS, many)
        runs: list[list[Mapping[str, Any]]] = []
        documents = size = 0
        for shard in self.shards:
            documents, size = documents + shard["rows"], size + shard["documents"]["facts"]["bytes"]
            if not runs or documents > most or size > SENDER_BYTES:
                runs.append([])
                documents, size = shard["rows"], shard["documents"]["facts"]["bytes"]
            runs[-1].append(shard)
        return runs

    def tasks(self, ctx: StepContext, room: str, **more: Any) -> list[Task]:
        """One task a sender, below the artifact's own prefix."""
        shared = {"store": ctx.store.uri, "prefix": f"{ctx.prefix}/{room}", "config": dict(ctx.config), "own": self.own}
        shared |= {"range": self.range_documents, "ranges": self.ranges, **more}
        return [{**shared, "shard": i, "shards": run} for i, run in enumerate(self.senders())]


def pool_of(ctx: StepContext) -> Pool:
    """The step's own documents and those that `config["against"]` names. Raises a UserError when they do not fit."""
    parents = {name: ctx.parents[name] for name in ("documents", "minhash", "quality") if name in ctx.parents}
    check_aligned(parents["documents"], {name: held for name, held in parents.items() if name != "documents"})
    shards = _shards(parents, 0, {})
    own = sum(shard["rows"] for shard in shards)
    for prefix in ctx.config["against"]:
        kept, documents, minhash = _earlier(ctx.store, prefix)
        _check_alike(prefix, minhash, ctx.parents["minhash"])
        first = shards[-1]["first"] + shards[-1]["rows"] if shards else 0
        shards += _shards({"documents": documents, "minhash": minhash, "kept": kept}, first, {"earlier": prefix})
    return Pool(shards, own, shards[-1]["first"] + shards[-1]["rows"] if shards else 0)


def _check_alike(prefix: str, earlier: Artifact, own: Artifact) -> None:
    """Raises a UserError where signatures of one text would differ: they were made otherwise, or by other code."""
    theirs, ours = ({"version": held.manifest["version"], **held.manifest["config"]} for held in (earlier, own))
    if theirs == ours:
        return
    names = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    remedy = "set bands, rows, ngram and unit alike"
    if {"version", "unicode"} & set(names):
        remedy = "make that corpus again with this version of raytrain and of Python, or leave it out"
    told = "; ".join(
        f"{name} {theirs.get(name, 'unknown')}, this recipe's {ours.get(name, 'unknown')}" for name in names
    )
    raise UserError(f"corpus.dedup.against: {prefix} has other signatures: {told}; {remedy}")


def resolve(store: Store, name: str) -> str:
    """The prefix of the artifact that an entry of `against` means: of a run, or by id. Raises a UserError."""
    try:
        lineage = json.loads(store.get(f"runs/{name}/lineage.json"))
        tried = [lineage[step] for step in ("select", "dedup") if step in lineage]
    except FileNotFoundError:
        tried = [name] if "/" in name else [f"{kind}/{name}" for kind in _KEPT]
    for prefix in tried:
        if prefix.split("/")[0] in _KEPT and open_artifact(store, prefix) is not None:
            return str(prefix)
    raise UserError(
        f"corpus.dedup.against: {name!r} is no run with a corpus in {store.uri}, nor the id of a corpus or dedup "
        "artifact there; `raytrain ls` lists the runs"
    )


def counted(store: Store, shard: Mapping[str, Any]) -> NDArray[np.int64]:
    """The rows of a shard that are searched: all of one's own; of an earlier corpus what it kept."""
    if "kept" not in shard:
        return np.arange(shard["rows"])
    import pyarrow.parquet as pq

    name, column = _KEPT[shard["earlier"].split("/")[0]]
    with store.fs.open(store.path(shard["kept"]["objects"][name]["key"]), "rb") as file:  # this column's bytes alone
        held = pq.ParquetFile(file, pre_buffer=False).read(columns=[column], use_threads=False).column(column)
    return held.to_numpy() if column == "row" else np.flatnonzero(held.is_null().to_numpy())


def nodes_of(store: Store, shard: Mapping[str, Any], config: Mapping[str, Any]) -> NDArray[Any]:
    """NODE rows of the documents of a shard that are searched."""
    table = shard_table(store, shard["documents"], INDEX, ["doc_id", "licence", "bytes"])
    rows = np.empty(table.num_rows, NODE)
    rows["doc"] = np.arange(shard["first"], shard["first"] + table.num_rows)
    rows["high"], rows["low"] = halves_of(table.column("doc_id"))
    quality = None
    if "quality" in shard:
        stage, column = config["quality"].split(".")
        quality = shard_table(store, shard["quality"], f"{stage}.parquet", [column]).column(column).to_numpy()
    rows["rank"] = ranks(table.column("licence"), table.column("bytes").to_numpy(), quality, config["licences"])
    if "kept" in shard:
        rows["rank"] &= np.uint64(2**56 - 1)  # before every class of licence
        return np.asarray(rows[counted(store, shard)])
    return rows


def ranks(
    licences: Any, size: NDArray[np.int64], quality: NDArray[Any] | None, order: Sequence[str]
) -> NDArray[np.uint64]:
    """Preference, smallest best: class of licence (8 bits), quality falling (24), bytes falling (32).

    Licences in the recipe's order come first, then other known ones, then "unknown". Quality is kept to 16
    significant bits; a document without comes last.
    """
    encoded = licences.combine_chunks().dictionary_encode()
    place = {name: i + 1 for i, name in enumerate(order)}
    known, unknown = len(order) + 1, len(order) + 2
    classes = [place.get(name, unknown if name == "unknown" else known) for name in encoded.dictionary.to_pylist()]
    held = np.array(classes or [0], np.uint64)[encoded.indices.to_numpy()]
    rank = held << np.uint64(56) | (np.uint64(2**32 - 1) - np.minimum(size, 2**32 - 1).astype(np.uint64))
    if quality is not None:
        rank |= (np.uint64(2**24 - 1) - _ordered(quality)) << np.uint64(32)
    return np.asarray(rank, np.uint64)


def _ordered(values: NDArray[Any]) -> NDArray[np.uint64]:
    """Numbers to 24 bits that keep their order: a float's bits, the negative ones turned round; NaN is 0."""
    bits = values.astype("<f4").view("<u4")
    turned = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return np.where(np.isnan(values.astype(np.float64)), 0, turned >> 8).astype(np.uint64)


_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_NIBBLE = np.zeros(256, np.uint8)
_NIBBLE[_HEX] = np.arange(16)


def halves_of(doc_ids: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Document ids as two numbers of 64 bits each."""
    from raytrain.corpus.kernels.buffers import text_buffers

    data, offsets = text_buffers(doc_ids)
    digits = _NIBBLE[data[offsets[0] : offsets[-1]]].reshape(-1, 16, 2)
    both = (digits[:, :, 0] << 4 | digits[:, :, 1]).reshape(-1, 16).view(">u8").astype(np.uint64)
    return both[:, 0], both[:, 1]


def ids_of(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Any:
    """The same as a column of text, 32 hexadecimal digits each."""
    import pyarrow as pa

    both = np.stack([high, low], axis=1).astype(">u8").view(np.uint8).reshape(-1, 16)
    digits = np.stack([_HEX[both >> 4], _HEX[both & 15]], axis=2)
    offsets = np.arange(0, 32 * len(high) + 1, 32, dtype=np.int64)
    held = pa.LargeStringArray.from_buffers(len(high), pa.py_buffer(offsets), pa.py_buffer(digits.tobytes()))
    return held.cast(pa.string())


def _shards(parents: Mapping[str, Artifact], first: int, more: Mapping[str, Any]) -> list[dict[str, Any]]:
    held = []
    for i, documents in enumerate(parents["documents"].shards):
        held.append({"first": first, "rows": documents["rows"], **more})
        held[-1] |= {name: artifact.shards[i] for name, artifact in parents.items()}
        first += documents["rows"]
    return held


def _earlier(store: Store, prefix: str) -> tuple[Artifact, Artifact, Artifact]:
    """(what says which documents it keeps, its documents, their signatures)."""
    kept = _open(store, prefix)
    parents = kept.manifest["parents"]
    searched = kept if prefix.startswith("dedup/") else _open(store, f"dedup/{parents['dedup']}")
    documents = _open(store, f"documents/{parents['documents']}")
    return kept, documents, _open(store, f"attributes/minhash/{searched.manifest['parents']['minhash']}")


def _open(store: Store, prefix: str) -> Artifact:
    found = open_artifact(store, prefix)
    if found is None:
        raise UserError(f"corpus.dedup.against: {prefix} is gone from {store.uri}; drop it or bring it back")
    return found
