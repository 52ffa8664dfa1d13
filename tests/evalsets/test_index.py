"""Which runs of words an item is known by."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.evalsets.index import COMMON, index, merge
from raytrain.evalsets.items import Item

LONG = " ".join(f"word{i}" for i in range(20))


def test_a_field_is_known_by_its_runs_a_shorter_one_as_a_whole_and_a_very_short_one_not_at_all() -> None:
    items = [Item("a", (LONG,)), Item("b", ("one two three four five six seven eight",)), Item("c", ("yes", "no"))]
    rows, table = index(items, 13, 8)
    assert table.to_pylist() == [{"item": "a", "words": 20}, {"item": "b", "words": 8}, {"item": "c", "words": 0}]
    assert sorted(zip(rows["item"].tolist(), rows["first"].tolist(), rows["words"].tolist(), strict=True)) == [
        *((0, first, 13) for first in range(8)),
        (1, 20, 8),  # places count through all items of a set
    ]


def test_no_run_spans_two_fields() -> None:
    words = LONG.split()
    rows, table = index([Item("a", (" ".join(words[:10]), " ".join(words[10:])))], 13, 8)
    assert rows["words"].tolist() == [10, 10]
    assert table["words"].to_pylist() == [20]


def test_case_quotes_and_punctuation_hide_nothing() -> None:
    plain, _ = index([Item("a", ("He said that this is a fine day for all",))], 5, 5)
    typeset, _ = index([Item("a", ("He said that “THIS is a fine day”, for all …",))], 5, 5)
    assert plain["hash"].tolist() == typeset["hash"].tolist()


def test_what_many_items_of_a_set_share_tells_none_apart() -> None:
    prompt = "Choose the one answer that fits the following question best of all the four."
    items = [Item(str(i), (f"{prompt} " + " ".join(f"w{i}x{k}" for k in range(15)),)) for i in range(COMMON + 1)]
    rows, table = index(items, 13, 8)
    few, few_table = index(items[:COMMON], 13, 8)
    assert len(set(rows["hash"].tolist())) == len(rows)
    assert len(rows) == len(items) * (len(few) // COMMON - 2)  # the prompt's two runs are gone
    assert table["words"].to_pylist() == [27] * len(items)  # the prompt's first two words stand in no other run
    assert few_table["words"].to_pylist() == [29] * COMMON


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(1, 10)), max_size=30))
def test_merged_intervals_cover_the_same_numbers(intervals: list[tuple[int, int, int]]) -> None:
    group, first, size = (np.array([row[i] for row in intervals], np.int64) for i in range(3))
    groups, firsts, ends, lengths = merge(group, first, first + size)
    covered = {(g, k) for g, a, n in intervals for k in range(a, a + n)}
    merged = [(g, k) for g, a, b in zip(groups, firsts, ends, strict=True) for k in range(a, b)]
    assert len(merged) == len(set(merged)) == lengths.sum()
    assert set(merged) == covered
    for g, a, b in zip(groups, firsts, ends, strict=True):  # maximal: nothing covered touches a merged interval
        assert (g, a - 1) not in covered and (g, b) not in covered
