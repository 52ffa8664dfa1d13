"""Every format: what a good record becomes, and that nothing bad ends the reading."""

from __future__ import annotations

import gzip
import io
import json
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.inventory import Format
from raytrain.corpus.readers import OWN_FIELDS, Broken, Raw, Records, _json_record, read


def found(data: bytes, path: str, form: Format, longest: int = 10_000, text_field: str = "text") -> list[Raw | Broken]:
    """What a reader finds, one by one, in the order of the file."""
    single: list[Raw | Broken] = []
    for some in read(io.BytesIO(data), path, form, text_field, longest):
        single += rows_of(some) if isinstance(some, Records) else [some]
    return sorted(single, key=lambda record: record.record)


def rows_of(records: Records) -> list[Raw]:
    records.table.validate(full=True)
    return [
        Raw(row["record"], row["text"], {name: row[name] for name in OWN_FIELDS if row.get(name)})
        for row in records.table.to_pylist()
    ]


def reasons(records: list[Raw | Broken]) -> list[tuple[int, str]]:
    return [(r.record, r.reason if isinstance(r, Broken) else r.text) for r in records]


JSONL = [
    (b'{"text": "good"}', "good"),
    (b'{"text": "esc\\u00e9"}', "escé"),
    (b"{broken", "bad_json"),
    (b'["text"]', "bad_json"),
    (b"12", "bad_json"),
    (b'{"words": "x"}', "missing_text"),
    (b'{"text": null}', "missing_text"),
    (b'{"text": 5}', "missing_text"),
    (b'{"text": "\xff\xfe"}', "not_utf8"),
    (b'{"text": "half \\ud83d pair"}', "not_utf8"),
    (b'{"text": "pair \\ud83d\\ude00"}', "pair 😀"),
    (b'{"text": "nul \\u0000 and raw"}', "nul \0 and raw"),
    (b"[" * 100_000, "bad_json"),
    (b'{"text": "n", "x": ' + b"9" * 5000 + b"}", "bad_json"),
    (b'{"text": "last, without a line end"}', "last, without a line end"),
]


