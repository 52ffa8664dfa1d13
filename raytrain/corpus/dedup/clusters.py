"""Clusters of duplicates and who survives: pure decisions over verified pairs.

A cluster is whatever hangs together by equal texts or verified similarity, through any number of steps: a split
must not cut it. Removal is stricter. Documents are taken best first, and one goes only if it is verified against
a document that stays; so nothing is removed for resembling a thing that is itself gone. Best: a known licence,
then the longer text, then the smaller record_id. The invariant: the order of the input does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from raytrain.corpus.kernels import TEMPLATE


@dataclass(frozen=True)
class Member:
    """What survivors are chosen by."""

    doc_id: str
    record_id: str
    licence: str
    bytes: int

    @property
    def rank(self) -> tuple[bool, int, str]:
        """The smallest is the best."""
        return (self.licence == "unknown", -self.bytes, self.record_id)


@dataclass(frozen=True)
class Near:
    """A candidate pair, compared."""

    a: int
    b: int
    kind: int
    jaccard: float


@dataclass(frozen=True)
class Decision:
    """What became of a document: `duplicate_of` is the one that stays in its place, None if it stays itself."""

    duplicate_of: int | None
    rule: str | None
    jaccard: float | None
    cluster: str


def decide(
    exact: Iterable[tuple[int, int]], near: Iterable[Near], members: Mapping[int, Member], threshold: float
) -> dict[int, Decision]:
    """A decision for every document that has a copy, a near-duplicate, or a template in common with others.

    `exact` pairs lead from the first document of a text to its others; `near` pairs join such first documents.
    Texts that share a template without being compared are held together in a cluster, and none is removed.
    """
    copies: dict[int, list[int]] = defaultdict(list)
    for first, other in exact:
        if members[first].doc_id == members[other].doc_id:
            copies[first].append(other)
    links: dict[int, dict[int, float]] = defaultdict(dict)
    parent: dict[int, int] = {}
    for pair in near:
        if pair.jaccard >= threshold:
            links[pair.a][pair.b] = links[pair.b][pair.a] = pair.jaccard
        if pair.jaccard >= threshold or pair.kind == TEMPLATE:
            _union(parent, pair.a, pair.b)
    groups: dict[int, list[int]] = defaultdict(list)
    for text in sorted({*copies, *parent}):
        groups[_root(parent, text)].append(text)
    decisions: dict[int, Decision] = {}
    for texts in groups.values():
        _decide_group(texts, copies, links, members, decisions)
    return decisions


def _decide_group(
    texts: list[int],
    copies: Mapping[int, list[int]],
    links: Mapping[int, Mapping[int, float]],
    members: Mapping[int, Member],
    decisions: dict[int, Decision],
) -> None:
    cluster = min(members[text].doc_id for text in texts)
    every = {text: [text, *copies.get(text, ())] for text in texts}
    best = {text: min(every[text], key=lambda doc: members[doc].rank) for text in texts}
    stays: dict[int, int] = {}  # texts that stay, by how good they are
    for text in sorted(texts, key=lambda text: members[best[text]].rank):
        kept = [other for other in links.get(text, ()) if other in stays]
        if kept:
            keeper = min(kept, key=stays.__getitem__)
            found = Decision(best[keeper], "near", links[text][keeper], cluster)
            decisions.update(dict.fromkeys(every[text], found))
            continue
        stays[text] = len(stays)
        decisions.update(dict.fromkeys(every[text], Decision(best[text], "exact", 1.0, cluster)))
        decisions[best[text]] = Decision(None, None, None, cluster)


def _root(parent: dict[int, int], node: int) -> int:
    while parent.get(node, node) != node:
        parent[node] = parent.get(parent[node], parent[node])  # path halving
        node = parent[node]
    return node


def _union(parent: dict[int, int], a: int, b: int) -> None:
    low, high = sorted((_root(parent, a), _root(parent, b)))
    parent.setdefault(low, low)
    parent[high] = low
