"""Everything that is known of a run, as one document: read from the store, never from a process.

Serves `raytrain show` and the report. The invariant: it can be made for a run in any state, by anybody who can
read the store, while others write.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from raytrain.config import digest
from raytrain.corpus.forgotten import hidden
from raytrain.errors import UserError
from raytrain.ledger import account, read_events
from raytrain.observe import samples
from raytrain.store import Artifact, Store, open_artifact
from raytrain.store import attempt as attempts

SHOWN, SHARDS_SHOWN = 40, 32  # documents of a kind, and from how many shards at most they are taken
IDS = ("doc_id", "record_id", "a_record_id", "b_record_id")  # in samples: whose text a row shows
NOTABLE = ("node_up", "node_down", "restore", "checkpoint", "skipped", "warning", "price")


def run_names(store: Store) -> list[str]:
    return [n for n in store.folders("runs") if store.exists(f"runs/{n}/recipe.json")]


def state_of(store: Store, run: str) -> str:
    """running, succeeded, partial (done as far as was asked), failed, stopped, or interrupted (its last attempt died
    without a word)."""
    if store.exists(f"runs/{run}/result.json"):
        return "succeeded"
    last = attempts.newest(store, run)
    if not last:  # another run had made all that was asked for
        return "partial" if store.exists(f"runs/{run}/lineage.json") else "stopped"
    if attempts.alive(store, run, last):
        return "running"
    ended = attempts.ended(store, run, last)
    return "interrupted" if ended in (None, "superseded") else ended


def prefixes_of(store: Store, run: str) -> dict[str, str]:
    """Where the run's artifacts lie, by step, as far as it has come."""
    try:
        entries = json.loads(store.get(f"runs/{run}/result.json"))["artifacts"]
        return {name: entry["prefix"] for name, entry in entries.items()}
    except FileNotFoundError:
        pass
    try:
        return dict(json.loads(store.get(f"runs/{run}/lineage.json")))
    except FileNotFoundError:
        return {}


def artifacts_of(store: Store, run: str) -> dict[str, Artifact]:
    """The run's artifacts by step, as far as it has come."""
    found = {name: open_artifact(store, prefix) for name, prefix in prefixes_of(store, run).items()}
    return {name: artifact for name, artifact in found.items() if artifact is not None}


def known(store: Store, run: str) -> dict[str, Any]:
    """What a run is bound to. Raises UserError for an unknown run, with those that there are."""
    try:
        return dict(json.loads(store.get(f"runs/{run}/recipe.json")))
    except FileNotFoundError:
        names = run_names(store)
        there = f"there are {', '.join(names)}" if names else "it holds no run"
        raise UserError(f"run {run!r} is not in {store.uri}: {there}; --store names another store") from None


def collect(store: Store, run: str) -> dict[str, Any]:
    """All facts of a run (see the report's docstring for the keys). Raises UserError for an unknown run."""
    bound = known(store, run)
    made = artifacts_of(store, run)
    events = read_events(store, run)
    books = account(events)
    model = made.get("pretrain")
    tokens = 0
    curve = []
    for step, event in books.surviving_steps.items():
        tokens += event["value"]["tokens"]
        curve.append({**event["value"], "step": step, "tokens": tokens})
    evaluated = made["evaluate"].facts if "evaluate" in made else {}
    baseline = made["baseline"].facts if "baseline" in made else {}
    gone = hidden(made["ingest"]) if "ingest" in made else frozenset()
    data_usd = sum(float(a.manifest["cost"].get("usd", 0)) for n, a in made.items() if n != "pretrain")
    return {
        "run": run,
        "state": state_of(store, run),
        "version": bound.get("version"),
        "recipe": bound["recipe"],
        "recipe_hash": bound["hash"],
        "curve": curve,
        "validation": [{"step": e["step"], **e["value"]} for e in _latest_by_step(events, "eval")],
        "peeks": [json.loads(store.get(k)) for k in store.keys(f"runs/{run}/peeks")],
        "samples": evaluated.get("samples", []),
        "corpus": made["select"].facts if "select" in made else {},
        "ingest": made["ingest"].facts if "ingest" in made else {},
        "rejected": samples.told(_documents(made.get("select"), "rejected.parquet", gone), made.get("select")),
        "borderline": _documents(made.get("select"), "borderline.parquet", gone),
        "gallery": _documents(made.get("dedup"), "gallery.parquet", gone),
        "threshold": made["dedup"].manifest["config"].get("jaccard") if "dedup" in made else None,
        "tokens": made["tokenize"].facts if "tokenize" in made else {},
        "evaluation": {k: v for k, v in evaluated.items() if k != "samples"}
        or {f"{k}_bits_per_byte": v for k, v in baseline.items() if k not in ("documents", "bytes")},
        "account": {
            "elapsed_seconds": books.elapsed_seconds,
            "phases": dict(books.phases),
            "goodput": books.goodput,
            "cost_usd": books.cost_usd,
            "data_cost_usd": data_usd,
            "nodes": dict(books.nodes),
            "attempts": books.attempts,
            "price": next((e["value"] for e in reversed(events) if e["kind"] == "price"), {}),
        },
        "model": model.facts if model else {},
        "artifacts": {
            name: {
                "id": a.id,
                "prefix": a.prefix,
                "sha256": a.manifest["sha256"],
                "rows": a.manifest["rows"],
                "bytes": a.manifest["bytes"],
                "seconds": a.manifest["cost"].get("seconds"),
                "cpu_seconds": a.manifest["cost"].get("cpu_seconds"),
                "cost_usd": a.manifest["cost"].get("usd"),
                "parents": a.manifest["parents"],
            }
            for name, a in made.items()
        },
        "events": [
            {"ts": e["ts"], "kind": e["kind"], "step": e.get("step"), "text": _words(e)}
            for e in events
            if e["kind"] in NOTABLE
        ],
    }


