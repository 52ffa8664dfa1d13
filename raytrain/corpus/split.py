"""Who is held out for validation: whole clusters of near-duplicates, drawn by their hash.

Pure. A cluster's draw depends on its own id alone, so that a corpus that grows keeps the split of what it had,
but for the few clusters that the minimum asks for. The invariant: a cluster is never cut, so no validation
document has a verified near-duplicate in training.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.errors import UserError

SALT = "raytrain validation split 1:"
AT_ONCE = 1_000_000  # ids as Python's strings, of 81 bytes each
MOST = 0.30  # of the bytes: a bigger validation set means that the corpus is too small for what is asked


@dataclass(frozen=True)
class Split:
    """Held out is what draws less than `below`, and `also`, but not `never`: small lists, whatever the corpus."""

    below: float
    also: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def holds_out(self, cluster: str) -> bool:
        return cluster in self.also or (draw(cluster) < self.below and cluster not in self.never)

    def as_dict(self) -> dict[str, Any]:
        return {"below": self.below, "also": sorted(self.also), "never": sorted(self.never)}

    @classmethod
    def from_dict(cls, held: Mapping[str, Any]) -> Split:
        return cls(held["below"], frozenset(held["also"]), frozenset(held["never"]))


@dataclass(frozen=True)
class Clusters:
    """What each cluster holds of the documents that are kept: arrays in the order of `ids`, which are sorted."""

    ids: Any
    documents: NDArray[np.int64]
    bytes: NDArray[np.int64]
    source_of: NDArray[np.int64]
    """[pairs, 2]: which cluster has anything of which source, as numbers, by source."""

    def __len__(self) -> int:
        return len(self.documents)

    def draws(self) -> NDArray[np.float64]:
        held = (self.ids.slice(at, AT_ONCE).to_pylist() for at in range(0, len(self), AT_ONCE))
        return np.concatenate([np.zeros(0), *(np.array([draw(name) for name in names]) for names in held)])


def draw(cluster: str) -> float:
    """In [0, 1), from the cluster's id alone."""
    from xxhash import xxh3_64_intdigest

    return float(xxh3_64_intdigest((SALT + cluster).encode()) / 2**64)


def clusters_of(documents: Any) -> Clusters:
    """The clusters of kept documents, given as a table with the columns cluster, source and bytes."""
    ids, cluster = _numbered(documents.column("cluster"))
    _, source = _numbered(documents.column("source"))
    size = np.bincount(cluster, documents.column("bytes").to_numpy(), len(ids)).astype(np.int64)  # exact below 2^53
    pairs = np.unique(source * len(ids) + cluster)
    source_of = np.stack([pairs % max(len(ids), 1), pairs // max(len(ids), 1)], axis=1)
    return Clusters(ids, np.bincount(cluster, minlength=len(ids)), size, source_of)


def _numbered(column: Any) -> tuple[Any, NDArray[np.int64]]:
    """(the distinct values of a column of strings, sorted; the place of each row's among them)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    whole = column.cast(pa.large_string()).combine_chunks()  # all ids together may be more than 2 GB
    order = pc.sort_indices(whole)
    ranked = whole.take(order)
    fresh = np.ones(len(ranked), np.bool_)
    fresh[1:] = pc.not_equal(ranked[1:], ranked[:-1]).to_numpy(zero_copy_only=False)
    place = np.empty(len(ranked), np.int64)
    place[order.to_numpy()] = np.cumsum(fresh) - 1
    return ranked.filter(pa.array(fresh)), place


def split(clusters: Clusters, options: Mapping[str, Any]) -> Split:
    """Which clusters to hold out. `options`: a dumped SplitSection.

    Those that draw less than validation_fraction; the lowest draw of each source that is left without one and has
    another cluster to train on; then by rising draw until the minimum is met. A cluster of more than
    validation_fraction of all bytes (a template's, say) is taken last. Raises a UserError when more than 30 % of
    the bytes would be needed.
    """
    fraction = options["validation_fraction"]
    least_documents, least_bytes = options["min_validation_documents"], options["min_validation_bytes"]
    if not fraction and not least_documents and not least_bytes:
        return Split(0.0)
    total, draws = int(clusters.bytes.sum()), clusters.draws()
    big = clusters.bytes > max(fraction, 0.01) * total
    order = np.lexsort((draws, big))  # stable: of equal draws the smaller id comes first
    chosen = ~big & (draws < fraction)
    _represent(chosen, clusters.source_of, np.argsort(order))
    rest = order[~chosen[order]]
    documents = clusters.documents[chosen].sum() + np.cumsum(clusters.documents[rest]) - clusters.documents[rest]
    size = clusters.bytes[chosen].sum() + np.cumsum(clusters.bytes[rest]) - clusters.bytes[rest]
    chosen[rest[(documents < least_documents) | (size < least_bytes)]] = True
    size = int(clusters.bytes[chosen].sum())
    if size > MOST * total or chosen.all():
        raise UserError(
            f"corpus.split: {least_documents} documents and {least_bytes} bytes for validation, or {fraction:g} of the "
            f"whole, would take {size} of the {total} bytes in the {clusters.documents.sum()} documents that "
            "are kept, more than 30 %; lower min_validation_documents and min_validation_bytes, or add text"
        )
    also, never = chosen & (draws >= fraction), ~chosen & (draws < fraction)
    return Split(fraction, *(frozenset(clusters.ids.filter(names).to_pylist()) for names in (also, never)))


def _represent(chosen: NDArray[np.bool_], source_of: NDArray[np.int64], place: NDArray[np.int64]) -> None:
    """Chooses the first cluster of every source that has none chosen yet and another one to train on."""
    bounds = np.flatnonzero(np.diff(source_of[:, 1], prepend=-1, append=-1))
    for first, end in itertools.pairwise(bounds):
        own = source_of[first:end, 0]
        if len(own) > 1 and not chosen[own].any():
            chosen[own[place[own].argmin()]] = True
