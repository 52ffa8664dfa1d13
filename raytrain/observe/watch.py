"""One run's metrics: its ledger folded into figures, its artifacts' manifests into counts, both into samples.

It reads the store and serves nothing. The invariant: samples come from durable objects alone, so that whoever
watches anew arrives at the same figures.
"""

from __future__ import annotations

import datetime
import json
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from raytrain.ledger import PHASES, LedgerReader, Tally
from raytrain.observe.catalogue import BY_NAME, REASSIGNED, RESTARTS, STATES
from raytrain.observe.collect import state_of
from raytrain.store import Artifact, Store, open_artifact
from raytrain.store import attempt as attempts

MAX_DOMAINS = 50  # series of one run by domain or by reason


@dataclass
class Histogram:
    """Counts of observations by upper bound."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def observe(self, value: float) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by bound, the last one for everything."""
        sums, seen = [], 0
        for bound, count in zip(
            (*map(str, self.bounds), "+Inf"), self.counts or [0] * (len(self.bounds) + 1), strict=True
        ):
            seen += count
            sums.append((bound, float(seen)))
        return sums


class Sample(NamedTuple):
    """A value of a metric of the catalogue; label values in the catalogue's order."""

    name: str
    labels: tuple[str, ...]
    value: float | Histogram


class Figures:
    """What the ledger's events say besides time and money."""

    def __init__(self) -> None:
        self.now: dict[str, float] = {}
        self.step = Histogram(BY_NAME["raytrain_train_step_duration_seconds"].buckets)
        self.wait = Histogram(BY_NAME["raytrain_train_data_wait_seconds"].buckets)
        self.recovery = Histogram(BY_NAME["raytrain_recovery_duration_seconds"].buckets)
        bounds = BY_NAME["raytrain_checkpoint_duration_seconds"].buckets
        self.checkpoint = {op: Histogram(bounds) for op in ("save", "restore")}
        self.skipped: defaultdict[str, int] = defaultdict(int, not_finite=0)
        self.restarts: defaultdict[str, int] = defaultdict(int, dict.fromkeys(RESTARTS, 0))
        self.domains: dict[str, float] = {}
        self.warnings = self.checkpoint_bytes = 0
        self.dated: float | None = None
        self._in_one_piece = False  # no orderly end lies between the last step and now

    def fold(self, event: Mapping[str, Any]) -> None:
        take = self._TAKE.get(event["kind"])
        if take is not None:
            take(self, event, float(event["ts"]), event.get("value") or {})

    def _node_up(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        self.now.setdefault("run_start_timestamp_seconds", ts)
        if event["writer"].startswith("driver"):
            self.now["attempt_start_timestamp_seconds"] = ts

    def _node_down(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        if event["writer"].startswith("driver"):
            self._in_one_piece = False

    def _step(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        if "loss" not in value:
            return
        self.now |= {f"train_{key}": float(value[key]) for key in ("loss", "grad_norm", "learning_rate")}
        self.now |= {"train_mfu_ratio": float(value["mfu"]), "train_world_size": float(value["workers"])}
        self.now |= {"train_step": float(event["step"]), "train_last_step_timestamp_seconds": ts}
        self.step.observe(float(value["seconds"]))
        self.wait.observe(float(value["data_wait"]))
        self._in_one_piece = True

    def _restore(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        workers, before = float(value["workers"]), self.now.get("train_world_size")
        if before is not None:
            self.restarts["same" if workers == before else "shrink" if workers < before else "grow"] += 1
        if self._in_one_piece:
            self.recovery.observe(ts - self.now["train_last_step_timestamp_seconds"])
        self.now |= {"train_world_size": workers, "train_step": float(event["step"])}
        if "max_steps" in value:
            self.now["train_max_steps"] = float(value["max_steps"])

    def _phase(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        op = event["phase"].removeprefix("checkpoint_")
        if op in self.checkpoint and event["writer"].startswith("rank-00000"):
            self.checkpoint[op].observe(float(value["end"]) - float(value["start"]))

    def _checkpoint(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        self.now |= {"checkpoint_last_success_timestamp_seconds": ts, "checkpoint_last_step": float(event["step"])}
        self.checkpoint_bytes += int(value.get("bytes", 0))

    def _eval(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        self.now |= {"eval_bpb": float(value["bits_per_byte"]), "eval_loss": float(value["loss"])}
        self.domains = {str(name): float(bits) for name, bits in value["domains"].items()}

    def _skipped(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        self.skipped[str(value["reason"]).replace(" ", "_")] += 1

    def _warning(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        self.warnings += 1

    def _price(self, event: Mapping[str, Any], ts: float, value: Mapping[str, Any]) -> None:
        if "dated" in value:
            day = datetime.datetime.fromisoformat(value["dated"]).replace(tzinfo=datetime.UTC)
            self.dated = day.timestamp()

    _TAKE: ClassVar = {
        "node_up": _node_up,
        "node_down": _node_down,
        "step": _step,
        "restore": _restore,
        "phase": _phase,
        "checkpoint": _checkpoint,
        "eval": _eval,
        "skipped": _skipped,
        "warning": _warning,
        "price": _price,
    }


class RunWatch:
    """Follows one run. `poll` reads what is new, `samples` gives its metrics as of then."""

    def __init__(self, store: Store, run: str, errors: Counter[str], dropped: Counter[str]) -> None:
        self.store, self.run = store, run
        self.state = ""
        self._errors, self._dropped = errors, dropped
        self.last_event = 0.0
        self._reader, self._tally, self._figures = LedgerReader(store, run), Tally(), Figures()
        self._info: tuple[str, ...] | None = None
        self._lineage: dict[str, str] = {}
        self._made: dict[str, list[Sample]] = {}

    def poll(self) -> None:
        """Reads what is new. Whatever the store raises, the figures are whole: those of before or of now."""
        if self._info is None:
            self._info = _info(json.loads(self.store.get(f"runs/{self.run}/recipe.json")))
        self._look_at_artifacts()
        state, events = state_of(self.store, self.run), self._reader.news()
        for event in events:
            try:
                self._tally.fold(event)
                self._figures.fold(event)
            except (KeyError, TypeError, ValueError):  # of another version, or damaged: the others still count
                self._errors["event"] += 1
            if event["kind"] == "eval":
                self._dropped["domains"] += max(0, len(self._figures.domains) - MAX_DOMAINS)
            self.last_event = max(self.last_event, float(event["ts"]))
        self.state = state

    @property
    def standing(self) -> tuple[bool, float]:
        """How much it matters that this run is served: live ones first, then those heard of last."""
        return self.state == "running", self.last_event

    def samples(self, now: float) -> list[Sample]:
        """All samples of the run at Unix time `now`."""
        own = [s for made in self._made.values() for s in made]
        return [Sample(f"raytrain_{name}", (self.run, *labels), value) for name, labels, value in self._all(now)] + own

    def _look_at_artifacts(self) -> None:
        try:
            lineage: dict[str, str] = json.loads(self.store.get(f"runs/{self.run}/lineage.json"))
        except FileNotFoundError:
            return
        for step, prefix in lineage.items():
            if self._lineage.get(step) != prefix:
                artifact = open_artifact(self.store, prefix)
                if artifact is not None:
                    self._made[step] = self._counted(step, artifact)
                    self._lineage[step] = prefix

    def _counted(self, step: str, artifact: Artifact) -> list[Sample]:
        found = _of_artifact(self.run, step, artifact)
        try:
            return [Sample(f"raytrain_{n}", (self.run, *labels), float(v)) for n, labels, v in found]
        except (KeyError, TypeError, ValueError):  # made by another version: the run's other figures still count
            self._errors["artifact"] += 1
            return []

    def _all(self, now: float) -> Iterator[tuple[str, tuple[str, ...], float | Histogram]]:
        figures, tally = self._figures, self._tally
        live = self.state == "running"
        yield "run_info", self._info or (), 1
        for state in STATES:
            yield "run_state", (state,), state == self.state
        if not self.last_event:
            return  # before training there is nothing to say
        yield from (
            (name, ("validation",) if name == "eval_loss" else (), value) for name, value in figures.now.items()
        )
        yield from (("eval_domain_bpb", (d,), bits) for d, bits in sorted(figures.domains.items())[:MAX_DOMAINS])
        yield from (("train_skipped_steps_total", (reason,), n) for reason, n in figures.skipped.items())
        yield from (("restarts_total", (kind,), n) for kind, n in figures.restarts.items())
        yield from (("checkpoint_duration_seconds", (op,), h) for op, h in figures.checkpoint.items())
        yield "train_step_duration_seconds", (), figures.step
        yield "train_data_wait_seconds", (), figures.wait
        yield "recovery_duration_seconds", (), figures.recovery
        yield "checkpoint_bytes_total", (), figures.checkpoint_bytes
        yield "run_warnings_total", (), figures.warnings
        yield "train_tokens", (), tally.tokens_surviving
        yield "tokens_processed_total", (), tally.tokens_processed
        yield "lost_steps_total", (), tally.lost_steps
        yield "goodput_ratio", (), tally.goodput
        for market in {market for _, market in tally.seconds} | {tally.market}:
            yield from (("node_seconds_total", (p, market), tally.seconds.get((p, market), 0.0)) for p in PHASES)
            yield "cost_usd_total", ("pretrain", market), tally.usd.get(market, 0.0)
        yield from (
            ("time_reassigned_seconds_total", pair, tally.reassigned.get(pair, 0.0))
            for pair in dict.fromkeys((*REASSIGNED, *tally.reassigned))
        )
        yield from (("cost_wasted_usd_total", (p,), tally.unproductive_usd.get(p, 0.0)) for p in PHASES if p != "step")
        yield "nodes", (tally.market,), sum(n.up for n in tally.nodes.values()) if live else 0
        yield "cost_rate_usd_per_hour", (tally.market,), tally.usd_per_hour if live else 0.0
        if tally.watts is not None:
            yield "energy_joules_total", ("tdp_estimate",), tally.joules
        if figures.dated is not None:
            yield "price_age_seconds", (), now - figures.dated


def last_sign(store: Store, run: str) -> float:
    """When a run was last heard of (Unix seconds), 0 when nobody ever held it. One listing and one request."""
    number = attempts.newest(store, run)
    for folder in ("ended", "heartbeats"):
        try:
            return float(json.loads(store.get(f"runs/{run}/{folder}/{number:05d}.json"))["at"])
        except FileNotFoundError:
            continue
    return 0.0


def _info(bound: Mapping[str, Any]) -> tuple[str, ...]:
    recipe = bound["recipe"]
    train = recipe.get("train", {})
    known = (bound["hash"], train.get("precision"), train.get("optimizer"), recipe.get("engine"), bound.get("version"))
    return tuple(str(value or "") for value in known)


def _of_artifact(run: str, step: str, made: Artifact) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """What an artifact's manifest counts."""
    facts, cost = made.facts, made.manifest["cost"]
    if step != "pretrain":
        if cost.get("seconds"):
            yield "data_stage_duration_seconds", (made.id, step), float(cost["seconds"])
        if cost.get("run") == run:  # data that were there already cost this run nothing
            yield "cost_usd_total", (step, str(cost.get("market", ""))), float(cost.get("usd", 0))
    if step == "select":
        yield from _funnel(made.id, facts)
    elif step == "dedup":
        yield "data_duplicates_total", (made.id, "exact"), facts.get("exact", 0)
        yield "data_duplicates_total", (made.id, "minhash"), facts.get("near", 0)
    elif step == "tokenize":
        yield "data_tokens_total", (made.id, "train"), facts["train_tokens"]
        yield "data_tokens_total", (made.id, "validation"), facts["validation"]["tokens"]
    elif step == "baseline":
        known = {"xz": "xz", "ppmd": "ppmd", "xz_given_train": "xz_after_training_text"}
        yield from (("eval_baseline_bpb", (name,), facts[k]) for k, name in known.items() if facts.get(k))
    elif step == "evaluate" and facts["choice"]["accuracy"] is not None:
        yield "eval_accuracy_ratio", ("choice",), facts["choice"]["accuracy"]


def _funnel(dataset: str, facts: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...], float]]:
    funnel = facts["funnel"][:-1]  # the last row repeats the one before as what was kept
    for before, row in zip([funnel[0], *funnel], funnel, strict=False):
        stage = row["step"].replace(" ", "_")
        yield "data_documents_total", (dataset, stage, "kept"), row["documents"]
        yield "data_documents_total", (dataset, stage, "dropped"), before["documents"] - row["documents"]
        yield "data_bytes_total", (dataset, stage), row["bytes"]
    reasons = {name: counts["documents"] for name, counts in facts["reasons"].items()} | facts["quarantined"]
    most = sorted(reasons, key=lambda name: (-reasons[name], name))[:MAX_DOMAINS]
    yield from (("data_dropped_documents_total", (dataset, name), reasons[name]) for name in most)
