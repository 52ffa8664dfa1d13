"""Clusters and survivors: pure decisions."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.dedup.clusters import LINK, MEMBER, RULES, decide

NEAR, CONTAINED, TEMPLATE = RULES.index("near"), RULES.index("contained"), 0


def member(doc: int, rank: int = 0, text: int | None = None, url: int = 0, earlier: bool = False) -> tuple[Any, ...]:
    return (doc, doc if text is None else text, 0, rank, url, 0, earlier)


def link(a: int, b: int, similar: float = 0.9, rule: int = NEAR, longer: int = 0) -> tuple[Any, ...]:
    return (a, 0, b, 0, similar, 1.0, rule, longer)


def decided(members: list[tuple[Any, ...]], links: list[tuple[Any, ...]]) -> dict[int, tuple[int | None, str]]:
    """By document: whom it goes for, and why."""
    rows = decide(np.array(members, MEMBER), np.array(links, LINK))
    return {row["doc"]: (None if row["of"] < 0 else row["of"], RULES[row["rule"]]) for row in rows}


def clusters(members: list[tuple[Any, ...]], links: list[tuple[Any, ...]]) -> list[int]:
    return list(decide(np.array(members, MEMBER), np.array(links, LINK))["high"])


def test_the_best_copy_stays_and_of_equals_the_first() -> None:
    copies = [member(1, rank=5, text=7), member(2, rank=3, text=7), member(3, rank=3, text=7)]
    assert decided(copies, []) == {1: (2, "exact"), 2: (None, ""), 3: (2, "exact")}


def test_what_resembles_only_a_removed_document_stays() -> None:
    """1 ~ 2 ~ 3 but 1 and 3 are different: 2 goes for 1, and 3 has nobody to go for."""
    chain = [member(1, 1), member(2, 2), member(3, 3)]
    links = [link(1, 2), link(2, 3)]
    assert decided(chain, links) == {1: (None, ""), 2: (1, "near"), 3: (None, "")}
    assert clusters(chain, links) == [1, 1, 1]  # a split must not part them


def test_copies_of_a_near_duplicate_go_with_it() -> None:
    members = [member(1, 1), member(2, 2, text=9), member(5, 2, text=9)]
    assert decided(members, [link(1, 9)]) == {1: (None, ""), 2: (1, "near"), 5: (1, "near")}


def test_of_one_address_one_document_stays() -> None:
    members = [member(1, 2, url=4), member(2, 1, url=4), member(3, 0, url=5)]
    assert decided(members, []) == {1: (2, "url"), 2: (None, ""), 3: (None, "")}
    assert clusters(members, []) == [1, 1, 3]


def test_a_copy_at_another_address_stays_where_the_first_goes() -> None:
    members = [member(1, 0, url=4), member(2, 1, text=9, url=4), member(3, 2, text=9, url=5)]
    assert decided(members, []) == {1: (None, ""), 2: (1, "url"), 3: (None, "")}


def test_a_shared_template_holds_a_cluster_together_and_removes_nobody() -> None:
    pair = [member(1), member(2)]
    assert decided(pair, [link(1, 2, 0.5, TEMPLATE)]) == {1: (None, ""), 2: (None, "")}
    assert clusters(pair, [link(1, 2, 0.5, TEMPLATE)]) == [1, 1]


def test_what_an_earlier_corpus_has_goes_and_the_earlier_stays_whatever_its_rank() -> None:
    members = [member(1, 1), member(2, 1), member(8, 0, text=1, earlier=True), member(9, 0, text=8, earlier=True)]
    assert decided(members, [link(2, 8, 0.9)]) == {1: (8, "exact"), 2: (9, "near"), 8: (None, ""), 9: (None, "")}
    twins = [member(8, earlier=True), member(9, text=8, earlier=True)]
    assert decided(twins, []) == {8: (None, ""), 9: (None, "")}


def test_a_contained_text_goes_only_for_a_longer_one_of_no_worse_licence() -> None:
    worse = 1 << 56
    short, long = member(1, 1), member(2, 0)
    held = [link(1, 2, 0.3, CONTAINED, longer=1)]
    assert decided([short, long], held) == {1: (2, "contained"), 2: (None, "")}
    assert decided([member(1, 0), member(2, 1)], held) == {1: (2, "contained"), 2: (None, "")}
    assert decided([short, member(2, worse)], held) == {1: (None, ""), 2: (None, "")}


def test_a_text_that_others_went_for_is_not_taken_away_from_them() -> None:
    """3 went for 1 as near; 1 stands in 2, but 3 need not."""
    members = [member(1, 1), member(2, 0), member(3, 2)]
    links = [link(1, 2, 0.3, CONTAINED, longer=1), link(1, 3)]
    assert decided(members, links) == {1: (None, ""), 2: (None, ""), 3: (1, "near")}


def test_copies_of_a_contained_text_go_for_the_longer_one_too() -> None:
    members = [member(1, 1), member(2, 0), member(3, 2, text=1)]
    assert decided(members, [link(1, 2, 0.3, CONTAINED, longer=1)])[3] == (2, "contained")


def test_links_of_texts_that_nobody_has_say_nothing() -> None:
    assert decided([member(1)], [link(1, 2)]) == {1: (None, "")}
    assert decided([], [link(1, 2)]) == {}


LINKS = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11), st.sampled_from([NEAR, CONTAINED, TEMPLATE]), st.integers(0, 1)),
    max_size=30,
)
DOCUMENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 11), st.integers(0, 3)), min_size=12, max_size=18
)


@settings(deadline=None, max_examples=150)
@given(LINKS, DOCUMENTS, st.integers(0, 3), st.integers(0, 99))
def test_whoever_goes_goes_for_one_that_stays_by_the_rule_named(
    drawn: list[tuple[int, int, int, int]], documents: list[tuple[int, int, int, int]], earlier: int, seed: int
) -> None:
    members = [
        member(i, rank + (licence << 56), text, url, i >= len(documents) - earlier)
        for i, (rank, licence, text, url) in enumerate(documents)
    ]
    links = [
        link(a, b, 0.9, rule, longer)
        for a, b, rule, longer in {(a, b): (a, b, r, n) for a, b, r, n in drawn if a < b}.values()
    ]
    found = decided(members, links)
    text, url = ({doc: held[place] for doc, *held in members} for place in (0, 3))
    near = {frozenset((a, b)) for a, _, b, *_, rule, _ in links if rule == NEAR}
    holds = {((a, b) if longer else (b, a)) for a, _, b, *_, rule, longer in links if rule == CONTAINED}
    for doc, (keeper, rule) in found.items():
        if keeper is None:
            continue
        assert found[keeper][0] is None
        assert doc < len(documents) - earlier
        assert {
            "exact": text[doc] == text[keeper],
            "url": url[doc] == url[keeper] != 0,
            "near": frozenset((text[doc], text[keeper])) in near,
            "contained": (text[doc], text[keeper]) in holds,
        }[rule]
    stays = [doc for doc, (keeper, _) in found.items() if keeper is None and doc < len(documents) - earlier]
    for one in stays:  # of two that stay, none is another's copy, near-duplicate or of its address
        for other in stays:
            if one != other:
                assert text[one] != text[other]
                assert frozenset((text[one], text[other])) not in near
                assert url[one] == 0 or url[one] != url[other]
    random.Random(seed).shuffle(members)
    random.Random(seed).shuffle(links)
    assert decided(members, links) == found