@pytest.fixture(params=["in columns", "line by line"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways through a jsonl file, however little it holds."""
    monkeypatch.setattr("raytrain.corpus.readers.FEW_BYTES", 0 if request.param == "in columns" else 1 << 20)


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(("line", "expected"), JSONL)
def test_a_jsonl_line_becomes_a_text_or_a_reason(line: bytes, expected: str) -> None:
    assert reasons(found(line, "a.jsonl", "jsonl")) == [(0, expected)]


@pytest.mark.usefixtures("either_way")
def test_a_bad_line_costs_no_other_and_keeps_the_count() -> None:
    data = b"\n".join(line for line, _ in JSONL)
    assert reasons(found(data, "a.jsonl", "jsonl")) == [(i, expected) for i, (_, expected) in enumerate(JSONL)]


@pytest.mark.usefixtures("either_way")
def test_blank_lines_and_byte_order_marks_are_no_records() -> None:
    data = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n \n{"text": "b"}\n'
    assert reasons(found(data, "a.jsonl", "jsonl")) == [(0, "a"), (3, "b")]


def test_a_line_longer_than_any_document_is_oversize() -> None:
    data = b'{"text": "' + b"x" * 30_000_000 + b'"}\n{"text": "b"}\n'
    assert reasons(found(data, "a.jsonl", "jsonl")) == [(0, "oversize"), (1, "b")]


@pytest.mark.usefixtures("either_way")
def test_the_texts_field_may_be_one_of_the_fields_of_a_record() -> None:
    raw = found(b'{"url": "http://x", "id": 1}\n', "a.jsonl", "jsonl", text_field="url")[0]
    assert raw == Raw(0, "http://x", {"id": "1", "url": "http://x"})


def test_columns_hold_what_python_reads_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = {
        "id": "é",
        "url": "http:\\/\\/x",
        "licence": "",
        "origin": None,
        "domain": [1],
        "date": 1.5,
        "verification": 0,
    }
    records = [{"text": f'{i} \u2028 "\\ 😀', name: value} for i, (name, value) in enumerate(fields.items())]
    written = [json.dumps(r, ensure_ascii=ascii_only) for r in records for ascii_only in (True, False)]
    data = b"\n".join([*(line.encode() for line in written), *(line for line, _ in JSONL)])
    monkeypatch.setattr("raytrain.corpus.readers.FEW_BYTES", 0)
    monkeypatch.setattr("raytrain.corpus.readers.LINES_AT_ONCE", 7)
    quick = found(data, "a.jsonl", "jsonl")
    assert quick == [_json_record(i, line, "text") for i, line in enumerate(data.split(b"\n"))]
    monkeypatch.setattr("raytrain.corpus.streams.BLOCK", 100)
    assert found(data, "a.jsonl", "jsonl") == quick


def test_a_break_in_a_gzip_of_members_is_one_record_and_the_rest_is_read() -> None:
    members = [gzip.compress(b'{"text": "%d"}\n' % i * 3, mtime=0) for i in range(3)]
    members[1] = members[1][:-6] + b"...." + members[1][-2:]
    records = found(b"".join(members), "a.jsonl.gz", "jsonl")
    assert [r.text if isinstance(r, Raw) else r.reason for r in records] == [
        *"000111",
        "broken_stream",
        *"222",
    ]


def test_records_before_a_break_are_kept() -> None:
    data = gzip.compress(b"".join(b'{"text": "number %d"}\n' % i for i in range(5000)), mtime=0)
    records = found(data[: len(data) // 2], "a.jsonl.gz", "jsonl")
    assert len(records) > 1000
    last = records[-1]
    assert isinstance(last, Broken)
    assert last.reason == "broken_stream"
    assert all(isinstance(r, Raw) for r in records[:-1])


@pytest.mark.usefixtures("either_way")
def test_fields_of_a_record_come_along_as_text() -> None:
    record = {"text": "a", "id": 7, "url": "http://x", "date": None, "licence": ["no"], "origin": "human", "other": "x"}
    raw = found(json.dumps(record).encode(), "a.jsonl", "jsonl")[0]
    assert isinstance(raw, Raw)
    assert raw.fields == {"id": "7", "url": "http://x", "origin": "human"}


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def test_parquet_of_every_kind_of_text_column() -> None:
    texts = ["a", None, "é"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary()):
        data = parquet({"text": pa.array([t.encode() if t and kind == pa.binary() else t for t in texts], kind)})
        assert reasons(found(data, "a.parquet", "parquet")) == [(0, "a"), (1, "missing_text"), (2, "é")]


def test_parquet_fields_and_invalid_utf8() -> None:
    bad = pa.array([b"ok", b"\xff\xfe"], pa.binary()).view(pa.string())
    data = parquet({"text": bad, "date": pa.array([date(2024, 5, 1), None]), "id": [1, 2], "noise": [b"x", b"y"]})
    first, second = found(data, "a.parquet", "parquet")
    assert first == Raw(0, "ok", {"id": "1", "date": "2024-05-01"})
    assert isinstance(second, Broken)
    assert second.reason == "not_utf8"


def test_parquet_without_the_text_column_counts_every_row() -> None:
    broken = found(parquet({"body": ["a", "b", "c"]}), "a.parquet", "parquet")[0]
    assert isinstance(broken, Broken)
    assert (broken.reason, broken.count) == ("missing_text", 3)
    assert "body" in broken.detail


def test_parquet_that_unfolds_one_text_a_million_times_is_a_zip_bomb() -> None:
    rows = pa.DictionaryArray.from_arrays(pa.array(bytes(1_000_000), pa.uint8()), pa.array(["x" * 200_000]))
    records = found(parquet({"text": rows}), "a.parquet", "parquet")
    last = records[-1]
    assert isinstance(last, Broken)
    assert last.reason == "zip_bomb"
    assert last.record + last.count == 1_000_000
    assert len(records) < 1000


def test_parquet_of_few_texts_on_many_rows_gives_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raytrain.corpus.readers.BLOCK", 1000)
    texts = [["same", "other" * 50, None][i % 3] for i in range(5000)]
    records = found(parquet({"text": texts, "id": range(5000)}), "a.parquet", "parquet")
    assert [r.text if isinstance(r, Raw) else None for r in records] == texts
    assert [r.record for r in records] == list(range(5000))


@pytest.mark.parametrize("data", [b"", b"PAR1", b"no parquet at all", parquet({"text": ["a"] * 1000})[:-30]])
def test_truncated_parquet_is_one_broken_stream(data: bytes) -> None:
    assert [reason for _, reason in reasons(found(data, "a.parquet", "parquet"))] == ["broken_stream"]


def test_a_damaged_row_group_of_parquet_costs_and_counts_its_own_rows_alone() -> None:
    texts = [f"document number {i} " * 20 for i in range(2000)]
    options = {"row_group_size": 500, "use_dictionary": False, "write_page_checksum": True}
    data = bytearray(parquet({"text": texts}, **options))
    offset = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(2).column(0).data_page_offset
    data[offset + 6000 : offset + 6080] = bytes(80)  # behind the page header
    records = found(bytes(data), "a.parquet", "parquet")
    good = {r.record: r.text for r in records if isinstance(r, Raw)}
    broken = [r for r in records if isinstance(r, Broken)]
    assert {r.reason for r in broken} == {"broken_stream"}
    assert sum(r.count for r in broken) == 2000 - len(good)
    assert good == {i: texts[i] for i in (*range(broken[0].record), *range(1500, 2000))}
    assert broken[0].record >= 1000


def test_parquet_values_that_python_cannot_hold_are_absent_and_texts_of_them_are_missing() -> None:
    fields = {
        "date": pa.array([2**40], pa.timestamp("s")),
        "id": pa.array([0], pa.timestamp("us", "Nowhere/At_All")),
        "url": pa.array([2**30], pa.date32()),
    }
    assert found(parquet({"text": ["kept"], **fields}), "a.parquet", "parquet") == [Raw(0, "kept")]
    half = pa.StructArray.from_arrays([pa.array([b"\xff"], pa.binary()).view(pa.string())], ["words"])
    for text in (half, *fields.values()):
        assert reasons(found(parquet({"text": text}), "a.parquet", "parquet")) == [(0, "missing_text")]


def test_parquet_that_names_two_columns_alike_gives_the_first() -> None:
    sink = io.BytesIO()
    columns = [pa.array(values) for values in (["one"], ["two"], ["u"], ["v"])]
    pq.write_table(pa.Table.from_arrays(columns, ["text", "text", "url", "url"]), sink)
    assert found(sink.getvalue(), "a.parquet", "parquet") == [Raw(0, "one", {"url": "u"})]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("plain é".encode(), [(0, "plain é")]),
        (b"\xef\xbb\xbfwith a mark", [(0, "with a mark")]),
        ("sixteen é".encode("utf-16"), [(0, "sixteen é")]),
        ("latin é".encode("latin-1"), [(0, "not_utf8")]),
        (b"nul \0 inside", [(0, "nul \0 inside")]),
        (b"", []),
        (b" \n ", []),
        (b"x" * 10_001, [(0, "oversize")]),
    ],
)
def test_a_text_file_is_one_document(data: bytes, expected: list[tuple[int, str]]) -> None:
    assert reasons(found(data, "a.txt", "txt")) == expected


def test_half_a_text_file_is_no_document() -> None:
    data = gzip.compress(b"some words " * 1000, mtime=0)
    assert reasons(found(data[:-20], "a.txt.gz", "txt")) == [(0, "broken_stream")]
    assert reasons(found(gzip.compress(b"whole"), "a.txt.gz", "txt")) == [(0, "whole")]


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(["jsonl", "parquet", "txt"]), st.sampled_from(["", ".gz", ".zst"]))
def test_no_bytes_whatever_end_a_reader_with_an_exception(data: bytes, form: Format, ending: str) -> None:
    for record in found(data, f"a{ending}", form):
        if isinstance(record, Raw):
            record.text.encode("utf-8")
