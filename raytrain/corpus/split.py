"""Who is held out for validation: whole clusters of near-duplicates, drawn by their hash.

Pure. A cluster's draw depends on its own id alone, so that a corpus that grows keeps the split of what it had,
but for the few clusters that the minimum asks for. The invariant: a cluster is never cut, so no validation
document has a verified near-duplicate in training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from raytrain.errors import UserError

SALT = "raytrain validation split 1:"
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


@dataclass
class Cluster:
    """What a cluster holds of the documents that are kept."""

    id: str
    documents: int = 0
    bytes: int = 0
    sources: set[str] = field(default_factory=set)


def draw(cluster: str) -> float:
    """In [0, 1), from the cluster's id alone."""
    from xxhash import xxh3_64_intdigest

    return float(xxh3_64_intdigest((SALT + cluster).encode()) / 2**64)


def clusters_of(documents: Iterable[tuple[str, str, int]]) -> list[Cluster]:
    """Clusters by id of kept documents given as (cluster, source, bytes)."""
    held: dict[str, Cluster] = {}
    for cluster, source, size in documents:
        found = held.setdefault(cluster, Cluster(cluster))
        found.documents += 1
        found.bytes += size
        found.sources.add(source)
    return [held[name] for name in sorted(held)]


def split(clusters: list[Cluster], options: Mapping[str, Any]) -> Split:
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
    total = sum(cluster.bytes for cluster in clusters)
    limit = max(fraction, 0.01) * total
    order = sorted(clusters, key=lambda cluster: (cluster.bytes > limit, draw(cluster.id), cluster.id))
    chosen = {c.id: c for c in order if c.bytes <= limit and draw(c.id) < fraction}
    by_source: dict[str, list[Cluster]] = defaultdict(list)
    for cluster in order:
        for source in cluster.sources:
            by_source[source].append(cluster)
    for _, own in sorted(by_source.items()):
        if len(own) > 1 and not any(cluster.id in chosen for cluster in own):
            chosen[own[0].id] = own[0]
    documents, size = (sum(getattr(c, name) for c in chosen.values()) for name in ("documents", "bytes"))
    for cluster in order:
        if documents >= least_documents and size >= least_bytes:
            break
        if cluster.id not in chosen:
            chosen[cluster.id] = cluster
            documents, size = documents + cluster.documents, size + cluster.bytes
    if size > MOST * total or len(chosen) == len(clusters):
        raise UserError(
            f"corpus.split: {least_documents} documents and {least_bytes} bytes for validation, or {fraction:g} of the "
            f"whole, would take {size} of the {total} bytes in the {sum(c.documents for c in clusters)} documents that "
            "are kept, more than 30 %; lower min_validation_documents and min_validation_bytes, or add text"
        )
    also = frozenset(name for name in chosen if draw(name) >= fraction)
    never = frozenset(c.id for c in order if c.id not in chosen and draw(c.id) < fraction)
    return Split(fraction, also, never)
