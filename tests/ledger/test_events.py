from __future__ import annotations

import time
from pathlib import Path

import pytest

from raytrain.ledger import Ledger, read_events
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
