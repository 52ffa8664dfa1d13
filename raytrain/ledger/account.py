"""From events to accounts: time by phase, goodput, cost. Pure.

Every node's paid time is cut into exclusive phases. Where several writers speak of the same moment, the newer
attempt wins, then the finer phase; where none speaks, the node was idle, or recovering when an attempt died in
between. The invariant: a node's phases sum to its elapsed time.

Goodput follows Google's ML Goodput Measurement: productive step time over all paid time, where steps that a
later attempt had to take again are wasted, not productive.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

PHASES = (
    "provision",
    "setup",
    "compile",
    "data_wait",
    "step",
    "eval",
    "checkpoint_save",
    "checkpoint_restore",
    "wasted",
    "recovery",
    "rescale",
    "idle",
)
_FINER = {phase: rank for rank, phase in enumerate(("idle", "provision", "recovery", "setup", "rescale"))}


@dataclass(frozen=True)
class Account:
    """The books of a run. Seconds are node seconds, money is US dollars."""

    elapsed_seconds: float = 0.0
    phases: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(PHASES, 0.0))
    goodput: float = 0.0
    cost_usd: float = 0.0
    nodes: Mapping[str, float] = field(default_factory=dict)
    surviving_steps: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    tokens_processed: int = 0
    attempts: int = 0


def account(events: Iterable[Mapping[str, Any]]) -> Account:
    """Folds a ledger. Safe on any prefix of it and on events that are repeated or out of order."""
    unique = {(e["attempt"], e["writer"], e["seq"]): e for e in events}
    ordered = sorted(unique.values(), key=lambda e: (e["ts"], e["attempt"], e["writer"], e["seq"]))
    if not ordered:
        return Account()
    surviving, wasted = _lineage(ordered)
    phases = dict.fromkeys(PHASES, 0.0)
    nodes: dict[str, float] = {}
    cost = 0.0
    for node in sorted({e["node"] for e in ordered}):
        mine = [e for e in ordered if e["node"] == node]
        uptime = _uptime(mine)
        spent = _partition(mine, uptime, wasted)
        for phase, seconds in spent.items():
            phases[phase] += seconds
        nodes[node] = sum(end - start for start, end in uptime)
        cost += _cost(mine, uptime)
    elapsed = sum(nodes.values())
    return Account(
        elapsed_seconds=elapsed,
        phases=phases,
        goodput=phases["step"] / elapsed if elapsed else 0.0,
        cost_usd=cost,
        nodes=nodes,
        surviving_steps=surviving,
        tokens_processed=sum(int(e["value"]["tokens"]) for e in ordered if e["kind"] == "step"),
        attempts=max(e["attempt"] for e in ordered),
    )


def _lineage(events: list[Mapping[str, Any]]) -> tuple[dict[int, Mapping[str, Any]], set[Name]]:
    """Which steps survive, by number, and which step events were in vain.

    A `restore` event (its step is the one restored) starts a leg; the steps above it of earlier legs, on any node,
    are wasted. The surviving event of a step is the one that carries its loss.
    """
    surviving: dict[tuple[int, str], Mapping[str, Any]] = {}
    wasted: set[Name] = set()
    # A superseded writer may still note steps after its successor began: legs are ordered by attempt, then time.
    for event in sorted(events, key=lambda e: (e["attempt"], e["ts"], e["seq"])):
        if event["kind"] == "restore":
            for key in [k for k in surviving if k[0] > event["step"]]:
                wasted.add(_name(surviving.pop(key)))
        elif event["kind"] == "step":
            before = surviving.get((event["step"], event["node"]))
            if before is not None:
                wasted.add(_name(before))
            surviving[(event["step"], event["node"])] = event
    chosen = {step: event for (step, _), event in sorted(surviving.items()) if "loss" in event["value"]}
    return chosen, wasted


Name = tuple[int, str, int]


def _name(event: Mapping[str, Any]) -> Name:
    return (event["attempt"], event["writer"], event["seq"])


def _uptime(events: list[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Disjoint intervals in which a node was paid for: from node_up to its last sign of life, commonly node_down."""
    spans: list[tuple[float, float]] = []
    by_attempt: dict[int, list[Mapping[str, Any]]] = {}
    for event in events:
        by_attempt.setdefault(event["attempt"], []).append(event)
    for group in by_attempt.values():
        ups = [e["ts"] for e in group if e["kind"] == "node_up"]
        start = min(ups or [e["ts"] for e in group])
        end = max(e["ts"] for e in group)
        spans.append((start, max(start, end)))
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _partition(
    events: list[Mapping[str, Any]],
    uptime: list[tuple[float, float]],
    wasted: set[Name],
) -> dict[str, float]:
    """Seconds by phase within the uptime, each moment counted once."""
    intervals: list[tuple[float, float, tuple[int, int], str]] = []
    for event in events:
        if event["kind"] == "phase":
            phase = event["phase"]
            priority = (int(event["attempt"]), _FINER.get(phase, len(_FINER)))
            intervals.append((event["value"]["start"], event["value"]["end"], priority, phase))
        elif event["kind"] == "step":
            phase = "wasted" if _name(event) in wasted else "step"
            value = event["value"]
            intervals.append((event["ts"] - value["seconds"], event["ts"], (int(event["attempt"]), 99), phase))
    intervals += _holds(events) + _recoveries(events)
    intervals.sort()
    cuts = sorted({t for start, end, _, _ in intervals for t in (start, end)} | {t for span in uptime for t in span})
    starts = [span[0] for span in uptime]
    spent = dict.fromkeys(PHASES, 0.0)
    active: list[tuple[float, tuple[int, int], str]] = []
    following = 0
    for left, right in itertools.pairwise(cuts):
        while following < len(intervals) and intervals[following][0] <= left:
            _start, end, priority, phase = intervals[following]
            active.append((end, priority, phase))
            following += 1
        active = [item for item in active if item[0] > left]
        at = bisect_right(starts, left) - 1
        if at < 0 or uptime[at][1] <= left:
            continue
        phase = max(active, key=lambda item: item[1])[2] if active else "idle"
        spent[phase] += right - left
    return spent


