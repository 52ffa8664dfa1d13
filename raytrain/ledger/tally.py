"""The account as it accrues: folded event by event, for counters that must never fall.

`account` looks back and may change its mind about a moment; a tally may not. It gives each second of a node to a
phase once, when a worker's word or the driver's end shows what it was, and notes a later change of mind beside it as
reassigned: step time that a restore made worthless, filler time that turns out to have been recovery. The
invariant: accrued plus reassigned is the account, and neither ever falls, whatever the size of the batches in which
the events arrive. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STEP, WASTED, RECOVERY, PROVISION, IDLE = "step", "wasted", "recovery", "provision", "idle"
DRIVER_LAG_SECONDS = 60.0  # far beyond the time in which an event reaches the store


@dataclass
class Node:
    """A node's place in its own time. Times are Unix seconds."""

    attempt: int
    settled: float
    usd_per_hour: float = 0.0
    driver: str | None = None
    """The driver that sits here: while it does, time that nobody names is provision, not idle."""
    worker: str | None = None
    """The writer that speaks for the workers here, and since when."""
    since: float = 0.0
    stepped: bool = False
    filler: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds since the last step that nobody has named."""

    @property
    def up(self) -> bool:
        return self.driver is not None or self.worker is not None


@dataclass(frozen=True, slots=True)
class Taken:
    """A step as it was taken on one node; a run holds many."""

    node: str
    attempt: int
    seconds: float
    usd: float
    tokens: int
    counts: bool
    """This is the event that carries the loss."""


class Tally:
    """Running totals of one run. Seconds are node seconds, money is US dollars, energy is joules."""

    def __init__(self) -> None:
        self.seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
        """By (phase, market)."""
        self.reassigned: defaultdict[tuple[str, str], float] = defaultdict(float)
        """Seconds by (from, to)."""
        self.usd: defaultdict[str, float] = defaultdict(float)
        """By market."""
        self.unproductive_usd: defaultdict[str, float] = defaultdict(float)
        """By phase: all but step, and the steps that were wasted."""
        self.joules = 0.0
        """By the power that the driver's price names, on every node of the run."""
        self.watts: float | None = None
        self.tokens_processed = self.tokens_surviving = 0
        self.lost_steps = 0
        self.market = ""
        self.nodes: dict[str, Node] = {}
        self._taken: dict[int, list[Taken]] = {}
        self._leg = (0, 0)  # (attempt, restored step)
        self._last_step = 0.0

    def fold(self, event: Mapping[str, Any]) -> None:
        """Takes one event in. Events of a writer come in its order, those of a batch by time."""
        node = self._node(event)
        ts, kind, value = float(event["ts"]), event["kind"], event.get("value") or {}
        present = event["attempt"] == node.attempt
        if kind == "node_up":
            self._up(event["writer"], node, present, ts, value)
        elif kind == "node_down":
            self._down(event, node, present, ts)
        elif kind == "price":
            self._price(node, present, ts, value)
        elif kind == "phase":
            if present:
                self._settle(node, float(value["start"]))
                self._settle(node, float(value["end"]), event["phase"])
        elif kind == "step":
            self._step(event, node, present, ts, value)
        elif kind == "restore":
            self._restore(event, node, present, ts)

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase as they stand after every change of mind: those of `account`."""
        corrected: defaultdict[str, float] = defaultdict(float)
        for (phase, _), seconds in self.seconds.items():
            corrected[phase] += seconds
        for (old, new), seconds in self.reassigned.items():
            corrected[old] -= seconds
            corrected[new] += seconds
        return dict(corrected)

    @property
    def goodput(self) -> float:
        """Step time that counts over all settled time, 0 to 1."""
        phases = self.phases
        total = sum(phases.values())
        return phases.get(STEP, 0.0) / total if total else 0.0

    @property
    def usd_per_hour(self) -> float:
        """What the nodes that are up cost now."""
        return sum(n.usd_per_hour for n in self.nodes.values() if n.up)

    def _node(self, event: Mapping[str, Any]) -> Node:
        name, attempt, ts = event["node"], int(event["attempt"]), float(event["ts"])
        node = self.nodes.get(name)
        if node is None:
            node = self.nodes[name] = Node(attempt, ts)
        elif attempt > node.attempt:  # between two attempts a node is not paid for
            node.attempt, node.settled = attempt, max(node.settled, ts)
            node.driver = node.worker = None
        return node

    def _up(self, writer: str, node: Node, present: bool, ts: float, value: Mapping[str, Any]) -> None:
        if value:
            self.market = str(value["market"])
        if not present:
            return
        self._settle(node, ts)
        if value:
            node.driver = writer
        else:
            node.worker, node.since = writer, ts

    def _down(self, event: Mapping[str, Any], node: Node, present: bool, ts: float) -> None:
        if not present:
            return
        self._settle(node, ts)
        if event["writer"] == node.worker:
            node.worker = None
        elif event["writer"] == node.driver:  # with the driver the attempt ends, also on nodes that died silently
            node.driver = None
            for other in self.nodes.values():
                if other.attempt <= node.attempt:
                    other.worker = None

    def _price(self, node: Node, present: bool, ts: float, value: Mapping[str, Any]) -> None:
        if not present:
            return
        if node.usd_per_hour and node.usd_per_hour != value["usd_per_hour"]:
            self._settle(node, ts)
        node.usd_per_hour = float(value["usd_per_hour"])
        if "watts" in value:
            self.watts = float(value["watts"])

    def _step(self, event: Mapping[str, Any], node: Node, present: bool, ts: float, value: Mapping[str, Any]) -> None:
        seconds = usd = 0.0
        if present:
            self._settle(node, ts - float(value["seconds"]))
            seconds, usd = self._settle(node, ts, STEP)
            node.stepped = True
            node.filler.clear()
        tokens, number = int(value["tokens"]), int(event["step"])
        self.tokens_processed += tokens
        taken = Taken(event["node"], int(event["attempt"]), seconds, usd, tokens, "loss" in value)
        if taken.attempt < self._leg[0] and number > self._leg[1]:  # a paused writer woke up after its successor began
            self._waste(taken)
            return
        self._last_step = max(self._last_step, ts)
        if taken.counts:
            self._settle_drivers(taken.attempt, ts - DRIVER_LAG_SECONDS)
        self.tokens_surviving += tokens
        there = self._taken.setdefault(number, [])
        for before in [t for t in there if t.node == taken.node]:
            there.remove(before)
            self.tokens_surviving -= before.tokens
            self._waste(before)
        there.append(taken)

    def _restore(self, event: Mapping[str, Any], node: Node, present: bool, ts: float) -> None:
        restored = int(event["step"])
        if int(event["attempt"]) >= self._leg[0]:
            self._leg = (int(event["attempt"]), restored)
            for number in [n for n in self._taken if n > restored]:
                for taken in self._taken.pop(number):
                    self.tokens_surviving -= taken.tokens
                    self._waste(taken)
            for other in self.nodes.values():  # a group that restarts leaves behind the nodes that died
                if other.since < self._last_step:
                    other.worker = None
        if not present:
            return
        self._settle(node, ts)
        if node.stepped:
            for phase, seconds in node.filler.items():
                self.reassigned[phase, RECOVERY] += seconds
        node.filler.clear()

    def _settle_drivers(self, attempt: int, until: float) -> None:
        """A driver on a node of its own says nothing while others train; workers that come to it speak up sooner."""
        for node in self.nodes.values():
            if node.driver is not None and node.worker is None and node.attempt == attempt:
                self._settle(node, until)

    def _waste(self, taken: Taken) -> None:
        self.reassigned[STEP, WASTED] += taken.seconds
        self.unproductive_usd[WASTED] += taken.usd
        self.lost_steps += taken.counts

    def _settle(self, node: Node, until: float, phase: str | None = None) -> tuple[float, float]:
        """Gives a node's time up to `until` to a phase, or to what unnamed time is there; seconds and dollars of it."""
        seconds = until - node.settled
        if seconds <= 0:
            return 0.0, 0.0
        node.settled = until
        usd = seconds / 3600 * node.usd_per_hour
        if phase is None:
            phase = PROVISION if node.driver is not None else IDLE
            node.filler[phase] += seconds
        self.seconds[phase, self.market] += seconds
        self.usd[self.market] += usd
        if phase != STEP:
            self.unproductive_usd[phase] += usd
        self.joules += seconds * (self.watts or 0.0)
        return seconds, usd
