"""The exporter: a store's runs as Prometheus metrics, from one process a cluster.

It reads what is durable and writes nothing. The invariant: whatever becomes of the store or of Prefect, it goes on
serving the last values that it read, and says so.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from raytrain.errors import UserError
from raytrain.observe.catalogue import BY_NAME
from raytrain.observe.collect import state_of
from raytrain.observe.prefect import authorization
from raytrain.observe.watch import Histogram, RunWatch, Sample, last_sign
from raytrain.store import Store

POLL_SECONDS = 10.0
KEEP_SECONDS = 24 * 3600.0  # a run that has ended is served for so long
LOOK_AGAIN_SECONDS = 60.0  # runs that have ended may begin anew
LOOK_AT_OLD_SECONDS = 300.0
MAX_RUNS = 200  # the newest are served
PREFECT_SECONDS = 30.0
FLOW_STATES = ("SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "info": GaugeMetricFamily}


class Exporter(Collector):
    """Watches a store's runs; Prometheus' registry asks it for families."""

    def __init__(self, store: Store, prefect: str | None = None, keep_seconds: float = KEEP_SECONDS) -> None:
        self.store, self.prefect, self.keep_seconds = store, prefect, keep_seconds
        self._watches: dict[str, RunWatch] = {}
        self._look_at: dict[str, float] = {}
        self._samples: dict[str, list[Sample]] = {}
        self._errors: Counter[str] = Counter(store=0, prefect=0, event=0, artifact=0)
        self._dropped: Counter[str] = Counter(runs=0, domains=0)
        self._flows_at = self._took = 0.0
        self._last = time.time()  # a first look may take its time; it is not decades late

    def poll(self, now: float | None = None) -> None:
        """One look at everything. Raises nothing that the store or Prefect did."""
        started, now = time.monotonic(), time.time() if now is None else now
        failed = self._errors["store"]
        self._poll_runs(now)
        fresh = {f"runs/{name}": watch.samples(now) for name, watch in self._watches.items()}
        sweeps = self._try("store", lambda: sweep_samples(self.store))
        fresh["sweeps"] = self._samples.get("sweeps", []) if sweeps is None else sweeps
        fresh["flows"] = self._samples.get("flows", [])
        if self.prefect is not None and now - self._flows_at >= PREFECT_SECONDS:
            self._flows_at = now
            flows = self._try("prefect", lambda: flow_runs(str(self.prefect)))
            fresh["flows"] = fresh["flows"] if flows is None else flows
        self._samples = fresh  # at once: a scrape sees all of this look or all of the last
        self._took = time.monotonic() - started
        if self._errors["store"] == failed:
            self._last = now

    def collect(self) -> Iterator[Metric]:
        """The families of what was read last."""
        everything = [*self._own(), *(s for samples in self._samples.values() for s in samples)]
        yield from families(everything)

    def _poll_runs(self, now: float) -> None:
        names = self._try("store", lambda: self.store.folders("runs"))
        if not names and self._watches:  # runs do not all vanish at once: a disk or a bucket did
            self._errors["store"] += names is not None
            return
        for name in names or []:
            if now >= self._look_at.get(name, 0.0):
                self._try("store", lambda name=name: self._look(name, now))  # type: ignore[misc]
        for gone in self._watches.keys() - set(names or []):
            del self._watches[gone]

    def _look(self, name: str, now: float) -> None:
        watch = self._watches.get(name)
        if watch is None:
            if not self.store.exists(f"runs/{name}/recipe.json"):
                return
            if state_of(self.store, name) != "running" and now - last_sign(self.store, name) > self.keep_seconds:
                self._look_at[name] = now + LOOK_AT_OLD_SECONDS
                return
            watch = RunWatch(self.store, name, self._errors, self._dropped)
        watch.poll()
        self._watches[name] = watch
        self._look_at[name] = 0.0 if watch.state == "running" else now + LOOK_AGAIN_SECONDS
        if watch.state != "running" and now - last_sign(self.store, name) > self.keep_seconds:
            self._drop(name, now)
        elif len(self._watches) > MAX_RUNS:
            self._dropped["runs"] += 1
            self._drop(min(self._watches, key=lambda n: self._watches[n].standing), now)

    def _drop(self, name: str, now: float) -> None:
        del self._watches[name]
        self._look_at[name] = now + LOOK_AT_OLD_SECONDS

    def _try(self, reason: str, look: Callable[[], Any]) -> Any:
        try:
            return look()
        except Exception:  # a store fails in as many ways as there are stores; the last values stay
            self._errors[reason] += 1
            return None

    def _own(self) -> Iterator[Sample]:
        yield Sample("raytrain_exporter_runs", (), len(self._watches))
        yield Sample("raytrain_exporter_poll_duration_seconds", (), self._took)
        yield Sample("raytrain_exporter_last_poll_timestamp_seconds", (), self._last)
        yield from (Sample("raytrain_exporter_errors_total", (r,), n) for r, n in list(self._errors.items()))
        yield from (Sample("raytrain_exporter_dropped_samples_total", (r,), n) for r, n in list(self._dropped.items()))


def families(samples: Iterable[Sample]) -> Iterator[Metric]:
    """Samples gathered by metric, in the catalogue's order. A metric that is not in the catalogue is a KeyError."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample.name, []).append(sample)
    for name in sorted(by_name, key=list(BY_NAME).index):
        metric = BY_NAME[name]
        unit = f" Unit: {metric.unit}." if metric.unit else ""
        if metric.kind == "histogram":
            histogram = HistogramMetricFamily(name, metric.help + unit, labels=metric.labels)
            for sample in by_name[name]:
                assert isinstance(sample.value, Histogram)
                histogram.add_metric(sample.labels, sample.value.buckets(), sample.value.total)
            yield histogram
            continue
        family = _FAMILIES[metric.kind](name, metric.help + unit, labels=metric.labels)
        for sample in by_name[name]:
            family.add_metric(sample.labels, float(sample.value))  # type: ignore[arg-type]
        yield family


