"""The tally is the account, event by event: it never falls and ends at the same figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.ledger import Tally, account

from .test_account import Book


def folded(events: Iterable[Mapping[str, Any]]) -> Tally:
    tally = Tally()
    for event in events:
        tally.fold(event)
    return tally


class Driven(Book):
    """A book as drivers and leaders write it: a driver holds node a, groups of workers come and go on any nodes."""

    def driver(self, ts: float, attempt: int, usd: float = 3.6) -> None:
        more = {"attempt": attempt, "node": "a", "writer": f"driver-{attempt}"}
        self.add("node_up", ts, value={"market": "spot", "instance": "i"}, **more)
        self.add("price", ts, value={"usd_per_hour": usd, "source": "recipe", "watts": 100.0}, **more)

    def end(self, ts: float, attempt: int) -> None:
        self.add("node_down", ts, attempt=attempt, node="a", writer=f"driver-{attempt}")

    def group(self, ts: float, attempt: int, n: int, nodes: str, restored: int, usd: float = 3.6) -> float:
        """A group of workers starts; returns the time at which it is ready to step."""
        for node in nodes:
            more = {"attempt": attempt, "node": node, "writer": f"rank-{attempt}-{n}-{node}"}
            self.add("node_up", ts, **more)
            self.add("price", ts, value={"usd_per_hour": usd}, **more)
            self.phase("setup", ts, ts + 2, **more)
        first = {"attempt": attempt, "node": nodes[0], "writer": f"rank-{attempt}-{n}-{nodes[0]}"}
        self.phase("checkpoint_restore", ts + 2.5, ts + 3, **first)
        self.add("restore", ts + 3, step=restored, value={"workers": len(nodes)}, **first)
        return ts + 3.5

    def steps(self, ts: float, attempt: int, n: int, nodes: str, first: int, seconds: list[float]) -> float:
        for offset, took in enumerate(seconds):
            ts += took
            for node in nodes:
                value: dict[str, Any] = {"seconds": took, "data_wait": 0.0, "tokens": 10 if node == nodes[0] else 0}
                value |= {"loss": 1.0} if node == nodes[0] else {}
                more = {"attempt": attempt, "node": node, "writer": f"rank-{attempt}-{n}-{node}"}
                self.add("step", ts, step=first + offset, value=value, **more)
        return ts

    def leave(self, ts: float, attempt: int, n: int, nodes: str) -> None:
        for node in nodes:
            self.add("node_down", ts, attempt=attempt, node=node, writer=f"rank-{attempt}-{n}-{node}")


def resized() -> Driven:
    """Two nodes become one by a crash; three steps are lost."""
    book = Driven()
    book.driver(0, 1)
    t = book.steps(book.group(5, 1, 1, "ab", 0), 1, 1, "ab", 1, [1.0] * 10)
    t = book.steps(book.group(t + 20, 1, 2, "a", 7), 1, 2, "a", 8, [2.0] * 5)
    book.leave(t + 1, 1, 2, "a")
    book.end(t + 2, 1)
    return book


def test_steps_taken_again_move_to_wasted_and_the_gap_to_recovery() -> None:
    tally = folded(resized().events)
    assert tally.seconds["step", "spot"] == pytest.approx(30)
    assert tally.reassigned["step", "wasted"] == pytest.approx(6)  # three steps on two nodes
    assert tally.reassigned["provision", "recovery"] == pytest.approx(20.5)
    assert tally.lost_steps == 3
    assert tally.tokens_processed == 150 and tally.tokens_surviving == 120
    assert not any(node.up for node in tally.nodes.values())


def test_a_node_that_died_silently_is_no_longer_paid_after_the_restart() -> None:
    events = resized().events
    restart = next(i for i, e in enumerate(events) if e["kind"] == "restore" and e["step"] == 7)
    tally = folded(events[: restart + 1])
    assert tally.nodes["a"].up and not tally.nodes["b"].up
    assert tally.usd_per_hour == pytest.approx(3.6)


def test_energy_is_the_owned_node_s_power_over_its_time() -> None:
    book = Driven()
    book.driver(0, 1)
    book.end(50, 1)
    assert folded(book.events).joules == pytest.approx(5000)


def test_a_driver_on_its_own_node_is_paid_for_while_others_train() -> None:
    book = Driven()
    book.driver(0, 1)
    t = book.steps(book.group(5, 1, 1, "b", 0), 1, 1, "b", 1, [10.0] * 20)
    tally = folded(book.events)
    assert tally.seconds["provision", "spot"] == pytest.approx(t - 60)


def test_a_superseded_writer_s_steps_are_lost_ones() -> None:
    book = Driven()
    book.driver(0, 1)
    t = book.steps(book.group(0, 1, 1, "b", 0), 1, 1, "b", 1, [1.0] * 3)
    book.driver(t, 2)
    t = book.steps(book.group(t, 2, 2, "a", 2), 2, 2, "a", 3, [1.0])
    book.steps(t, 1, 1, "b", 4, [1.0])  # the paused one wakes up
    tally = folded(book.events)
    assert tally.lost_steps == 2
    assert tally.tokens_surviving == 30


@st.composite
def lives(draw: st.DrawFn) -> list[dict[str, Any]]:
    book, t, step = Driven(), 0.0, 0
    widths = st.floats(0.01, 30)
    for attempt in range(1, draw(st.integers(1, 3)) + 1):
        t += draw(widths)
        book.driver(t, attempt)
        for n in range(1, draw(st.integers(1, 3)) + 1):
            nodes = draw(st.sampled_from(["a", "ab", "ba"]))
            restored = draw(st.integers(0, step))
            t = book.group(t + draw(widths), attempt, n, nodes, restored)
            took = draw(st.lists(widths, max_size=5))
            t = book.steps(t, attempt, n, nodes, restored + 1, took)
            step = restored + len(took)
            if draw(st.booleans()):
                book.leave(t, attempt, n, nodes)
        if draw(st.booleans()):
            t += draw(widths)
            book.end(t, attempt)
    return book.events


@given(lives())
def test_accrued_and_reassigned_time_make_the_account(events: list[dict[str, Any]]) -> None:
    tally, books = folded(events), account(events)
    assert sum(tally.phases.values()) == pytest.approx(books.elapsed_seconds, abs=1e-6)
    for phase, seconds in books.phases.items():
        assert tally.phases.get(phase, 0.0) == pytest.approx(seconds, abs=1e-6), phase
    assert sum(tally.usd.values()) == pytest.approx(books.cost_usd, abs=1e-9)
    assert tally.goodput == pytest.approx(books.goodput, abs=1e-6)
    assert tally.tokens_processed == books.tokens_processed
    assert tally.tokens_surviving == sum(e["value"]["tokens"] for e in books.surviving_steps.values())


@given(lives())
def test_nothing_ever_falls(events: list[dict[str, Any]]) -> None:
    tally, before = Tally(), {}
    for event in events:
        tally.fold(event)
        now = {
            **tally.seconds,
            **{("moved", *k): v for k, v in tally.reassigned.items()},
            "usd": sum(tally.usd.values()),
        }
        now |= {"tokens": tally.tokens_processed, "joules": tally.joules, "lost": tally.lost_steps}
        assert all(now[key] >= value for key, value in before.items())
        before = now
