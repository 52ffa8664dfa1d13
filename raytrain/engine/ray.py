"""The engine on Ray: shard work through Ray Data, training through Ray Train.

Ray never sees a checkpoint and never holds state that we need: the store is the truth, so that a cluster may
vanish at any moment. A cluster of our own is started on loopback unless RAY_ADDRESS names one.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from raytrain.errors import UserError
from raytrain.store import Store
from raytrain.store.scratch import process_folder
from raytrain.store.step import Task
from raytrain.train.job import TrainJob
from raytrain.train.progress import read_failure
from raytrain.train.section import TrainSection

# Ray Train waits this long for a worker group on a node that just died; its default is 60.
_RAY_ENV = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# Nobody looks at the metrics of a cluster that lives for one run; on one that we join they belong to others too.
_OWN_CLUSTER_ENV = {
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
}
MAX_FAILURES = 64  # worker and node losses that a run survives on its own
CONNECT_SECONDS = 10.0
RESIZE_SECONDS = 30.0  # between two looks at whether there is room for more workers; a resize costs a restart
AUTOSCALED_GPU = "autoscaled_gpu"
"""A custom resource by which a cluster's head says that nodes with GPUs come when they are asked for."""


class RayEngine:
    """A Ray cluster, joined or started at the first use."""

    name = "ray"

    def __init__(self, train: TrainSection, say: Callable[[str], None]) -> None:
        self._train, self._say = train, say
        self.cpu_seconds = 0.0
        self._temp: Path | None = None
        self._started = False

    def map_shards(self, work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        """One Ray Data row a shard descriptor: the data stay in the store, results come back in order."""
        if not tasks:
            return []
        self._start()
        import ray.data

        def run(row: dict[str, Any]) -> dict[str, Any]:
            start = time.process_time()  # a worker process runs one task at a time
            result = work(json.loads(row["task"]))
            return {"index": row["index"], "result": json.dumps(result), "cpu": time.process_time() - start}

        rows = [{"index": i, "task": json.dumps(t)} for i, t in enumerate(tasks)]
        try:
            done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run).take_all()
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        self.cpu_seconds += sum(r["cpu"] for r in done)
        return [json.loads(r["result"]) for r in sorted(done, key=lambda r: r["index"])]

    def node(self) -> str:
        self._start()
        return _node()

    def train(self, job: TrainJob) -> None:
        self._start()
        if self._temp is not None:
            _end_stats_actor()
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        gpu = _has_gpu()
        low, high = job.train.workers_min, job.train.workers_max
        scaling = ScalingConfig(
            num_workers=high if low == high else (low, high),
            elastic_resize_monitor_interval_s=RESIZE_SECONDS,
            use_gpu=gpu,
            resources_per_worker={"CPU": job.train.threads, **({"GPU": 1} if gpu else {})},
        )
        with tempfile.TemporaryDirectory(prefix="ray-", dir=process_folder()) as folder:
            trainer = TorchTrainer(
                _train_on_ray,
                train_loop_config={"job": job.model_dump(mode="json")},
                torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
                scaling_config=scaling,
                run_config=RunConfig(
                    name=f"{job.run}-a{job.attempt}",
                    storage_path=folder,
                    failure_config=FailureConfig(max_failures=MAX_FAILURES),
                ),
            )
            try:
                with _signals_stay_ours():
                    trainer.fit()
            except SystemExit:  # how Ray Train ends after its own answer to Ctrl-C
                raise KeyboardInterrupt from None
            except Exception:
                failure = read_failure(Store(job.store), job.run, job.attempt)
                if failure is not None:
                    raise failure from None
                raise
        failure = read_failure(Store(job.store), job.run, job.attempt)
        if failure is not None:
            raise failure

    def close(self) -> None:
        if self._started:
            import ray

            ray.shutdown()
            self._started = False
        if self._temp is not None:
            shutil.rmtree(self._temp, ignore_errors=True)

    def _start(self) -> None:
        if self._started:
            return
        with _signals_stay_ours():
            self._open_cluster()
        self._started = True

    def _open_cluster(self) -> None:
        address = os.environ.get("RAY_ADDRESS")
        wanted = _RAY_ENV if address else _RAY_ENV | _OWN_CLUSTER_ENV
        os.environ.update({k: v for k, v in wanted.items() if k not in os.environ})
        os.environ.setdefault("OMP_NUM_THREADS", str(self._train.threads))
        if address:
            _join(address)
        else:
            # A cluster that nobody else can join, with files of its own; sockets need a short path.
            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            self._temp = process_folder("/tmp") / "ray"
            os.environ["RAY_TMPDIR"] = str(self._temp)
            import ray

            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody preempts one's own machine
            cores = os.cpu_count() or 1
            ray.init(
                address="local",
                num_cpus=max(cores, self._train.workers_max * self._train.threads),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=200 * 2**20,
                _temp_dir=str(self._temp),
            )
            _end_log_monitor()
        import ray.data

        ray.data.DataContext.get_current().enable_progress_bars = False
        for name in ("ray.data", "ray.train", "ray.tune"):
            logging.getLogger(name).setLevel(logging.ERROR)


