"""Every metric that raytrain exports: name, labels, unit, meaning, and what sets it.

The exporter, the dashboards, the alerts and docs/metrics.md are all written from this one list. The invariant: what
is not listed here is not exported, and what is listed is set by something real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram", "info"]

STATES = ("running", "succeeded", "partial", "failed", "stopped", "interrupted")
RESTARTS = ("same", "shrink", "grow")
REASSIGNED = (("step", "wasted"), ("provision", "recovery"), ("idle", "recovery"))
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
LONG = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)


@dataclass(frozen=True)
class Metric:
    """One metric. `unit` is a base unit, or "" for what has none; `source` says what sets it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    unit: str
    help: str
    source: str
    buckets: tuple[float, ...] = ()

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus knows it."""
        if self.kind == "histogram":
            return tuple(f"{self.name}{end}" for end in ("_bucket", "_sum", "_count"))
        return (self.name,)


def _run(
    name: str, kind: Kind, unit: str, text: str, source: str, *labels: str, buckets: tuple[float, ...] = ()
) -> Metric:
    return Metric(f"raytrain_{name}", kind, ("run_id", *labels), unit, text, source, buckets)


def _other(name: str, kind: Kind, unit: str, text: str, source: str, *labels: str) -> Metric:
    return Metric(f"raytrain_{name}", kind, labels, unit, text, source)


STEP = "ledger: step"
ARTIFACT = "manifest of the artifact"

CATALOGUE: tuple[Metric, ...] = (
    # the run
    _run(
        "run_info", "info", "", "A run and what it is; always 1.", "the run's recipe",
        "recipe_hash", "precision", "optimizer", "engine", "version",
    ),
    _run("run_state", "gauge", "", "1 for the state that the run is in, 0 for the others.", "attempts", "state"),
    _run("run_start_timestamp_seconds", "gauge", "Unix seconds", "When training first began.", "ledger: node_up"),
    _run("attempt_start_timestamp_seconds", "gauge", "Unix seconds", "When it last began anew.", "ledger: node_up"),
    _run("run_warnings_total", "counter", "", "Warnings that a person should read.", "ledger: warning"),
    # training
    _run("train_step", "gauge", "steps", "Last optimizer step of the surviving history.", "ledger: step, restore"),
    _run("train_max_steps", "gauge", "steps", "Optimizer steps that the run will have.", "ledger: restore"),
    _run("train_loss", "gauge", "nats/token", "Training loss of the last step.", STEP),
    _run("train_grad_norm", "gauge", "", "Norm of the gradient before clipping.", STEP),
    _run("train_learning_rate", "gauge", "", "Learning rate of the last step.", STEP),
    _run("train_mfu_ratio", "gauge", "ratio", "Model FLOPs utilisation of the last step.", STEP),
    _run("train_tokens", "gauge", "tokens", "Tokens of the surviving history.", "ledger: step, restore"),
    _run("tokens_processed_total", "counter", "tokens", "Tokens worked on, those of lost steps included.", STEP),
    _run("train_world_size", "gauge", "workers", "Workers that take part.", "ledger: restore"),
    _run("train_skipped_steps_total", "counter", "steps", "Updates left out.", "ledger: skipped", "reason"),
    _run("train_last_step_timestamp_seconds", "gauge", "Unix seconds", "When the last step ended.", STEP),
    _run("train_step_duration_seconds", "histogram", "seconds", "Time of a step.", STEP, buckets=SECONDS),
    _run(
        "train_data_wait_seconds", "histogram", "seconds", "Time in which a step waited for text.", STEP, buckets=WAITS
    ),
    # how good the model is
    _run("eval_loss", "gauge", "nats/token", "Loss on held-out documents.", "ledger: eval", "dataset"),
    _run("eval_bpb", "gauge", "bits/byte", "Loss on held-out documents over their bytes.", "ledger: eval"),
    _run("eval_domain_bpb", "gauge", "bits/byte", "The same for one domain.", "ledger: eval", "domain"),
    _run(
        "eval_baseline_bpb", "gauge", "bits/byte", "A compressor on the same documents.",
        f"{ARTIFACT} of baseline", "compressor",
    ),
    _run(
        "eval_accuracy_ratio", "gauge", "ratio", "Share of right answers.", f"{ARTIFACT} of evaluate", "task"
    ),
    # checkpoints and recoveries
    _run(
        "checkpoint_duration_seconds", "histogram", "seconds", "Time in which a checkpoint holds training up.",
        "ledger: phase", "op", buckets=LONG,
    ),
    _run("checkpoint_bytes_total", "counter", "bytes", "Bytes written in checkpoints.", "ledger: checkpoint"),
    _run(
        "checkpoint_last_success_timestamp_seconds", "gauge", "Unix seconds", "When the last checkpoint was committed.",
        "ledger: checkpoint",
    ),
    _run("checkpoint_last_step", "gauge", "steps", "Step of the last committed checkpoint.", "ledger: checkpoint"),
    _run(
        "restarts_total", "counter", "", "Times that training took up again, by the change of workers.",
        "ledger: restore", "kind",
    ),
    _run("lost_steps_total", "counter", "steps", "Steps that had to be taken again.", "ledger: restore"),
    _run(
        "recovery_duration_seconds", "histogram", "seconds",
        "From the last step before a crash or resize to its restore.",
        "ledger: restore", buckets=LONG,
    ),
    # time and money
    _run(
        "node_seconds_total", "counter", "node seconds", "Paid time by phase, as it accrued.",
        "ledger: node_up, node_down, phase, step", "phase", "market",
    ),
    _run(
        "time_reassigned_seconds_total", "counter", "node seconds", "Paid time that turned out to be of another phase.",
        "ledger: restore", "from", "to",
    ),
    _run("goodput_ratio", "gauge", "ratio", "Time in steps that count over all paid time.", "ledger"),
    _run("nodes", "gauge", "nodes", "Nodes that are paid for now.", "ledger: node_up, node_down", "market"),
    _run(
        "cost_usd_total", "counter", "US dollars", "What was spent, as it accrued; reused data cost nothing.",
        "ledger: price; manifests of artifacts", "component", "market",
    ),
    _run(
        "cost_wasted_usd_total", "counter", "US dollars", "The part of training's cost that was not steps that count.",
        "ledger: price", "phase",
    ),
    _run("cost_rate_usd_per_hour", "gauge", "US dollars/hour", "What the run costs now.", "ledger: price", "market"),
    _run("price_age_seconds", "gauge", "seconds", "Age of the price that is used.", "ledger: price"),
    _run(
        "energy_joules_total", "counter", "joules", "Energy of the paid time, by an owned machine's stated power.",
        "ledger: price", "method",
    ),
    # the data that a run is made of; runs that share data show the same figures under the same `dataset`
    _run(
        "data_documents_total", "counter", "documents", "Documents that a stage kept and dropped.",
        f"{ARTIFACT} of select", "dataset", "stage", "outcome",
    ),
    _run(
        "data_dropped_documents_total", "counter", "documents", "Documents that fail a rule; one may fail several.",
        f"{ARTIFACT} of select", "dataset", "reason",
    ),
    _run(
        "data_duplicates_total", "counter", "documents", "Duplicates found.", f"{ARTIFACT} of dedup",
        "dataset", "method",
    ),
    _run("data_bytes_total", "counter", "bytes", "Text after a stage.", f"{ARTIFACT} of select", "dataset", "stage"),
    _run("data_tokens_total", "counter", "tokens", "Tokens written.", f"{ARTIFACT} of tokenize", "dataset", "split"),
    _run(
        "data_stage_duration_seconds", "gauge", "seconds", "Time that a stage took when it was carried out.",
        f"{ARTIFACT} of the stage", "dataset", "stage",
    ),
    # orchestration and sweeps
    _other("flow_runs", "gauge", "", "Flow runs that Prefect knows.", "Prefect's API", "flow", "state"),
    _other("sweep_trials", "gauge", "trials", "Trials of a sweep.", "the sweep's state", "sweep_id", "state"),
    _other("sweep_best_loss", "gauge", "nats/token", "Lowest final loss so far.", "the sweep's state", "sweep_id"),
    # the exporter itself
    _other("exporter_runs", "gauge", "runs", "Runs that are served.", "the exporter"),
    _other("exporter_poll_duration_seconds", "gauge", "seconds", "Time of a look at the store.", "the exporter"),
    _other("exporter_last_poll_timestamp_seconds", "gauge", "Unix seconds", "When it last succeeded.", "the exporter"),
    _other("exporter_errors_total", "counter", "", "What went wrong; the last values stay.", "the exporter", "reason"),
    _other("exporter_dropped_samples_total", "counter", "", "Series left out.", "the exporter", "reason"),
)  # fmt: skip

BY_NAME = {metric.name: metric for metric in CATALOGUE}
SERIES = {series: metric for metric in CATALOGUE for series in metric.series}

HEAD = """\
# Metrics

One exporter a cluster (`raytrain exporter`) reads the ledgers of a store's runs and serves these. Counters come from
what is durable, so they go on where they were when the exporter is started anew. Time is counted once, as it accrues:
`raytrain_time_reassigned_seconds_total` says what it turned out to be later, so that

    sum by (run_id) (raytrain_node_seconds_total{phase="step"})
      - sum by (run_id) (raytrain_time_reassigned_seconds_total{from="step", to="wasted"})

is the time in steps that count. `raytrain_tokens_processed_total` counts work; `raytrain_train_tokens` is the surviving
history. A finished run is served for another day and then dropped.

The dashboards in `dashboards/` and the alerts in `dashboards/rules.yml` use these names and no others of ours. Beside
them stand Ray's own (`ray_...`) and Prefect's (`prefect_...`).

This page is made from the code by `python docs/generate.py`.

| metric | type | labels | unit | what it is | what sets it |
| --- | --- | --- | --- | --- | --- |
"""


def page() -> str:
    """docs/metrics.md."""
    rows = []
    for m in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in m.labels)
        rows.append(f"| `{m.name}` | {m.kind} | {labels} | {m.unit} | {m.help} | {m.source} |")
    return HEAD + "\n".join(rows) + "\n"
