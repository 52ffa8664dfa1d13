"""Raw files become documents; nothing vanishes uncounted."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import xxhash
import zstandard

from raytrain.corpus.ingest import DOCUMENTS, INDEX, QUARANTINE, config_of, plan, readers_of
from raytrain.corpus.inventory import SourceFile
from raytrain.corpus.section import Source
from raytrain.errors import UserError
from raytrain.store import Store
from raytrain.store.step import Task
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl


def walk(tmp_path: Path, *sources: Source, **options: Any) -> Walk:
    return Walk(Store(str(tmp_path / "store")), sources, corpus(**options))


def source(root: Path, name: str = "s", **fields: Any) -> Source:
    return Source(name=name, uri=str(root), **fields)


def file(name: str, size: int) -> SourceFile:
    return SourceFile("s", f"file:///{name}", name, size, "", "jsonl")


def test_units_are_runs_of_files_and_a_big_file_stands_alone() -> None:
    files = [file(f"{i}", size) for i, size in enumerate([40, 50, 20, 500, 10, 90, 5])]
    assert [[f.bytes for f in unit] for unit in plan(files, 100)] == [[40, 50], [20], [500], [10, 90], [5]]
    assert plan([], 100) == []
    assert [f for unit in plan(files, 100) for f in unit] == files


def test_documents_carry_text_identity_and_provenance(tmp_path: Path) -> None:
    own = {"licence": "MIT", "origin": "machine", "domain": "law", "url": "u", "id": 5, "date": "2020"}
    records: list[dict[str, Any]] = [{"text": " Own\r\nwords ", **own}, {"text": "second", "origin": "a robot"}]
    write_jsonl(tmp_path / "raw" / "a.jsonl", records)
    given = source(tmp_path / "raw", domain="web", licence="CC0-1.0", origin="human", language="en")
    documents = walk(tmp_path, given).ingest()
    first, second = rows(documents, DOCUMENTS)
    assert first == {
        "text": "Own\nwords",
        "doc_id": xxhash.xxh3_128_hexdigest(b"Own\nwords"),
        "record_id": "s/a.jsonl/0",
        "source": "s",
        "domain": "law",
        "licence": "MIT",
        "origin": "machine",
        "verification": "unknown",
        "date": "2020",
        "url": "u",
        "id": "5",
        "declared_language": "en",
        "file": "a.jsonl",
        "record": 0,
        "bytes": 9,
    }
    assert (second["domain"], second["licence"], second["origin"], second["url"]) == ("web", "CC0-1.0", "human", None)


def test_shards_are_cut_by_size_in_the_order_of_the_input(tmp_path: Path) -> None:
    texts = [prose.document(seed, 10) for seed in range(120)]
    write_jsonl(tmp_path / "raw" / "big.jsonl", texts)
    write_jsonl(tmp_path / "raw" / "small.jsonl", ["one", "two"])
    documents = walk(tmp_path, source(tmp_path / "raw"), target_shard_bytes=20_000).ingest()
    held = [shard["facts"]["bytes"] for shard in documents.shards]
    assert len(held) > 4
    assert all(20_000 <= size < 25_000 for size in held[:-2])
    assert [row["text"] for row in rows(documents, DOCUMENTS)] == [*texts, "one", "two"]
    assert [shard["shard"] for shard in documents.shards] == list(range(len(held)))


def test_the_index_is_written_as_it_grows_and_is_the_documents_without_their_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.corpus.ingest.ROW_GROUP_ROWS", 100)
    monkeypatch.setattr("raytrain.corpus.ingest.RECORDS_AT_ONCE", 30)
    for i in range(10):
        write_jsonl(tmp_path / "raw" / f"{i}.jsonl", [f"{i} and {n}" for n in range(45)])
    documents = walk(tmp_path, source(tmp_path / "raw")).ingest()
    assert [{name: row[name] for name in row if name != "text"} for row in rows(documents, DOCUMENTS)] == rows(
        documents, INDEX
    )
    groups = pq.ParquetFile(io.BytesIO(documents.get(0, INDEX))).metadata
    held = [groups.row_group(i).num_rows for i in range(groups.num_row_groups)]
    assert sum(held) == 450
    assert max(held) < 100 + 45


def messy(root: Path) -> None:
    """Every kind of trouble in one source, and good records among it."""
    root.mkdir(parents=True)
    good = "\n".join(json.dumps({"text": f"good number {i}"}) for i in range(200)).encode()
    (root / "a.jsonl").write_bytes(
        b'{"text": "fine"}\n{broken\n{"body": "x"}\n{"text": "\xff"}\n{"text": "a\\ud800"}\n'
    )
    (root / "b.jsonl.gz").write_bytes(gzip.compress(good, mtime=0)[:-40])
    (root / "c.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(good)[:-10])
    (root / "d.parquet").write_bytes(b"PAR1 but no more")
    (root / "e.txt").write_bytes("déjà".encode("latin-1"))
    (root / "f.txt").write_bytes(b"nul \0 goes")
    (root / "g.txt").write_bytes(b"")
    (root / "h.jsonl").write_bytes(b'{"text": "' + b"x" * 30_000_000 + b'"}\n{"text": "  "}\n{"text": "after"}')
    (root / "i.html").write_bytes(b"<html><body></body></html>")
    (root / "j.txt").write_bytes(("cafÃ© " * 3).encode())


def test_every_bad_record_is_set_aside_with_its_place_and_the_run_ends_well(tmp_path: Path) -> None:
    messy(tmp_path / "raw")
    walking = walk(tmp_path, source(tmp_path / "raw"), max_document_bytes=50_000)
    documents = walking.ingest()
    texts = [row["text"] for row in rows(documents, DOCUMENTS)]
    assert texts[0] == "fine"
    assert {"nul  goes", "after", "café café café", "good number 0"} <= set(texts)
    assert documents.facts["quarantined"] == {
        "bad_json": 1,
        "broken_stream": 3,
        "empty": 2,
        "missing_text": 1,
        "not_utf8": 3,
        "oversize": 1,
    }
    assert documents.facts["repaired"] == 1
    listed = {(q["file"], q["record"]): q for q in rows(documents, QUARANTINE)}
    assert len(listed) == 11
    assert listed["a.jsonl", 1]["start"] == "{broken"
    assert listed["a.jsonl", 3]["start"] == '{"text": "\\xff"}'
    assert "after" in listed["b.jsonl.gz", max(r for f, r in listed if f == "b.jsonl.gz")]["detail"]
    assert walking.said[-1].startswith("set aside: 1 bad_json, 3 broken_stream")


def test_records_of_many_small_files_keep_their_order_and_their_own(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for i in range(12):
        write_jsonl(
            raw / f"{i:02d}.jsonl", [{"text": f"line {i}", "url": f"u{i}"}, {"text": f"next {i}", "origin": "human"}]
        )
        (raw / f"{i:02d}.txt").write_text(f"whole file {i}")
    other = source(tmp_path / "raw" / "03.txt", "other", domain="law", language="de")
    documents = walk(tmp_path, source(raw, licence="MIT"), other).ingest()
    held = rows(documents, DOCUMENTS)
    expected = [text for i in range(12) for text in (f"line {i}", f"next {i}", f"whole file {i}")]
    assert [row["text"] for row in held] == [*expected, "whole file 3"]
    assert [row["record_id"] for row in held[3:6]] == ["s/01.jsonl/0", "s/01.jsonl/1", "s/01.txt/0"]
    assert [row["url"] for row in held[3:6]] == ["u1", None, None]
    assert [row["origin"] for row in held[3:6]] == ["unknown", "human", "unknown"]
    last = {name: held[-1][name] for name in ("source", "domain", "licence", "declared_language")}
    assert last == {"source": "other", "domain": "law", "licence": "unknown", "declared_language": "de"}
    counts = documents.facts["sources"]
    assert (counts["s"]["documents"], counts["other"]["documents"]) == (36, 1)
    assert counts["other"]["bytes"] == len("whole file 3")


def test_a_record_says_itself_whether_it_was_verified(tmp_path: Path) -> None:
    said = ["verified", "unverified", "unknown", "surely", None, 5]
    write_jsonl(tmp_path / "raw" / "a.jsonl", [{"text": f"{i}", "verification": v} for i, v in enumerate(said)])
    documents = walk(tmp_path, source(tmp_path / "raw", verification="verified")).ingest()
    found = [row["verification"] for row in rows(documents, DOCUMENTS)]
    assert found == ["verified", "unverified", "unknown", "verified", "verified", "verified"]


@pytest.mark.long
def test_a_hundred_thousand_tiny_files_are_read_and_every_tenth_is_set_aside(tmp_path: Path) -> None:
    for folder in range(100):
        (tmp_path / "raw" / f"{folder:02d}").mkdir(parents=True)
        for i in range(1000):
            data = b"\xff" if i % 10 == 0 else b"file %d of %d" % (i, folder)
            (tmp_path / "raw" / f"{folder:02d}" / f"{i:03d}.txt").write_bytes(data)
    documents = walk(tmp_path, source(tmp_path / "raw"), target_shard_bytes=10_000_000).ingest()
    assert documents.facts["documents"] == 90_000
    assert documents.facts["quarantined"] == {"not_utf8": 10_000}


def test_the_list_of_bad_records_is_capped_and_the_count_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raytrain.corpus.ingest.LISTED_PER_UNIT", 5)
    write_jsonl(tmp_path / "raw" / "a.jsonl", [*({"body": "x"} for _ in range(20)), "good"])
    documents = walk(tmp_path, source(tmp_path / "raw")).ingest()
    assert documents.facts["quarantined"] == {"missing_text": 20}
    assert len(rows(documents, QUARANTINE)) == 5


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"body": "x"}\n', r"gave no document \(1 missing_text\); set sources\[1\].text_field"),
        ("a.txt", b"\xff\xff", r"gave no document \(1 not_utf8\); convert it to UTF-8"),
        ("a.txt", b"x" * 60_000, r"1 oversize\); raise corpus.max_document_bytes"),
        ("a.parquet", b"PAR1", r"1 broken_stream\); fetch the file again"),
        ("a.jsonl", b"a,b\n1,2\n", r"2 bad_json\); set sources\[1\].format"),
        ("a.jsonl", b" \n \n", r"every file is empty"),
    ],
)
def test_a_source_that_gives_no_document_is_an_error_with_a_remedy(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    write_jsonl(tmp_path / "good" / "a.jsonl", ["good"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / name).write_bytes(data)
    with pytest.raises(UserError, match=r"sources\[1\] \(bad\): .*" + message):
        walk(tmp_path, source(tmp_path / "good", "good"), source(tmp_path / "bad", "bad")).ingest()


@pytest.mark.parametrize("longer", [True, False])
def test_a_file_that_changes_under_the_reader_is_noticed(tmp_path: Path, longer: bool) -> None:
    path = write_jsonl(tmp_path / "raw" / "a.jsonl", ["one"])

    def late(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        path.write_text(path.read_text() * 2 if longer else path.read_text().upper())
        os.utime(path, (1, 1))  # however coarse the clock
        return [work(task) for task in tasks]

    walking = walk(tmp_path, source(tmp_path / "raw"))
    walking.engine = late
    with pytest.raises(UserError, match="changed while it was read"):
        walking.ingest()


def test_the_identity_of_documents_names_what_makes_text_of_their_files() -> None:
    files = [SourceFile("s", f"file:///{form}", form, 1, "", form) for form in ("jsonl", "html", "epub", "pdf")]
    plain, strict = Source(name="s", uri="x"), Source(name="s", uri="x", extractor="trafilatura")
    assert readers_of(files[:1], [strict]) == {}
    assert list(readers_of(files[1:2], [plain])) == ["reader:resiliparse"]
    assert list(readers_of(files[1:], [strict])) == ["reader:pypdfium2", "reader:resiliparse", "reader:trafilatura"]
    assert list(readers_of(files[2:3], [strict])) == ["reader:resiliparse"]


@pytest.mark.parametrize(("form", "told"), [("NFC", True), ("NFKC", True), ("none", False)])
def test_unicodes_version_is_part_of_the_identity_where_it_decides(form: str, told: bool) -> None:
    assert ("unicode" in config_of(corpus(normalise={"form": form}), [])["normalise"]) == told


def test_any_engine_gives_the_same_documents_bit_by_bit(tmp_path: Path) -> None:
    for i in range(6):
        write_jsonl(tmp_path / "raw" / f"{i}.jsonl", [prose.document(100 * i + n, 8) for n in range(15)])

    def backwards(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        done = {i: work(task) for i, task in reversed(list(enumerate(tasks)))}
        return [done[i] for i in range(len(tasks))]

    def threads(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(work, tasks))

    made = []
    for i, engine in enumerate([backwards, threads, None]):
        walking = walk(tmp_path / str(i), source(tmp_path / "raw"))
        walking.engine = engine or walking.engine
        made.append(walking.ingest().manifest)
    assert made[0]["sha256"] == made[1]["sha256"] == made[2]["sha256"]
    assert made[0]["artifact_id"] == made[1]["artifact_id"]


def test_work_that_dies_halfway_is_taken_up_where_it_stopped(tmp_path: Path) -> None:
    for i in range(6):
        write_jsonl(tmp_path / "raw" / f"{i}.jsonl", [prose.document(100 * i + n, 8) for n in range(30)])
    whole = walk(tmp_path / "whole", source(tmp_path / "raw")).ingest()
    walking = walk(tmp_path / "broken", source(tmp_path / "raw"))

    def dies(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        for task in tasks[:3]:
            work(task)
        raise ConnectionError("the store is gone")

    walking.engine = dies
    with pytest.raises(ConnectionError):
        walking.ingest()
    left = set(walking.store.keys("documents"))
    walking.engine = lambda work, tasks, label: [work(task) for task in tasks]
    again = walking.ingest()
    assert again.manifest["sha256"] == whole.manifest["sha256"]
    assert left < set(walking.store.keys("documents"))
    kept = {entry["key"] for shard in again.shards for entry in shard["objects"].values()}
    assert {key for key in left if key.endswith(".parquet")} <= kept
