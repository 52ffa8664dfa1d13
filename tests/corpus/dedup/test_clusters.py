"""Clusters and survivors: pure decisions."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.dedup.clusters import Decision, Member, Near, decide
from raytrain.corpus.kernels import NEAR, TEMPLATE

THRESHOLD = 0.8


def member(doc: int, licence: str = "MIT", size: int = 100, text: int | None = None) -> Member:
    return Member(f"{doc if text is None else text:032x}", f"s/f/{doc:03d}", licence, size)


def test_the_best_copy_stays() -> None:
    members = {
        1: member(1, "unknown", 100, text=7),
        2: member(2, "MIT", 100, text=7),
        3: member(3, "MIT", 100, text=7),
    }
    found = decide([(1, 2), (1, 3)], [], members, THRESHOLD)
    assert {doc: decision.duplicate_of for doc, decision in found.items()} == {1: 2, 2: None, 3: 2}
    assert {decision.rule for decision in found.values()} == {None, "exact"}


def test_a_known_licence_outweighs_length_and_length_outweighs_names() -> None:
    members = {1: member(1, "unknown", 900), 2: member(2, "MIT", 100), 3: member(3, "MIT", 200)}
    near = [Near(1, 2, NEAR, 0.9), Near(1, 3, NEAR, 0.9), Near(2, 3, NEAR, 0.9)]
    found = decide([], near, members, THRESHOLD)
    assert {doc: decision.duplicate_of for doc, decision in found.items()} == {1: 3, 2: 3, 3: None}


def test_what_resembles_only_a_removed_document_stays() -> None:
    """1 ~ 2 ~ 3 but 1 and 3 are different: 2 goes for 1, and 3 has nobody to go for."""
    members = {1: member(1, size=300), 2: member(2, size=200), 3: member(3, size=100)}
    near = [Near(1, 2, NEAR, 0.85), Near(2, 3, NEAR, 0.85), Near(1, 3, NEAR, 0.6)]
    found = decide([], near, members, THRESHOLD)
    assert found[2] == Decision(1, "near", 0.85, members[1].doc_id)
    assert found[3].duplicate_of is None
    assert {decision.cluster for decision in found.values()} == {members[1].doc_id}  # a split must not part them


def test_copies_of_a_near_duplicate_go_with_it() -> None:
    members = {1: member(1, size=300), 2: member(2, size=200, text=9), 5: member(5, size=200, text=9)}
    found = decide([(2, 5)], [Near(1, 2, NEAR, 0.9)], members, THRESHOLD)
    assert found[2].duplicate_of == found[5].duplicate_of == 1
    assert found[5].rule == "near"


def test_a_pair_below_the_threshold_decides_nothing() -> None:
    assert decide([], [Near(1, 2, NEAR, 0.79)], {1: member(1), 2: member(2)}, THRESHOLD) == {}


def test_a_shared_template_holds_a_cluster_together_and_removes_nobody() -> None:
    found = decide([], [Near(1, 2, TEMPLATE, 0.5)], {1: member(1), 2: member(2)}, THRESHOLD)
    assert {decision.duplicate_of for decision in found.values()} == {None}
    assert len({decision.cluster for decision in found.values()}) == 1


def test_texts_whose_first_bits_collide_are_not_copies() -> None:
    assert decide([(1, 2)], [], {1: member(1), 2: member(2)}, THRESHOLD).get(2) is None


similarities = st.sampled_from([0.5, 0.8, 0.9, 1.0])
pairs = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11), similarities, st.sampled_from([NEAR, TEMPLATE])), max_size=30
)


@settings(deadline=None, max_examples=200)
@given(pairs, st.lists(st.integers(1, 3), min_size=12, max_size=12), st.integers(0, 99))
def test_every_removed_document_is_verified_against_one_that_stays(
    drawn: list[tuple[int, int, float, int]], sizes: list[int], seed: int
) -> None:
    near = list({(a, b): Near(a, b, kind, j) for a, b, j, kind in drawn if a < b}.values())
    members = {doc: member(doc, size=size) for doc, size in enumerate(sizes)}
    found = decide([], near, members, THRESHOLD)
    similar = {(pair.a, pair.b): pair.jaccard for pair in near}
    for doc, decision in found.items():
        if decision.duplicate_of is not None:
            assert found[decision.duplicate_of].duplicate_of is None
            jaccard = similar[min(doc, decision.duplicate_of), max(doc, decision.duplicate_of)]
            assert jaccard == decision.jaccard
            assert jaccard >= THRESHOLD
    for pair in near:
        if pair.jaccard >= THRESHOLD:
            assert found[pair.a].cluster == found[pair.b].cluster
            stay = [found[doc].duplicate_of is None for doc in (pair.a, pair.b)]
            assert not all(stay)  # of two that stay, none is a verified duplicate of the other
    random.Random(seed).shuffle(near)
    assert decide([], near, members, THRESHOLD) == found
