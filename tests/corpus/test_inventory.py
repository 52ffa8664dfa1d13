"""What the sources hold, and the identity that follows from it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from raytrain.corpus import inventory as module
from raytrain.corpus.inventory import format_of, inventory, source_ids
from raytrain.corpus.section import Source
from raytrain.errors import UserError
from raytrain.store import Store
from tests.corpus.walk import silent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def test_files_come_in_the_order_of_sources_and_paths(tmp_path: Path, store: Store) -> None:
    one = folder(tmp_path / "one", {"b.jsonl": b"{}", "a/z.txt": b"z", "a/b.html": b"<p>"})
    two = folder(tmp_path / "two", {"x.jsonl.gz": gzip.compress(b"{}", mtime=0)})
    files = inventory([Source(name="two", uri=str(two)), Source(name="one", uri=str(one))], store, silent)
    assert [(f.source, f.path, f.format) for f in files] == [
        ("two", "x.jsonl.gz", "jsonl"),
        ("one", "a/b.html", "html"),
        ("one", "a/z.txt", "txt"),
        ("one", "b.jsonl", "jsonl"),
    ]


def test_an_identity_does_not_know_where_files_lie_or_when_they_were_written(tmp_path: Path, store: Store) -> None:
    files = {"a.txt": b"one", "sub/b.txt": b"two"}
    here, there = folder(tmp_path / "here", files), folder(tmp_path / "far" / "there", files)
    os.utime(there / "a.txt", (1, 1))
    ids = [source_ids(inventory([Source(name="s", uri=str(at))], store, silent)) for at in (here, there)]
    assert ids[0] == ids[1]
    (there / "a.txt").write_bytes(b"0ne")
    assert source_ids(inventory([Source(name="s", uri=str(there))], store, silent)) != ids[0]


def test_hashes_are_remembered(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(name="s", uri=str(folder(tmp_path / "s", {"a.txt": b"one", "b.txt": b"two"})))
    first = inventory([source], store, silent)
    hashed: list[str] = []
    real = module._sha256
    monkeypatch.setattr(module, "_sha256", lambda uri: hashed.append(uri) or real(uri))  # type: ignore[func-returns-value]
    assert inventory([source], store, silent) == first
    assert hashed == []
    os.utime(tmp_path / "s" / "a.txt", (1, 1))
    assert inventory([source], store, silent) == first
    assert [Path(uri).name for uri in hashed] == ["a.txt"]


def test_a_damaged_cache_is_made_anew(tmp_path: Path, store: Store) -> None:
    source = Source(name="s", uri=str(folder(tmp_path / "s", {"a.txt": b"one"})))
    first = inventory([source], store, silent)
    for key in store.keys("cache"):
        store.replace(key, b"{half")
    assert inventory([source], store, silent) == first


def test_files_of_unknown_format_are_passed_over_and_named_in_passing(tmp_path: Path, store: Store) -> None:
    source = Source(name="s", uri=str(folder(tmp_path / "s", {"a.txt": b"one", "README.md": b"#", ".hidden.txt": b""})))
    said: list[str] = []
    assert [f.path for f in inventory([source], store, said.append)] == ["a.txt"]
    assert said == ["s: 1 files of unknown format are passed over"]


def test_a_given_format_takes_every_file(tmp_path: Path, store: Store) -> None:
    source = Source(name="s", uri=str(folder(tmp_path / "s", {"part-00000": b"{}"})), format="jsonl")
    assert [f.format for f in inventory([source], store, silent)] == ["jsonl"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, r"sources\[0\] \(s\): .*nothing in it; correct its uri"),
        ({"a.bin": b"x"}, r"sources\[0\] \(s\): .*none of a known format.*set sources\[0\].format"),
        ({"a.txt": b"", "b.txt": b""}, r"sources\[0\] \(s\): every file of .* is empty"),
    ],
)
def test_a_source_without_text_is_refused_before_any_work(
    tmp_path: Path, store: Store, files: dict[str, bytes], expected: str
) -> None:
    root = folder(tmp_path / "s", files)
    root.mkdir(exist_ok=True)
    with pytest.raises(UserError, match=expected):
        inventory([Source(name="s", uri=str(root))], store, silent)


def test_a_source_that_is_not_there_or_of_no_known_kind_is_refused(tmp_path: Path, store: Store) -> None:
    for uri in (str(tmp_path / "absent"), "nosuchprotocol://x/y"):
        with pytest.raises(UserError, match=r"sources\[0\] \(s\)"):
            inventory([Source(name="s", uri=uri)], store, silent)


def test_names_are_unique_and_there_is_at_least_one(tmp_path: Path, store: Store) -> None:
    source = Source(name="s", uri=str(folder(tmp_path / "s", {"a.txt": b"x"})))
    with pytest.raises(UserError, match=r"sources\[1\].name: 's' is taken by sources\[0\]"):
        inventory([source, source], store, silent)
    with pytest.raises(UserError, match="sources: none given"):
        inventory([], store, silent)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.jsonl", "jsonl"),
        ("a.JSONL.GZ", "jsonl"),
        ("x/y.ndjson.zst", "jsonl"),
        ("a.parquet", "parquet"),
        ("a.txt.gz", "txt"),
        ("a.htm", "html"),
        ("LICENSE", None),
        ("txt", None),
        ("a.jsonl.bak", None),
    ],
)
def test_format_by_name(path: str, expected: str | None) -> None:
    assert format_of(path) == expected