def _join(address: str) -> None:
    """Joins the cluster at an address, or says in one line why not."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"RAY_ADDRESS: no Ray cluster answers at {address!r} ({error}); start one, give host:port of its head, "
            "or unset RAY_ADDRESS for a cluster of this run's own"
        ) from None
    import ray

    try:
        with _standard_error_closed():  # Ray's C++ would say beside us what we say below
            ray._raylet.GcsClient(address=address)  # answers at once where ray.init tries for 20 seconds
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except ray.exceptions.AuthenticationError:
        raise UserError(
            f"RAY_AUTH_TOKEN: the Ray cluster at {address} does not let us in; set RAY_AUTH_MODE=token and the "
            "token it was started with"
        ) from None
    except (ray.exceptions.RayError, RuntimeError, ConnectionError) as error:
        raise UserError(f"RAY_ADDRESS: {address}: {' '.join(str(error).split())[-300:]}") from None


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Nothing that this process writes there is seen, not even by code below Python."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _signals_stay_ours() -> Iterator[None]:
    """Ray answers SIGTERM with an abort and SIGINT with an exit of its own; afterwards both are again as before."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in kept.items():
                signal.signal(number, handler)


def _train_on_ray(config: dict[str, Any]) -> None:
    import ray.train

    from raytrain.train.worker import work

    context = ray.train.get_context()
    os.environ["LOCAL_RANK"] = str(context.get_local_rank())
    os.environ["RAYTRAIN_NODE"] = _node()
    job = TrainJob.model_validate(config["job"])
    if read_failure(Store(job.store), job.run, job.attempt) is not None:
        return  # the group was restarted after one of us gave up: all return, and the driver reads why
    if not work(job, context.get_world_rank()):
        # Peers may hang in a collective that we left: an error makes Ray end the whole group.
        raise RuntimeError("this worker gave up; the reason is in the store")


def _end_log_monitor() -> None:
    """Of our own cluster: it tails every log for a driver that does not listen. An idle one costs 1% of a core."""
    import ray

    node = ray._private.worker._global_node
    if hasattr(node, "kill_log_monitor"):
        node.kill_log_monitor()


def _end_stats_actor() -> None:
    """Ray Data's statistics; every idle actor of Ray's costs nearly 1% of a core, and no data is read any more."""
    import ray

    try:
        ray.kill(ray.get_actor("datasets_stats_actor", namespace="_dataset_stats_actor"))
    except ValueError:  # there was nothing to be done before training
        pass


def _node() -> str:
    """A node of Ray's: several may share a host name."""
    import ray

    return str(ray.get_runtime_context().get_node_id())[:12]


def _has_gpu() -> bool:
    import ray

    resources = ray.cluster_resources()
    return bool(resources.get("GPU") or resources.get(AUTOSCALED_GPU))
