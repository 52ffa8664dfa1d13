from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.store import Store, journal
from raytrain.store.journal import START, Journal, read_journal


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


def said(store: Store) -> list[str]:
    return [line.text for line in read_journal(store, "r", START)[0]]


def test_lines_come_back_in_order_over_attempts(store: Store) -> None:
    for attempt in (1, 2):
        book = Journal(store, "r", attempt)
        book.say(f"attempt {attempt} begins\nwith a second line — and é")
        book.say("")
        book.close()
    assert said(store) == [
        "attempt 1 begins\nwith a second line — and é",
        "",
        "attempt 2 begins\nwith a second line — and é",
        "",
    ]


def test_full_segments_are_not_touched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 200)
    book = Journal(store, "r", 1)
    for n in range(30):
        book.say(f"line {n}")
        book._write()
    first = store.get("runs/r/logs/00001/00000000.jsonl")
    book.say("one more")
    book.close()
    assert store.get("runs/r/logs/00001/00000000.jsonl") == first
    assert said(store) == [*(f"line {n}" for n in range(30)), "one more"]


@given(pauses=st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_a_reader_that_goes_on_sees_each_line_once(tmp_path_factory: pytest.TempPathFactory, pauses: list[int]) -> None:
    store = Store(str(tmp_path_factory.mktemp("j")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal, "SEGMENT_BYTES", 150)
        book, cursor, seen, expected = Journal(store, "r", 3), START, [], []
        for turn, lines in enumerate(pauses):
            for n in range(lines):
                expected.append(f"{turn}.{n}")
                book.say(expected[-1])
            book._write()
            new, cursor = read_journal(store, "r", cursor)
            seen += [line.text for line in new]
        book.close()
        new, _ = read_journal(store, "r", cursor)
    assert seen + [line.text for line in new] == expected


def test_a_store_that_fails_for_a_while_loses_no_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Journal(store, "r", 1)
    failing = threading.Event()
    failing.set()
    replace = store.replace

    def sometimes(key: str, data: bytes) -> None:
        if failing.is_set():
            raise OSError("away")
        replace(key, data)

    monkeypatch.setattr(store, "replace", sometimes)
    book.say("first")
    book._write()
    failing.clear()
    book.close()
    assert said(store) == ["first"]
