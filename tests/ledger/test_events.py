from __future__ import annotations

import time
from pathlib import Path

import pytest

from raytrain.ledger import Ledger, LedgerReader, read_events
from raytrain.store import Store


def test_events_come_back_once_in_order(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    a, b = (Ledger(store, "r", 1, w, "node") for w in ("a", "b"))
    a.event("step", ts=2.0, step=1, value={})
    b.event("node_up", ts=1.0)
    a.flush()
    a.event("step", ts=3.0, step=2, value={})
    a.close()
    b.close()
    assert [(e["writer"][0], e["ts"]) for e in read_events(store, "r")] == [("b", 1.0), ("a", 2.0), ("a", 3.0)]


def test_a_worker_that_takes_anothers_place_overwrites_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for ts in (1.0, 2.0):
        ledger = Ledger(store, "r", 1, "rank-00000", "node")
        ledger.event("step", ts=ts)
        ledger.close()
        time.sleep(0.002)
    assert [e["ts"] for e in read_events(store, "r")] == [1.0, 2.0]


def test_a_failed_flush_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    ledger = Ledger(store, "r", 1, "a", "node")
    ledger.event("step", ts=1.0)
    with monkeypatch.context() as m:
        m.setattr(Store, "put_if_absent", lambda *_: (_ for _ in ()).throw(ConnectionError()))
        with pytest.raises(ConnectionError):
            ledger.flush()
    ledger.event("step", ts=2.0)
    ledger.close()
    assert [e["ts"] for e in read_events(store, "r")] == [1.0, 2.0]


def test_a_torn_segment_gives_what_is_whole(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ledger = Ledger(store, "r", 1, "a", "node")
    ledger.event("step", ts=1.0)
    ledger.close()
    key = store.keys("runs/r/ledger")[0]
    store.replace(key, store.get(key) + b'{"seq": 2, "ts"')
    assert len(read_events(store, "r")) == 1


def test_a_follower_reads_each_event_once_and_asks_only_for_what_is_new(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    asked: list[str] = []
    get = store.get
    store.get = lambda key: asked.append(key) or get(key)  # type: ignore[method-assign, func-returns-value]
    ledger, reader = Ledger(store, "r", 1, "rank-00000", "n"), LedgerReader(store, "r")
    seen = []
    for step in range(1, 21):
        ledger.event("step", step=step)
        ledger.flush()
        seen += [e["step"] for e in reader.news()]
    assert seen == list(range(1, 21))
    asked.clear()
    assert reader.news() == []
    assert len(asked) == 1
    ledger.close()


def test_a_follower_finds_the_writer_that_took_another_s_place(tmp_path: Path) -> None:
    store, kinds = Store(str(tmp_path)), []
    reader = LedgerReader(store, "r")
    for attempt, name in ((1, "driver"), (1, "rank-00000"), (1, "rank-00000"), (2, "driver")):
        ledger = Ledger(store, "r", attempt, name, "n")
        ledger.event(f"{name} {attempt}")
        ledger.close()
        kinds += [e["kind"] for e in reader.news()]
    assert kinds == ["driver 1", "rank-00000 1", "rank-00000 1", "driver 2"]


def test_a_segment_whose_answer_was_lost_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    put, failures = store.put, [True, False]

    def deaf(key: str, data: bytes) -> None:
        arrives = failures.pop() if failures else None
        if arrives is not False:
            put(key, data)
        if arrives is not None:
            raise OSError("no answer")

    store.put = deaf  # type: ignore[method-assign]
    ledger = Ledger(store, "r", 1, "w", "n")
    for step in (1, 2, 3):  # does not arrive; arrives but nobody hears it; is told so
        ledger.event("step", step=step)
        try:
            ledger.flush()
        except OSError:
            pass
    ledger.close()
    assert [e["step"] for e in read_events(store, "r")] == [1, 2, 3]