def show(facts: dict[str, Any]) -> dict[str, Any]:
    """The short form that `raytrain show --json` prints; its schema is docs/schemas/show.json."""
    curve, books, evaluated, model = facts["curve"], facts["account"], facts["evaluation"], facts["model"]
    seconds = sum(p["seconds"] for p in curve)
    full = [v for v in facts["validation"] if v["full"]]
    return {
        "run": facts["run"],
        "state": facts["state"],
        "step": model.get("steps") or (curve[-1]["step"] if curve else 0),
        "max_steps": facts["recipe"]["train"].get("max_steps"),
        "tokens": model.get("tokens") or (curve[-1]["tokens"] if curve else 0),
        "parameters": model.get("parameters"),
        "parameter_sha256": model.get("parameter_sha256"),
        "train_loss": curve[-1]["loss"] if curve else None,
        "val_bits_per_byte": full[-1]["bits_per_byte"] if full else None,
        "xz_bits_per_byte": evaluated.get("xz_bits_per_byte"),
        "xz_given_train_bits_per_byte": evaluated.get("xz_given_train_bits_per_byte"),
        "ppmd_bits_per_byte": evaluated.get("ppmd_bits_per_byte"),
        "tokens_per_second": curve[-1]["tokens"] / seconds if seconds else None,
        "mfu": sum(p["mfu"] * p["seconds"] for p in curve) / seconds if seconds else None,
        "cost_usd": books["cost_usd"] + books["data_cost_usd"],
        "cost": {"training_usd": books["cost_usd"], "data_and_evaluation_usd": books["data_cost_usd"]},
        "goodput": books["goodput"],
        "phases": books["phases"],
        "elapsed_seconds": books["elapsed_seconds"],
        "attempts": books["attempts"],
        "artifacts": {n: {k: a[k] for k in ("id", "prefix", "sha256")} for n, a in facts["artifacts"].items()},
    }


def _latest_by_step(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    latest = {(e["step"], e["value"].get("full")): e for e in events if e["kind"] == kind}
    return [latest[k] for k in sorted(latest)]


def _documents(artifact: Artifact | None, name: str, gone: frozenset[str]) -> list[dict[str, Any]]:
    """At most SHOWN rows of a table of samples, one of each first reason before a second of any; always the same.

    None of a document or record in `gone`, whenever the table was made.
    """
    if artifact is None:
        return []
    from raytrain.store.artifact import read_table

    holding = [shard for shard, record in enumerate(artifact.shards) if name in record["objects"]]
    some = holding[:: -(-len(holding) // SHARDS_SHOWN) or 1]
    rows = [{**row, "shard": shard} for shard in some for row in read_table(artifact, shard, name).to_pylist()]
    rows = [row for row in rows if gone.isdisjoint(row.get(name) for name in IDS)]
    rows.sort(key=lambda row: digest(row.get("doc_id")))
    return in_turns(rows)[:SHOWN]


def in_turns(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows so that one of each first reason comes before a second of any, otherwise in the order given."""
    seen: Counter[str] = Counter()
    turns: list[tuple[int, int, dict[str, Any]]] = []
    for row in rows:
        reason = str((row.get("reasons") or [""])[0])
        turns.append((seen[reason], len(turns), row))
        seen[reason] += 1
    return [row for _, _, row in sorted(turns, key=lambda turn: turn[:2])]


def _words(event: dict[str, Any]) -> str:
    value = event.get("value") or {}
    return str(value.get("message") or value.get("reason") or ", ".join(f"{k} {v}" for k, v in value.items()))
