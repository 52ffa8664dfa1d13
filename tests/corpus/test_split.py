"""Who is held out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.split import Split, clusters_of, draw, split
from raytrain.errors import UserError

OPTIONS = {"validation_fraction": 0.05, "min_validation_documents": 5, "min_validation_bytes": 500}


Document = tuple[str, str, int]  # cluster, source, bytes


def many(count: int, size: int = 100, source: str = "s") -> list[Document]:
    """Documents that are a cluster each."""
    return [(f"{source}{i}", source, size) for i in range(count)]


def table(documents: Sequence[Document]) -> pa.Table:
    columns = list(zip(*documents, strict=True)) or [(), (), ()]
    kinds = {"cluster": pa.string(), "source": pa.string(), "bytes": pa.int64()}
    return pa.table({n: pa.array(c, kind) for (n, kind), c in zip(kinds.items(), columns, strict=True)})


def held_out(documents: Sequence[Document], **options: Any) -> list[Document]:
    drawn = split(clusters_of(table(documents)), {**OPTIONS, **options})
    return [one for one in documents if drawn.holds_out(one[0])]


def test_draws_are_fair() -> None:
    draws = sorted(draw(f"{i:032x}") for i in range(4000))
    assert max(abs(u - i / 4000) for i, u in enumerate(draws)) < 0.03


def test_a_large_corpus_holds_out_the_fraction() -> None:
    assert 0.04 < len(held_out(many(5000))) / 5000 < 0.06


def test_the_minimum_of_documents_and_bytes_is_met() -> None:
    found = held_out(many(200), min_validation_documents=30, min_validation_bytes=4500)
    assert len(found) == 45
    lowest = sorted(many(200), key=lambda one: draw(one[0]))[:45]
    assert set(found) == set(lowest)


def test_every_source_with_something_to_spare_is_represented() -> None:
    documents = many(2000, source="big") + many(3, source="small") + many(1, source="single")
    sources = {source for _, source, _ in held_out(documents)}
    assert {"big", "small"} <= sources
    assert "single" not in sources  # its only cluster stays for training


def test_a_template_is_taken_last() -> None:
    giants = [(f"giant{i}", "s", 40) for i in range(10) for _ in range(500)]
    found = held_out(giants + many(2000))
    assert found and not any(cluster.startswith("giant") for cluster, _, _ in found)


def test_growth_leaves_the_split_of_what_was_there() -> None:
    before = set(held_out(many(3000), min_validation_documents=0, min_validation_bytes=0))
    after = set(held_out(many(6000), min_validation_documents=0, min_validation_bytes=0))
    assert before == set(many(3000)) & after


@pytest.mark.parametrize(
    ("count", "options"),
    [(10, {}), (100, {"min_validation_documents": 50}), (1, {"min_validation_documents": 1}), (3, {})],
)
def test_a_corpus_too_small_for_its_split_is_refused(count: int, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"corpus.split: .* of the \d+ bytes in the \d+ documents that are kept"):
        held_out(many(count, size=40), **options)


def test_no_validation_at_all_is_a_choice() -> None:
    nothing = {"validation_fraction": 0.0, "min_validation_documents": 0, "min_validation_bytes": 0}
    assert held_out(many(10), **nothing) == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 300), st.sampled_from("abc"), st.integers(1, 500)), min_size=60, max_size=300))
def test_the_split_is_a_function_of_the_set_of_documents(held: list[tuple[int, str, int]]) -> None:
    documents = [(f"{cluster:04x}", source, size) for cluster, source, size in held]
    shuffled = random.Random(1).sample(documents, len(documents))
    try:
        first = split(clusters_of(table(documents)), {**OPTIONS, "min_validation_bytes": 0})
    except UserError:
        return
    second = split(clusters_of(table(shuffled)), {**OPTIONS, "min_validation_bytes": 0})
    assert first == second == Split.from_dict(first.as_dict())
    size = sum(size for cluster, _, size in documents if first.holds_out(cluster))
    assert size <= 0.3 * sum(size for _, _, size in documents)
    assert sum(first.holds_out(cluster) for cluster, _, _ in documents) >= 5


def test_clusters_are_counted_by_id_whatever_the_pieces() -> None:
    documents = [("b", "t", 5), ("a", "s", 1), ("b", "s", 7), ("c", "t", 2), ("a", "s", 4)]
    whole = table(documents)
    found = clusters_of(pa.concat_tables([whole[:2], whole[2:2], whole[2:]]))
    assert found.ids.to_pylist() == ["a", "b", "c"]
    assert (found.documents.tolist(), found.bytes.tolist()) == ([2, 2, 1], [5, 12, 2])
    assert found.source_of.tolist() == [[0, 0], [1, 0], [1, 1], [2, 1]]
    assert found.draws().tolist() == [draw(name) for name in "abc"]
    assert found.ids.type == pa.large_string()  # a string column holds 67 million ids and no more
    assert len(clusters_of(whole[:0])) == 0
