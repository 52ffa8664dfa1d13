from __future__ import annotations

import os
import threading
import uuid
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from raytrain.errors import UserError
from raytrain.store import Store
from raytrain.store.uri import walk_files


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(str(tmp_path / "s") if request.param == "file" else f"memory://{uuid.uuid4().hex}")


def test_a_key_has_one_winner(store: Store) -> None:
    assert store.put_if_absent("a/b", b"1")
    assert not store.put_if_absent("a/b", b"2")
    assert store.get("a/b") == b"1"
    with pytest.raises(FileExistsError):
        store.put("a/b", b"3")


def test_of_many_writers_exactly_one_wins(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    won: list[int] = []

    def write(n: int) -> None:
        if store.put_if_absent("race", str(n).encode()):
            won.append(n)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(won) == 1
    assert store.get("race") == str(won[0]).encode()


def test_listing_is_sorted_and_relative(store: Store) -> None:
    for key in ("x/2", "x/1", "x/y/3", "z"):
        store.put(key, b"")
    assert store.keys("x") == ["x/1", "x/2", "x/y/3"]
    assert store.keys("nothing") == []
    assert store.folders("x") == ["y"]


def test_replace_changes_a_whole_object(store: Store) -> None:
    store.replace("k", b"1")
    store.replace("k", b"22")
    assert store.get("k") == b"22"
    store.delete("k")
    store.delete("k")
    assert not store.exists("k")
    with pytest.raises(FileNotFoundError):
        store.get("k")


def test_a_replacement_that_fails_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError):
        Store(str(tmp_path)).replace("taken", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_sound_store_passes_its_probe_and_keeps_nothing_of_it(store: Store) -> None:
    store.probe()
    assert store.keys(".probe") == []


def test_a_store_that_ignores_put_if_absent_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(f"memory://{uuid.uuid4().hex}")
    plain = MemoryFileSystem.pipe_file
    monkeypatch.setattr(
        MemoryFileSystem, "pipe_file", lambda self, path, value, mode="overwrite": plain(self, path, value)
    )
    with pytest.raises(UserError, match="put-if-absent"):
        store.probe()


def test_an_unwritable_store_is_one_line() -> None:
    with pytest.raises(UserError):
        Store("/proc/nowhere").probe()
    with pytest.raises(UserError, match="nosuch"):
        Store("nosuch://x")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    store = Store(str(tmp_path))
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(UserError, match="no space left"):
        store.put("a", b"1")
    assert store.keys("") == []
    assert not list(tmp_path.iterdir())


def test_walk_files_takes_files_folders_and_globs(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert [r[1] for r in walk_files(str(tmp_path))] == ["a.txt", "b.txt", "sub/c.txt"]
    assert [r[1] for r in walk_files(str(tmp_path / "a.txt"))] == ["a.txt"]
    assert [r[1] for r in walk_files(str(tmp_path / "*.txt"))] == ["a.txt", "b.txt"]
    with pytest.raises(UserError, match="no such file"):
        walk_files(str(tmp_path / "none"))
