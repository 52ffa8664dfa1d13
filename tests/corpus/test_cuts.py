"""Spans are cut out of texts, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.coded import Coded
from raytrain.corpus.cuts import OBJECT, Cuts, apply, read_cuts, union
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def cuts(spans: list[tuple[int, int, int, str]]) -> Cuts:
    row, start, end = (np.array([span[i] for span in spans], np.int64) for i in range(3))
    return Cuts(row, start, end, Coded.of([span[3] for span in spans]))


def expected(texts: list[str], spans: list[tuple[int, int, int, str]]) -> list[str]:
    left = []
    for i, text in enumerate(texts):
        gone = {byte for row, start, end, _ in spans if row == i for byte in range(start, end)}
        left.append(bytes(b for at, b in enumerate(text.encode()) if at not in gone).decode())
    return left


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[str], list[tuple[int, int, int, str]]]:
    texts = draw(st.lists(TEXT, min_size=1, max_size=6))
    spans = []
    for _ in range(draw(st.integers(0, 8))):
        row = draw(st.integers(0, len(texts) - 1))
        a, b = sorted(draw(st.tuples(*[st.integers(0, len(texts[row]))] * 2)))
        start, end = (len(texts[row][:at].encode()) for at in (a, b))
        spans.append((row, start, end, draw(st.sampled_from(["span", "leak"]))))
    return texts, spans


@settings(deadline=None)
@given(cases())
def test_the_union_of_all_spans_goes_and_the_rest_stays(
    case: tuple[list[str], list[tuple[int, int, int, str]]],
) -> None:
    texts, spans = case
    held = pa.chunked_array([pa.array(["before", *texts], pa.large_string())[1:]])
    left = apply(held, cuts(spans)).to_pylist()
    assert left == expected(texts, spans)
    sizes = [len(text.encode()) for text in texts]
    lost = cuts(spans).bytes_of(len(texts)).tolist()
    assert [size - gone for size, gone in zip(sizes, lost, strict=True)] == [len(text.encode()) for text in left]


def test_spans_that_touch_or_overlap_become_one_but_never_across_documents() -> None:
    row, start, end = union(*(np.array(c) for c in ([1, 0, 0, 0], [0, 5, 2, 9], [4, 8, 5, 12])))
    assert list(zip(row.tolist(), start.tolist(), end.tolist(), strict=True)) == [(0, 2, 8), (0, 9, 12), (1, 0, 4)]


def test_reasons_are_counted_each_for_itself() -> None:
    held = cuts([(0, 0, 4, "span"), (0, 2, 6, "leak"), (2, 1, 3, "span"), (2, 2, 5, "span")])
    assert held.tally() == {"span": {"documents": 2, "bytes": 8}, "leak": {"documents": 1, "bytes": 4}}


def test_the_cuts_of_some_documents_are_numbered_by_their_place_among_these() -> None:
    held = cuts([(0, 0, 1, "a"), (3, 0, 2, "a"), (5, 1, 2, "b"), (7, 0, 1, "a")])
    own = held.among(np.array([3, 5, 6]))
    assert own.row.tolist() == [0, 1]
    assert own.end.tolist() == [2, 2]
    assert [own.reason[i] for i in range(2)] == ["a", "b"]
    assert len(held.among(np.zeros(0, np.int64)).row) == 0


def test_a_cut_that_reaches_beyond_its_text_is_refused() -> None:
    texts = pa.array(["one", "and another"], pa.large_string())
    assert apply(texts, cuts([(0, 0, 3, "all")])).to_pylist() == ["", "and another"]
    with pytest.raises(ValueError, match="text 0 has 3 bytes, a cut ends at 4"):
        apply(texts, cuts([(0, 0, 4, "more")]))


@pytest.mark.parametrize("span", [(-1, 3), (5, 4)])
def test_a_span_that_is_none_is_refused(tmp_path: Path, span: tuple[int, int]) -> None:
    writer = ArtifactWriter(Store(str(tmp_path)), "spans")
    table = pa.table({"row": [0, 7], "start": [0, span[0]], "end": [1, span[1]], "reason": ["span", "span"]})
    record = writer.commit_shard(0, {OBJECT: writer.put(0, OBJECT, table_bytes(table))}, 8)
    with pytest.raises(ValueError, match=rf"row 7: bytes {span[0]} to {span[1]} are no span"):
        read_cuts(writer.store, [record])