def flow_runs(api: str) -> list[Sample]:
    """Flow runs by flow and state, from Prefect's API at `api` (PREFECT_API_URL). Raises OSError or ValueError."""
    found = []
    for flow in _post(f"{api}/flows/filter", {"limit": 100}):
        for state in FLOW_STATES:
            asked = {"flows": {"id": {"any_": [flow["id"]]}}, "flow_runs": {"state": {"type": {"any_": [state]}}}}
            count = float(_post(f"{api}/flow_runs/count", asked))
            found.append(Sample("raytrain_flow_runs", (flow["name"], state.lower()), count))
    return found


def sweep_samples(store: Store) -> list[Sample]:
    """Each sweep's trials by state and its best loss, from `sweeps/<name>/state.json`."""
    found = []
    for name in store.folders("sweeps"):
        try:
            state: Mapping[str, Any] = json.loads(store.get(f"sweeps/{name}/state.json"))
        except FileNotFoundError:
            continue
        found += [Sample("raytrain_sweep_trials", (name, kind), float(n)) for kind, n in state["trials"].items()]
        if state.get("best_loss") is not None:
            found.append(Sample("raytrain_sweep_best_loss", (name,), float(state["best_loss"])))
    return found


def serve(exporter: Exporter, host: str, port: int, stop: threading.Event, every: float = POLL_SECONDS) -> None:
    """Serves until `stop` is set. Raises UserError when the address cannot be had."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise UserError(f"--port {port}: {host}:{port} cannot be listened on: {error.strerror}; name another") from None
    # The looks are on a thread of their own: one that hangs in a dead store must not keep the process from ending.
    threading.Thread(target=_poll_often, args=(exporter, stop, every), name="raytrain-poll", daemon=True).start()
    stop.wait()
    server.shutdown()
    server.server_close()
    thread.join()


def _poll_often(exporter: Exporter, stop: threading.Event, every: float) -> None:
    while not stop.is_set():
        exporter.poll()
        stop.wait(every)


def _post(url: str, body: Mapping[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"} | authorization()
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.loads(answer.read())
