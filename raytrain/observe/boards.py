"""What the dashboards show, as data: boards of rows of panels of queries, in the metrics of the catalogue.

How a panel becomes Grafana's JSON stands in `dashboards`. The invariant: every query carries the selection of the
cluster, and where it speaks of runs that of the run: in an expression `{RUN}` stands for both, `{CLUSTER}` for the
cluster alone, and more matchers may follow the word, as in `raytrain_nodes{RUN, market="spot"}`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GREEN, YELLOW, RED, BLUE = "green", "yellow", "red", "blue"
COLUMNS = 24  # of Grafana's page

Thresholds = tuple[tuple[float | None, str], ...]


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the name of its lines, with labels in double braces."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A panel. `width` is in 24ths of the page; `thresholds` are (from, colour), the first one from anywhere."""

    title: str
    about: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["timeseries", "stat", "bargauge", "table"] = "timeseries"
    width: int = 8
    height: int = 7
    thresholds: Thresholds = ()
    stacked: bool = False
    log: bool = False
    most: float | None = None
    """The end of the scale."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Board:
    """A dashboard. `several` lets several runs be chosen."""

    name: str
    uid: str
    title: str
    about: str
    several: bool
    rows: tuple[Row, ...]


def _stat(title: str, about: str, unit: str, expr: str, thresholds: Thresholds = (), legend: str = "now") -> Panel:
    return Panel(title, about, unit, (Query(expr, legend),), "stat", 4, 4, thresholds)


GOOD_ABOVE = ((None, RED), (0.7, YELLOW), (0.9, GREEN))
RATE = "$__rate_interval"
STEP_P50 = (
    f"histogram_quantile(0.5, sum by (run_id, le) (rate(raytrain_train_step_duration_seconds_bucket{{RUN}}[{RATE}])))"
)
STEPS_LEFT = "(raytrain_train_max_steps{RUN} - raytrain_train_step{RUN})"
STEP_SECONDS = "(raytrain_train_step_duration_seconds_sum{RUN} / (raytrain_train_step_duration_seconds_count{RUN} > 0))"
SPENT = "sum by (run_id) (raytrain_cost_usd_total{RUN})"
PER_MILLION = (
    '1e6 * sum by (run_id) (raytrain_cost_usd_total{RUN, component="pretrain"})'
    " / (sum by (run_id) (raytrain_train_tokens{RUN}) > 0)"
)
NODE_TIME = "sum by (run_id) (raytrain_node_seconds_total{RUN})"
WASTED_SHARE = f"sum by (run_id) (raytrain_cost_wasted_usd_total{{RUN}}) / ({SPENT} > 0)"

NOW = Row(
    "Now",
    (
        _stat(
            "State", "What the run's last attempt is doing.", "none", "raytrain_run_state{RUN} == 1", legend="{{state}}"
        ),
        _stat(
            "Progress",
            "Optimizer steps done, of those that the run will have.",
            "percentunit",
            "raytrain_train_step{RUN} / raytrain_train_max_steps{RUN}",
        ),
        _stat(
            "Time left",
            "Steps that are left, at the mean time of a step so far. Pauses and recoveries come on top.",
            "s",
            f"{STEPS_LEFT} * {STEP_SECONDS}",
        ),
        _stat(
            "Bits per byte",
            "How well the model predicts held-out text; lower is better. Does not depend on the tokenizer.",
            "none",
            "raytrain_eval_bpb{RUN}",
        ),
        _stat(
            "Goodput",
            "Share of the paid time that went into steps that count.",
            "percentunit",
            "raytrain_goodput_ratio{RUN}",
            GOOD_ABOVE,
        ),
        _stat("Spent", "Training and all data that were made for this run.", "currencyUSD", SPENT),
    ),
)

LEARNING = Row(
    "Is it learning?",
    (
        Panel(
            "Training loss",
            "Loss of each step, in nats a token. A jump that stays is a spike; a gap is a pause.",
            "none",
            (Query("raytrain_train_loss{RUN}", "{{run_id}}"),),
        ),
        Panel(
            "Held-out text: bits per byte",
            "The model on text that it never saw, beside compressors on the same text. Below a line it beats that one.",
            "none",
            (
                Query("raytrain_eval_bpb{RUN}", "model"),
                Query("raytrain_eval_baseline_bpb{RUN}", "{{compressor}}"),
            ),
        ),
        Panel(
            "Bits per byte by domain",
            "Where the model is good and where it is not.",
            "none",
            (Query("raytrain_eval_domain_bpb{RUN}", "{{domain}}"),),
        ),
        Panel(
            "Gradient norm",
            "Before clipping. It rises before a run diverges.",
            "none",
            (Query("raytrain_train_grad_norm{RUN}", "{{run_id}}"),),
            log=True,
        ),
        Panel("Learning rate", "As scheduled.", "sci", (Query("raytrain_train_learning_rate{RUN}", "{{run_id}}"),)),
        Panel(
            "Updates left out, and warnings",
            "Steps whose loss or gradient was not finite; notes that a person should read.",
            "none",
            (
                Query("sum by (reason) (raytrain_train_skipped_steps_total{RUN})", "left out: {{reason}}"),
                Query("raytrain_run_warnings_total{RUN}", "warnings"),
            ),
            thresholds=((None, GREEN), (1, YELLOW)),
        ),
        Panel(
            "Held-out loss",
            "Nats a token; compare it with the training loss: a gap that grows is overfitting.",
            "none",
            (Query("raytrain_eval_loss{RUN}", "{{dataset}}"), Query("raytrain_train_loss{RUN}", "training")),
        ),
        Panel(
            "Right answers",
            "Share of multiple-choice questions answered right, after training.",
            "percentunit",
            (Query("raytrain_eval_accuracy_ratio{RUN}", "{{task}}"),),
            "bargauge",
            most=1,
        ),
    ),
)

SPEED = Row(
    "Is it fast?",
    (
        Panel(
            "Tokens a second",
            "Tokens worked on, those of steps that are taken again included.",
            "short",
            (Query(f"rate(raytrain_tokens_processed_total{{RUN}}[{RATE}])", "{{run_id}}"),),
        ),
        Panel(
            "Model FLOPs utilisation",
            "Useful arithmetic over what the hardware could do.",
            "percentunit",
            (Query("raytrain_train_mfu_ratio{RUN}", "{{run_id}}"),),
            most=1,
        ),
        Panel(
            "Time of a step",
            "The middle one, and the slow ones: 90 and 99 of 100 are faster.",
            "s",
            tuple(
                Query(STEP_P50.replace("0.5,", f"{q},"), name)
                for q, name in ((0.5, "median"), (0.9, "p90"), (0.99, "p99"))
            ),
        ),
        Panel(
            "Waiting for text",
            "Share of the time of steps. Above a tenth the store or the loader is too slow.",
            "percentunit",
            (
                Query(
                    f"rate(raytrain_train_data_wait_seconds_sum{{RUN}}[{RATE}])"
                    f" / (rate(raytrain_train_step_duration_seconds_sum{{RUN}}[{RATE}]) > 0)",
                    "{{run_id}}",
                ),
            ),
            thresholds=((None, GREEN), (0.1, RED)),
        ),
        Panel(
            "Workers",
            "Processes that train together; it moves when nodes come and go.",
            "none",
            (
                Query("raytrain_train_world_size{RUN}", "workers"),
                Query("sum by (run_id) (raytrain_nodes{RUN})", "nodes"),
            ),
        ),
        Panel(
            "Tokens",
            "The surviving history, and all that was worked on. The gap was lost to crashes.",
            "short",
            (
                Query("raytrain_train_tokens{RUN}", "surviving"),
                Query("raytrain_tokens_processed_total{RUN}", "worked on"),
            ),
        ),
    ),
)

SAFETY = Row(
    "Is it safe?",
    (
        Panel(
            "Since the last checkpoint",
            "What a crash now would cost. Above an hour something is wrong.",
            "s",
            (Query("time() - raytrain_checkpoint_last_success_timestamp_seconds{RUN}", "{{run_id}}"),),
            thresholds=((None, GREEN), (1800, YELLOW), (3600, RED)),
        ),
        Panel(
            "Steps at risk",
            "Steps since the last checkpoint.",
            "none",
            (Query("raytrain_train_step{RUN} - raytrain_checkpoint_last_step{RUN}", "{{run_id}}"),),
        ),
        Panel(
            "Time held up by checkpoints",
            "Seconds for one, by what it does.",
            "s",
            (
                Query(
                    "sum by (run_id, op) (raytrain_checkpoint_duration_seconds_sum{RUN})"
                    " / (sum by (run_id, op) (raytrain_checkpoint_duration_seconds_count{RUN}) > 0)",
                    "{{op}}",
                ),
            ),
        ),
        Panel(
            "Restarts",
            "Times that training took up again: with as many workers, fewer, or more.",
            "none",
            (Query("raytrain_restarts_total{RUN}", "{{kind}}"),),
            stacked=True,
        ),
        Panel(
            "Steps lost",
            "Steps after the last checkpoint that had to be taken again.",
            "none",
            (Query("raytrain_lost_steps_total{RUN}", "{{run_id}}"),),
        ),
        Panel(
            "Time of a recovery",
            "From the last step before a crash or resize to the restore, on average.",
            "s",
            (
                Query(
                    "raytrain_recovery_duration_seconds_sum{RUN} / (raytrain_recovery_duration_seconds_count{RUN} > 0)",
                    "{{run_id}}",
                ),
            ),
        ),
        Panel(
            "Checkpoints written",
            "Bytes so far.",
            "bytes",
            (Query("raytrain_checkpoint_bytes_total{RUN}", "{{run_id}}"),),
        ),
        Panel(
            "Since the last step",
            "It saws between nothing and a step's time; a slope that does not end is a stall.",
            "s",
            (Query("time() - raytrain_train_last_step_timestamp_seconds{RUN}", "{{run_id}}"),),
        ),
    ),
)

PHASES = Panel(
    "Where the paid time goes",
    "Node seconds by phase, as they accrued. See 'Changed its mind' for what they turned out to be.",
    "s",
    (Query("sum by (phase) (raytrain_node_seconds_total{RUN}) > 0", "{{phase}}"),),
    width=12,
    stacked=True,
)
REASSIGNED = Panel(
    "Changed its mind",
    "Time that turned out to be something else: steps thrown away by a crash, waiting that was a recovery.",
    "s",
    (Query("raytrain_time_reassigned_seconds_total{RUN}", "{{from}} was {{to}}"),),
    width=12,
)
ALERTS = Row(
    "What needs attention",
    (
        Panel(
            "Alerts that fire",
            "Each has a paragraph in docs/operations.md. An empty table is good news.",
            "none",
            (Query('ALERTS{CLUSTER, alertstate="firing", run_id=~"$run|"}', "{{alertname}}"),),
            "table",
            COLUMNS,
            6,
        ),
    ),
)

RUN_BOARD = Board(
    "run",
    "raytrain-run",
    "raytrain: a run",
    "One run: is it learning, is it fast, is it safe, what does it cost.",
    False,
    (NOW, ALERTS, LEARNING, SPEED, SAFETY, Row("Where time goes", (PHASES, REASSIGNED))),
)

BILL = Row(
    "The bill",
    (
        _stat("Spent", "By the chosen runs together.", "currencyUSD", "sum(raytrain_cost_usd_total{RUN})"),
        _stat(
            "Burning",
            "What the chosen runs cost an hour, now.",
            "currencyUSD",
            "sum(raytrain_cost_rate_usd_per_hour{RUN})",
        ),
        _stat("Nodes", "Nodes that are paid for now.", "none", "sum(raytrain_nodes{RUN})"),
        _stat(
            "Goodput",
            "Share of the paid time that went into steps that count, all chosen runs together.",
            "percentunit",
            '(sum(raytrain_node_seconds_total{RUN, phase="step"})'
            ' - sum(raytrain_time_reassigned_seconds_total{RUN, from="step"})) / sum(raytrain_node_seconds_total{RUN})',
            GOOD_ABOVE,
        ),
        _stat(
            "Unproductive",
            "Share of the spent money that was not steps that count.",
            "percentunit",
            "sum(raytrain_cost_wasted_usd_total{RUN}) / sum(raytrain_cost_usd_total{RUN})",
            ((None, GREEN), (0.2, YELLOW), (0.4, RED)),
        ),
        _stat(
            "Energy",
            "Of owned machines, by the power that the recipe states.",
            "watth",
            "sum(raytrain_energy_joules_total{RUN}) / 3600",
        ),
    ),
)

MONEY = Row(
    "Money",
    (
        Panel("Spent so far", "By run.", "currencyUSD", (Query(SPENT, "{{run_id}}"),)),
        Panel(
            "Burn rate",
            "Dollars an hour, by market. It must be zero when nothing runs.",
            "currencyUSD",
            (Query("sum by (market) (raytrain_cost_rate_usd_per_hour{RUN})", "{{market}}"),),
            stacked=True,
        ),
        Panel(
            "Dollars per million tokens",
            "Training's cost over the tokens of the surviving history.",
            "currencyUSD",
            (Query(PER_MILLION, "{{run_id}}"),),
        ),
        Panel(
            "What the money went into",
            "By step of the run; data that were there already cost nothing.",
            "currencyUSD",
            (Query("sum by (component) (raytrain_cost_usd_total{RUN})", "{{component}}"),),
            "bargauge",
        ),
        Panel(
            "Unproductive money",
            "Training's cost that was not steps that count, by phase.",
            "currencyUSD",
            (Query("sum by (phase) (raytrain_cost_wasted_usd_total{RUN}) > 0", "{{phase}}"),),
            "bargauge",
        ),
        Panel(
            "Cost at the end",
            "What is spent, and the steps that are left at today's price and pace.",
            "currencyUSD",
            (
                Query(
                    f"{SPENT} + on (run_id) sum by (run_id) (raytrain_cost_rate_usd_per_hour{{RUN}}) / 3600"
                    f" * on (run_id) sum by (run_id) ({STEPS_LEFT} * {STEP_SECONDS})",
                    "{{run_id}}",
                ),
            ),
        ),
        Panel(
            "Age of the prices",
            "Prices of the shipped table. Older than 90 days they should not be trusted.",
            "s",
            (Query("raytrain_price_age_seconds{RUN}", "{{run_id}}"),),
            thresholds=((None, GREEN), (90 * 86400, RED)),
        ),
        Panel(
            "Power",
            "Of owned machines, by the power that the recipe states; it is an estimate, not a measurement.",
            "watt",
            (Query(f"sum by (method) (rate(raytrain_energy_joules_total{{RUN}}[{RATE}]))", "{{method}}"),),
        ),
    ),
)

COMPARED = Row(
    "Runs compared",
    (
        Panel(
            "Tokens a second",
            "By run.",
            "short",
            (Query(f"rate(raytrain_tokens_processed_total{{RUN}}[{RATE}])", "{{run_id}}"),),
        ),
        Panel(
            "Model FLOPs utilisation", "By run.", "percentunit", (Query("raytrain_train_mfu_ratio{RUN}", "{{run_id}}"),)
        ),
        Panel("Goodput", "By run.", "percentunit", (Query("raytrain_goodput_ratio{RUN}", "{{run_id}}"),), most=1),
        Panel(
            "Run by run",
            "One line a run: what it cost and what came of it.",
            "none",
            (
                Query(SPENT, "spent, $"),
                Query(PER_MILLION, "$ per million tokens"),
                Query("sum by (run_id) (raytrain_train_tokens{RUN})", "tokens"),
                Query("sum by (run_id) (raytrain_goodput_ratio{RUN})", "goodput"),
                Query("sum by (run_id) (raytrain_eval_bpb{RUN})", "bits per byte"),
                Query(f"{NODE_TIME} / 3600", "node hours"),
                Query(WASTED_SHARE, "unproductive"),
            ),
            "table",
            COLUMNS,
            8,
        ),
        Panel(
            "What the runs are",
            "The recipe behind each run; equal hashes are equal configurations.",
            "none",
            (Query("raytrain_run_info{RUN}", "{{run_id}}"),),
            "table",
            12,
            8,
        ),
        Panel(
            "Time since the start",
            "Since training first began.",
            "s",
            (Query("time() - raytrain_run_start_timestamp_seconds{RUN}", "{{run_id}}"),),
            "bargauge",
            12,
            8,
        ),
    ),
)

DATA = Row(
    "Data",
    (
        Panel(
            "What is left of the documents",
            "Documents after each stage of the curation.",
            "short",
            (Query('max by (dataset, stage) (raytrain_data_documents_total{RUN, outcome="kept"})', "{{stage}}"),),
            "bargauge",
        ),
        Panel(
            "Why documents go",
            "Documents that fail a rule; one document may fail several.",
            "short",
            (
                Query(
                    "topk(12, max by (dataset, reason) (raytrain_data_dropped_documents_total{RUN}) > 0)", "{{reason}}"
                ),
            ),
            "bargauge",
        ),
        Panel(
            "Duplicates",
            "Found by exact text, and by MinHash with verification.",
            "short",
            (Query("max by (dataset, method) (raytrain_data_duplicates_total{RUN})", "{{method}}"),),
            "bargauge",
        ),
        Panel(
            "Text after each stage",
            "Bytes of normalised text.",
            "bytes",
            (Query("max by (dataset, stage) (raytrain_data_bytes_total{RUN})", "{{stage}}"),),
            "bargauge",
        ),
        Panel(
            "Speed of the data steps",
            "Normalised text over the time of each step.",
            "Bps",
            (
                Query(
                    'max by (cluster, run_id) (raytrain_data_bytes_total{RUN, stage="normalised"})'
                    " / on (cluster, run_id) group_right() max by (cluster, run_id, stage)"
                    ' (raytrain_data_stage_duration_seconds{RUN, stage=~"ingest|annotate-.*|dedup|select"})',
                    "{{run_id}} {{stage}}",
                ),
            ),
            "bargauge",
        ),
        Panel(
            "Tokens",
            "Written for training and for validation; and how often the run has gone over them.",
            "short",
            (Query("max by (dataset, split) (raytrain_data_tokens_total{RUN})", "{{split}}"),),
            "bargauge",
        ),
        Panel(
            "Passes over the data",
            "Tokens trained on over tokens that there are.",
            "none",
            (
                Query(
                    "raytrain_train_tokens{RUN} / on (cluster, run_id)"
                    ' sum by (cluster, run_id) (raytrain_data_tokens_total{RUN, split="train"})',
                    "{{run_id}}",
                ),
            ),
        ),
    ),
)

SWEEPS = Row(
    "Sweeps",
    (
        Panel(
            "Trials",
            "By state.",
            "none",
            (Query("sum by (sweep_id, state) (raytrain_sweep_trials{CLUSTER})", "{{sweep_id}} {{state}}"),),
            "bargauge",
            12,
        ),
        Panel(
            "Best loss",
            "Lowest final loss of a sweep's trials.",
            "none",
            (Query("raytrain_sweep_best_loss{CLUSTER}", "{{sweep_id}}"),),
            width=12,
        ),
    ),
)

RAY = Row(
    "Ray cluster",
    (
        Panel(
            "Nodes",
            "Machines that have joined.",
            "none",
            (Query("count(ray_node_cpu_count{CLUSTER})", "nodes"),),
            width=6,
        ),
        Panel(
            "Processors",
            "In use, and all of them.",
            "none",
            (
                Query("sum(ray_node_cpu_utilization{CLUSTER} * ray_node_cpu_count{CLUSTER}) / 100", "in use"),
                Query("sum(ray_node_cpu_count{CLUSTER})", "all"),
            ),
            width=6,
        ),
        Panel(
            "Memory",
            "In use, and all of it.",
            "bytes",
            (
                Query("sum(ray_node_mem_used{CLUSTER})", "in use"),
                Query("sum(ray_node_mem_total{CLUSTER})", "all"),
            ),
            width=6,
        ),
        Panel(
            "Disk",
            "In use on the nodes.",
            "bytes",
            (Query("sum by (instance) (ray_node_disk_usage{CLUSTER})", "{{instance}}"),),
            width=6,
        ),
    ),
)

PREFECT = Row(
    "Prefect",
    (
        Panel(
            "Flow runs",
            "All that Prefect knows, by state.",
            "none",
            (Query("sum by (state) (raytrain_flow_runs{CLUSTER})", "{{state}}"),),
            "bargauge",
        ),
        Panel(
            "Flow runs by flow",
            "Running, failed and crashed ones.",
            "none",
            (Query('raytrain_flow_runs{CLUSTER, state=~"running|failed|crashed"}', "{{flow}} {{state}}"),),
        ),
        Panel(
            "Server",
            "Memory of Prefect's server.",
            "bytes",
            (Query('process_resident_memory_bytes{CLUSTER, job="prefect"}', "memory"),),
        ),
    ),
)

HEALTH = Row(
    "Are these figures fresh?",
    (
        Panel(
            "Sources",
            "1 where Prometheus gets an answer.",
            "none",
            (Query("up{CLUSTER}", "{{job}} {{instance}}"),),
            width=6,
            thresholds=((None, RED), (1, GREEN)),
        ),
        Panel(
            "Since the last look at the store",
            "More than a minute: the store does not answer.",
            "s",
            (
                Query("time() - raytrain_exporter_last_poll_timestamp_seconds{CLUSTER}", "age"),
                Query("raytrain_exporter_poll_duration_seconds{CLUSTER}", "time of a look"),
            ),
            width=6,
        ),
        Panel(
            "Trouble of the exporter",
            "Looks that failed, and series left out for their number.",
            "none",
            (
                Query("sum by (reason) (raytrain_exporter_errors_total{CLUSTER})", "failed: {{reason}}"),
                Query("sum by (reason) (raytrain_exporter_dropped_samples_total{CLUSTER})", "left out: {{reason}}"),
            ),
            width=6,
        ),
        Panel(
            "Runs served",
            "Live ones, and those that ended a day ago at most.",
            "none",
            (Query("raytrain_exporter_runs{CLUSTER}", "runs"),),
            width=6,
        ),
    ),
)

COST_BOARD = Board(
    "cost",
    "raytrain-cost",
    "raytrain: cost and throughput",
    "All runs: what they cost, what came of it, and the cluster that they run on.",
    True,
    (BILL, MONEY, COMPARED, Row("Where time goes", (PHASES, REASSIGNED)), DATA, SWEEPS, RAY, PREFECT, HEALTH),
)

BOARDS = (RUN_BOARD, COST_BOARD)
