from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.ledger import PHASES, account


class Book:
    """Writes events as the writers would."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def add(self, kind: str, ts: float, attempt: int = 1, writer: str = "w", node: str = "n", **fields: Any) -> None:
        seq = len(self.events) + 1
        self.events.append(
            {"seq": seq, "ts": ts, "attempt": attempt, "writer": writer, "node": node, "kind": kind, **fields}
        )

    def step(self, step: int, start: float, end: float, **more: Any) -> None:
        self.add("step", end, step=step, value={"seconds": end - start, "tokens": 10, "loss": 1.0}, **more)

    def phase(self, name: str, start: float, end: float, **more: Any) -> None:
        self.add("phase", end, phase=name, value={"start": start, "end": end}, **more)


def test_phases_sum_to_elapsed_and_the_finer_phase_wins() -> None:
    book = Book()
    book.add("node_up", 0)
    book.add("price", 0, value={"usd_per_hour": 3.6})
    book.phase("provision", 0, 100)
    book.phase("setup", 10, 20)
    for s in range(1, 6):
        book.step(s, 20 + 10 * s - 10, 20 + 10 * s)
    book.phase("checkpoint_save", 70, 75)
    book.add("node_down", 100)
    books = account(book.events)
    assert books.phases["step"] == pytest.approx(50)
    assert books.phases["setup"] == pytest.approx(10)
    assert books.phases["checkpoint_save"] == pytest.approx(5)
    assert books.phases["provision"] == pytest.approx(35)
    assert sum(books.phases.values()) == pytest.approx(books.elapsed_seconds) == pytest.approx(100)
    assert books.goodput == pytest.approx(0.5)
    assert books.cost_usd == pytest.approx(0.1)


def test_steps_taken_again_are_wasted_and_the_gap_is_recovery() -> None:
    book = Book()
    book.add("node_up", 0)
    book.add("restore", 0, step=0, value={})
    for s in range(1, 5):
        book.step(s, s - 1.0, s)
    book.add("restore", 10, step=2, value={})
    for s in range(3, 5):
        book.step(s, 7 + s, 8 + s)
    book.add("node_down", 12)
    books = account(book.events)
    assert books.phases["wasted"] == pytest.approx(2)
    assert books.phases["step"] == pytest.approx(4)
    assert books.phases["recovery"] == pytest.approx(6)
    assert sorted(books.surviving_steps) == [1, 2, 3, 4]
    assert books.tokens_processed == 60
    assert sum(books.phases.values()) == pytest.approx(12)


def test_a_superseded_writer_cannot_undo_its_successor() -> None:
    book = Book()
    book.step(1, 0, 1)
    book.add("restore", 5, attempt=2, step=0, value={})
    book.step(1, 5, 6, attempt=2)
    book.step(2, 6, 8, attempt=1)  # the paused one wakes up
    book.step(2, 6, 7, attempt=2)
    books = account(book.events)
    assert {e["attempt"] for e in books.surviving_steps.values()} == {2}


def test_a_price_change_splits_the_bill() -> None:
    book = Book()
    book.add("node_up", 0)
    book.add("price", 0, value={"usd_per_hour": 1.0})
    book.add("price", 1800, value={"usd_per_hour": 3.0})
    book.add("node_down", 3600)
    assert account(book.events).cost_usd == pytest.approx(2.0)


def test_two_nodes_are_paid_for_each() -> None:
    book = Book()
    for node in ("a", "b"):
        book.add("node_up", 0, node=node)
        book.add("price", 0, node=node, value={"usd_per_hour": 36.0})
        book.add("node_down", 100, node=node)
    books = account(book.events)
    assert books.cost_usd == pytest.approx(2.0)
    assert books.elapsed_seconds == pytest.approx(200)


def test_an_empty_ledger_is_an_empty_account() -> None:
    assert account([]).goodput == 0.0


@st.composite
def ledgers(draw: st.DrawFn) -> list[dict[str, Any]]:
    book = Book()
    step = 0
    t = 0.0
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        node = draw(st.sampled_from("ab"))
        t += draw(st.floats(0, 5))
        book.add("node_up", t, attempt=attempt, node=node)
        book.add("price", t, attempt=attempt, node=node, value={"usd_per_hour": draw(st.floats(0, 9))})
        step = draw(st.integers(0, step))
        book.add("restore", t, attempt=attempt, node=node, step=step, value={})
        for _ in range(draw(st.integers(0, 6))):
            width = draw(st.floats(0.01, 3))
            if draw(st.booleans()):
                step += 1
                book.step(step, t, t + width, attempt=attempt, node=node)
            else:
                book.phase(draw(st.sampled_from(PHASES)), t, t + width, attempt=attempt, node=node)
            t += width * draw(st.floats(0.5, 1.5))
    return book.events


@given(ledgers(), st.randoms())
def test_time_is_neither_lost_nor_counted_twice(events: list[dict[str, Any]], random: Any) -> None:
    books = account(events)
    assert sum(books.phases.values()) == pytest.approx(books.elapsed_seconds, abs=1e-6)
    assert 0 <= books.goodput <= 1
    shuffled = [*events, *events[: len(events) // 2]]
    random.shuffle(shuffled)
    again = account(shuffled)
    assert again.phases == pytest.approx(books.phases)
    assert again.cost_usd == pytest.approx(books.cost_usd)