def _holds(events: list[Mapping[str, Any]]) -> list[tuple[float, float, tuple[int, int], str]]:
    """While a driver holds its node, what nobody names is provision: from its node_up (which says what the node is)
    to its node_down, or to the attempt's last word when it died."""
    held = []
    for up in events:
        if up["kind"] == "node_up" and up.get("value"):
            same = [e for e in events if e["attempt"] == up["attempt"]]
            downs = [e["ts"] for e in same if e["kind"] == "node_down" and e["writer"] == up["writer"]]
            end = max(downs or [e["ts"] for e in same])
            held.append((up["ts"], end, (int(up["attempt"]), _FINER["provision"]), "provision"))
    return held


def _recoveries(events: list[Mapping[str, Any]]) -> list[tuple[float, float, tuple[int, int], str]]:
    """The gaps before a leg that was not the first: from the last step taken before it to its restore.

    They yield to any finer phase that a writer names in between (setup, checkpoint_restore).
    """
    gaps = []
    steps = [e["ts"] for e in events if e["kind"] == "step"]
    begins: dict[int, float] = {}
    for event in events:
        begins.setdefault(int(event["attempt"]), event["ts"])
    for event in events:
        if event["kind"] == "restore":
            before = [ts for ts in steps if ts < event["ts"]]
            if before:  # cut where attempts begin: a newer attempt's gap must not hide what an older one named
                cuts = sorted((max(ts, max(before)), n) for n, ts in begins.items() if ts < event["ts"])
                for (start, attempt), (end, _) in itertools.pairwise([*cuts, (event["ts"], 0)]):
                    gaps.append((start, end, (attempt, _FINER["recovery"]), "recovery"))
    return gaps


def _cost(events: list[Mapping[str, Any]], uptime: list[tuple[float, float]]) -> float:
    """The integral of a node's price over its uptime; a price holds until the next `price` event."""
    prices = [(e["ts"], float(e["value"]["usd_per_hour"])) for e in events if e["kind"] == "price"]
    if not prices:
        return 0.0
    total = 0.0
    for start, end in uptime:
        marks = [start, *[ts for ts, _ in prices if start < ts < end], end]
        for left, right in itertools.pairwise(marks):
            known = [usd for ts, usd in prices if ts <= left]
            total += (right - left) / 3600 * (known[-1] if known else prices[0][1])
    return total
