"""Evaluation sets are read whole or not at all, and are what they hold."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raytrain.errors import UserError
from raytrain.evalsets.items import Item, identity, read_items
from raytrain.evalsets.section import DecontaminateSection, EvaluationSet

RECORDS = [
    {"id": "q1", "question": "Why is the sky blue?", "choices": ["Because.", {"b": "It is not."}], "year": 1999},
    {"question": "Why is grass green?", "choices": [], "year": 2000},
]


def written(path: Path, records: list[dict[str, object]] = RECORDS) -> EvaluationSet:
    data = "".join(json.dumps(r) + "\n" for r in records).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return EvaluationSet(name="sky", uri=str(path))


def test_every_text_of_an_item_is_taken_however_deep_and_nothing_else(tmp_path: Path) -> None:
    assert list(read_items(written(tmp_path / "a.jsonl"))) == [
        Item("q1", ("Why is the sky blue?", "Because.", "It is not.")),
        Item("a.jsonl#1", ("Why is grass green?",)),
    ]


def test_fields_choose_what_is_looked_for(tmp_path: Path) -> None:
    held = written(tmp_path / "a.jsonl").model_copy(update={"fields": ("question",)})
    assert [item.texts for item in read_items(held)] == [("Why is the sky blue?",), ("Why is grass green?",)]


def test_all_formats_give_the_same_items(tmp_path: Path) -> None:
    rows = [{"id": "a", "question": "One?"}, {"id": "b", "question": "Two?"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    packed = written(tmp_path / "a.jsonl.gz", rows)
    parquet = EvaluationSet(name="sky", uri=str(tmp_path / "a.parquet"))
    assert list(read_items(packed)) == list(read_items(parquet)) == [Item("a", ("One?",)), Item("b", ("Two?",))]


def test_a_set_is_its_content_not_its_place(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, two = written(tmp_path / "a.jsonl"), written(tmp_path / "elsewhere" / "a.jsonl")
    other = written(tmp_path / "elsewhere" / "b.jsonl", RECORDS[:1])
    assert identity(one) == identity(two)
    assert identity(one) != identity(other)
    assert identity(one) != identity(one.model_copy(update={"fields": ("question",)}))


@pytest.mark.parametrize(
    ("content", "says"),
    [("{}\n{broken\n", "line 2"), ("[1]\n", "line 1: a list"), ('{"q": "x"}\n', "no field 'question'")],
)
def test_what_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    fields = ("question",) if "q" in content else ()
    with pytest.raises(UserError, match=says):
        list(read_items(EvaluationSet(name="x", uri=str(tmp_path / "a.jsonl"), fields=fields)))


def test_a_set_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set x"):
        identity(EvaluationSet(name="x", uri=str(tmp_path / "nowhere" / "*.jsonl")))


def test_sets_have_names_of_their_own(tmp_path: Path) -> None:
    held = EvaluationSet(name="x", uri="a.jsonl")
    with pytest.raises(ValueError, match="two evaluation sets"):
        DecontaminateSection(sets=(held, held))
    with pytest.raises(ValueError, match="shortest"):
        DecontaminateSection(ngram=5, shortest=8)
