"""The exporter: what it serves comes from the store, never falls, and stays when the store does not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from raytrain.ledger import account, read_events
from raytrain.observe.catalogue import CATALOGUE, SERIES
from raytrain.observe.exporter import MAX_RUNS, Exporter, flow_runs
from raytrain.services import programs
from raytrain.store import Attempt, Store
from tests.observe.life import TOKENS, Life, copied, curated, evaluated, lived
from tests.parts.prometheus import free_port, needs_prometheus, wait_for

COMMAND = [sys.executable, "-c", "from raytrain.cli import main; main()", "exporter"]
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def text_of(exporter: Exporter) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    return generate_latest(registry)


def served(exporter: Exporter) -> Series:
    """All that a scrape would get."""
    families = text_string_to_metric_families(text_of(exporter).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of the series of a name that carry these labels."""
    found = [v for (n, held), v in series.items() if n == name and set(labels.items()) <= held]
    assert found, name
    return sum(found)


def names(series: Series) -> set[str]:
    return {name for name, _ in series}


@contextmanager
def running_exporter(store: str, *options: str) -> Iterator[str]:
    """`raytrain exporter` as a process of its own; gives host:port."""
    port = free_port()
    process = subprocess.Popen([*COMMAND, "--store", store, "--port", str(port), *options], stdout=subprocess.PIPE)
    try:
        wait_for(lambda: process.poll() is not None or urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics"))
        assert process.poll() is None
        yield f"127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the run `lives`, curated up to its tokens. Copy it, do not write to it."""
    folder = tmp_path_factory.mktemp("curated")
    curated(folder)
    return folder / "store"


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Store:
    import shutil

    shutil.copytree(template, tmp_path / "store", dirs_exist_ok=True)
    return Store(str(tmp_path / "store"))


@pytest.fixture
def life(store: Store) -> Iterator[Life]:
    """The run `lives`, in the middle of it."""
    attempt = Attempt.claim(store, "lives")
    story = lived(store, "lives", attempt.number, time.time() - 140)
    yield story
    story.close()
    attempt.release("stopped")


def test_every_metric_of_a_run_is_set_by_what_is_in_the_store(store: Store, life: Life) -> None:
    evaluated(store, "lives")
    store.replace("sweeps/s/state.json", json.dumps({"trials": {"done": 3}, "best_loss": 3.2}).encode())
    exporter = Exporter(store)
    exporter.poll()
    found = names(served(exporter))
    missing = [m.name for m in CATALOGUE if not set(m.series) <= found]
    assert missing == ["raytrain_flow_runs"]  # that is Prefect's to say
    assert found <= set(SERIES)


@needs_prometheus
def test_promtool_has_nothing_to_say_against_what_is_served(store: Store, life: Life) -> None:
    exporter = Exporter(store)
    exporter.poll()
    command = [str(programs.find("promtool")), "check", "metrics"]
    done = subprocess.run(command, input=text_of(exporter), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_figures_are_those_of_the_story(store: Store, life: Life) -> None:
    exporter = Exporter(store)
    exporter.poll()
    series = served(exporter)
    assert value(series, "raytrain_run_state", state="running") == 1
    assert value(series, "raytrain_run_state") == 1
    assert value(series, "raytrain_train_step") == 40
    assert value(series, "raytrain_train_max_steps") == 400
    assert value(series, "raytrain_train_tokens") == 40 * TOKENS
    assert value(series, "raytrain_tokens_processed_total") == 43 * TOKENS
    assert value(series, "raytrain_lost_steps_total") == 3
    assert value(series, "raytrain_restarts_total", kind="shrink") == 1
    assert value(series, "raytrain_restarts_total", kind="grow") == 1
    assert value(series, "raytrain_train_world_size") == 2
    assert value(series, "raytrain_nodes") == 2
    assert value(series, "raytrain_cost_rate_usd_per_hour", market="spot") == pytest.approx(4.8)
    assert value(series, "raytrain_checkpoint_last_step") == 30
    assert value(series, "raytrain_checkpoint_bytes_total") == 32_000_000
    assert value(series, "raytrain_checkpoint_duration_seconds_count", op="save") == 2
    assert value(series, "raytrain_train_skipped_steps_total", reason="not_finite") == 1
    assert value(series, "raytrain_train_step_duration_seconds_bucket", le="1.0") == 43
    assert value(series, "raytrain_time_reassigned_seconds_total", to="wasted") == pytest.approx(6)


def test_time_and_money_agree_with_the_account(store: Store, life: Life) -> None:
    exporter = Exporter(store)
    exporter.poll()
    series, books = served(exporter), account(read_events(store, "lives"))
    assert value(series, "raytrain_node_seconds_total") == pytest.approx(books.elapsed_seconds)
    assert value(series, "raytrain_cost_usd_total", component="pretrain") == pytest.approx(books.cost_usd)
    assert value(series, "raytrain_goodput_ratio") == pytest.approx(books.goodput)
    good = value(series, "raytrain_node_seconds_total", phase="step")
    assert good - value(series, "raytrain_time_reassigned_seconds_total", to="wasted") == pytest.approx(
        books.phases["step"]
    )
    assert value(series, "raytrain_energy_joules_total") == pytest.approx(300 * books.elapsed_seconds)


def test_counters_never_fall_whoever_serves_them(store: Store) -> None:
    """A first exporter sees the story unfold; a second one is started anew for every look."""
    counters = {s for m in CATALOGUE if m.kind in ("counter", "histogram") for s in m.series}
    attempt = Attempt.claim(store, "lives")
    life = Life(store, "lives", attempt.number, time.time() - 500)
    one, before = Exporter(store), {}
    chapters: list[Any] = [
        lambda: life.group("ab", 0),
        lambda: life.steps(5),
        life.checkpoint,
        lambda: life.steps(4),
        lambda: life.group("a", 5),
        life.trouble,
        lambda: life.steps(3),
        life.validate,
        lambda: life.group("ac", 6),
        lambda: life.steps(2),
        life.leave,
        life.end,
    ]
    for chapter in chapters:
        chapter()
        life.flush()
        for exporter in (one, Exporter(store)):
            exporter.poll()
            now = {key: v for key, v in served(exporter).items() if key[0] in counters and "exporter" not in key[0]}
            fell = {key: (v, now.get(key)) for key, v in before.items() if now.get(key, -1.0) < v - 1e-9}
            assert not fell
            before = now
    attempt.release("stopped")


def test_what_was_curated_is_counted_from_the_manifests(store: Store) -> None:
    exporter = Exporter(store)
    exporter.poll()
    series = served(exporter)
    read = value(series, "raytrain_data_documents_total", stage="read", outcome="kept")
    kept = value(series, "raytrain_data_documents_total", stage="near_duplicates", outcome="kept")
    assert read == 84 and kept == read - value(series, "raytrain_data_documents_total", outcome="dropped")
    assert value(series, "raytrain_data_dropped_documents_total", reason="bad_json") == 2
    assert value(series, "raytrain_data_duplicates_total", method="exact") == 2
    assert value(series, "raytrain_data_tokens_total", split="train") > 1000
    assert value(series, "raytrain_cost_usd_total", component="ingest") > 0


def test_data_that_were_there_cost_the_second_run_nothing(store: Store) -> None:
    copied(store, "lives", "second")
    Attempt.claim(store, "second").release("stopped")
    exporter = Exporter(store)
    exporter.poll()
    series = served(exporter)
    payers = {dict(labels)["run_id"] for name, labels in series if name == "raytrain_cost_usd_total"}
    assert payers == {"lives"}
    assert value(series, "raytrain_data_tokens_total", run_id="second") > 0


def test_a_run_in_training_is_read_on_without_reading_again(store: Store, life: Life) -> None:
    exporter = Exporter(store)
    exporter.poll()
    read: list[str] = []
    get = store.get
    store.get = lambda key: read.append(key) or get(key)  # type: ignore[method-assign, func-returns-value]
    life.steps(5)
    life.flush()
    exporter.poll()
    assert value(served(exporter), "raytrain_train_step") == 45
    segments = [key for key in read if "/ledger/" in key]
    assert len(segments) <= 2 + 2 * 3  # two leaders wrote; each that may write is asked once more
    assert not any("MANIFEST" in key for key in read)


def test_a_store_that_does_not_answer_leaves_the_last_values(store: Store, life: Life) -> None:
    exporter = Exporter(store)
    exporter.poll()
    before = served(exporter)
    working = {name: getattr(store, name) for name in ("folders", "get", "exists", "keys")}

    def dead(*_: Any) -> Any:
        raise OSError("the network is unreachable")

    for name in working:
        setattr(store, name, dead)
    exporter.poll()
    during = served(exporter)
    assert value(during, "raytrain_exporter_errors_total", reason="store") > 0
    assert value(during, "raytrain_train_step") == value(before, "raytrain_train_step")
    assert value(during, "raytrain_exporter_last_poll_timestamp_seconds") == value(
        before, "raytrain_exporter_last_poll_timestamp_seconds"
    )
    for name, method in working.items():
        setattr(store, name, method)
    life.steps(1)
    life.flush()
    exporter.poll()
    assert value(served(exporter), "raytrain_train_step") == 41


def test_a_disk_that_vanishes_is_not_taken_for_the_end_of_all_runs(store: Store, life: Life, tmp_path: Path) -> None:
    exporter = Exporter(store)
    exporter.poll()
    os.rename(tmp_path / "store", tmp_path / "elsewhere")
    exporter.poll()
    assert value(served(exporter), "raytrain_train_step") == 40
    assert value(served(exporter), "raytrain_exporter_errors_total", reason="store") > 0
    os.rename(tmp_path / "elsewhere", tmp_path / "store")


def test_a_damaged_event_is_counted_and_the_others_are_read(store: Store, life: Life) -> None:
    life.driver.event("step", ts=life.now)  # without a number or a value
    life.steps(1)
    life.flush()
    exporter = Exporter(store)
    exporter.poll()
    series = served(exporter)
    assert value(series, "raytrain_exporter_errors_total", reason="event") == 1
    assert value(series, "raytrain_train_step") == 41


def test_a_manifest_that_is_not_understood_hides_nothing_else(store: Store, life: Life) -> None:
    lineage = json.loads(store.get("runs/lives/lineage.json"))
    manifest = json.loads(store.get(f"{lineage['select']}/MANIFEST.json"))
    manifest["facts"] = {"funnel": [{"step": "read", "documents": None}] * 2}
    store.replace(f"{lineage['select']}/MANIFEST.json", json.dumps(manifest).encode())
    exporter = Exporter(store)
    exporter.poll()
    series = served(exporter)
    assert value(series, "raytrain_exporter_errors_total", reason="artifact") == 1
    assert value(series, "raytrain_train_step") == 40
    assert "raytrain_data_documents_total" not in names(series)


def test_a_finished_run_is_served_for_a_while_and_then_dropped(store: Store) -> None:
    attempt = Attempt.claim(store, "lives")
    life = lived(store, "lives", attempt.number, time.time() - 140)
    life.leave()
    life.end()
    attempt.release("stopped")
    exporter = Exporter(store, keep_seconds=3600)
    exporter.poll()
    series = served(exporter)
    assert value(series, "raytrain_run_state", state="stopped") == 1
    assert value(series, "raytrain_nodes") == 0 and value(series, "raytrain_cost_rate_usd_per_hour") == 0
    exporter.poll(time.time() + 3700)
    assert "raytrain_run_state" not in names(served(exporter))
    assert value(served(exporter), "raytrain_exporter_runs") == 0
    old = Exporter(store, keep_seconds=0)
    old.poll(time.time() + 10)
    assert value(served(old), "raytrain_exporter_runs") == 0
    again = Attempt.claim(store, "lives")  # and comes back when it is taken up
    exporter.poll(time.time() + 4100)
    assert value(served(exporter), "raytrain_run_state", state="running") == 1
    again.release("stopped")


def test_the_number_of_series_is_bounded(store: Store, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    domains = {f"domain-{n}": 1.0 for n in range(500)}
    value_of = {"bits_per_byte": 1.0, "loss": 1.0, "documents": 1, "bytes": 1, "full": False, "domains": domains}
    life.first.event("eval", ts=life.now, step=40, value=value_of)
    life.flush()
    exporter = Exporter(store)
    exporter.poll()
    series = served(exporter)
    assert value(series, "raytrain_exporter_dropped_samples_total", reason="domains") == 450
    assert len([key for key in series if ("run_id", "lives") in key[1]]) < 300
    assert MAX_RUNS <= 500
    monkeypatch.setattr("raytrain.observe.exporter.MAX_RUNS", 2)
    for n in range(4):
        copied(store, "lives", f"other-{n}")
        Attempt.claim(store, f"other-{n}").release("stopped")
    crowded = Exporter(store)
    crowded.poll()
    series = served(crowded)
    assert value(series, "raytrain_exporter_runs") == 2
    assert value(series, "raytrain_exporter_dropped_samples_total", reason="runs") == 3
    assert value(series, "raytrain_run_info", run_id="lives") == 1  # the one that lives is kept


class Api(BaseHTTPRequestHandler):
    """As much of Prefect's API as is asked."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/flows/filter":
            answer: Any = [{"id": "1", "name": "pretrain"}]
        else:
            answer = 2 if body["flow_runs"]["state"]["type"]["any_"] == ["FAILED"] else 0
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


def test_flow_runs_are_counted_while_prefect_answers_and_kept_when_it_does_not(store: Store) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    exporter = Exporter(store, prefect=f"http://127.0.0.1:{server.server_port}/api")
    try:
        exporter.poll()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert value(served(exporter), "raytrain_flow_runs", flow="pretrain", state="failed") == 2
    exporter.poll(time.time() + 60)
    assert value(served(exporter), "raytrain_flow_runs", flow="pretrain", state="failed") == 2
    assert value(served(exporter), "raytrain_exporter_errors_total", reason="prefect") == 1


@pytest.mark.slow
def test_flow_runs_are_those_of_a_real_prefect(tmp_path: Path) -> None:
    port = free_port()
    quiet = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_LOGGING_SERVER_LEVEL": "ERROR"}
    environment = os.environ | quiet | {"PREFECT_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    api = f"http://127.0.0.1:{port}/api"
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: urllib.request.urlopen(f"{api}/ready", timeout=5), 180)
        body = {"name": "pretrain"}
        request = urllib.request.Request(
            f"{api}/flows/", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        # A Prefect that has just started answers 503 while its database is busy.
        flow = json.loads(wait_for(lambda: urllib.request.urlopen(request, timeout=30).read(), 60))["id"]
        run = {"flow_id": flow, "state": {"type": "FAILED", "name": "Failed"}}
        request = urllib.request.Request(
            f"{api}/flow_runs/", json.dumps(run).encode(), {"Content-Type": "application/json"}
        )
        wait_for(lambda: urllib.request.urlopen(request, timeout=30), 60)
        counted = {sample.labels: sample.value for sample in flow_runs(api)}
    finally:
        server.terminate()
        server.wait(60)
    assert counted["pretrain", "failed"] == 1
    assert sum(float(n) for n in counted.values()) == 1  # type: ignore[arg-type]


def test_the_command_serves_on_loopback_and_ends_with_0_when_told(store: Store) -> None:
    with running_exporter(store.uri, "--every", "0.2") as place:
        url = f"http://{place}/metrics"
        page = wait_for(lambda: b"raytrain_run_info" in (body := urllib.request.urlopen(url).read()) and body)
    assert b'run_id="lives"' in page


def test_a_port_in_use_is_one_line_and_exit_1(store: Store) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        command = [*COMMAND, "--store", store.uri, "--port", str(held.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --port") and done.stderr.count("\n") == 1
