"""The engine without a cluster: shards on threads (kernels release the GIL), training in child processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from raytrain.errors import UserError
from raytrain.store import Store
from raytrain.store.step import Task
from raytrain.train.hardware import this_node
from raytrain.train.job import TrainJob
from raytrain.train.progress import read_failure


class LocalEngine:
    """This machine."""

    name = "local"

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.cpu_seconds = 0.0

    def map_shards(self, work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        def timed(task: Task) -> tuple[Task, float]:
            start = time.thread_time()
            return work(task), time.thread_time() - start

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            done = list(pool.map(timed, tasks))
        self.cpu_seconds += sum(seconds for _, seconds in done)
        return [result for result, _ in done]

    def node(self) -> str:
        return this_node()

    def train(self, job: TrainJob) -> None:
        """One process a worker, joined by torch's own environment variables, as torchrun would."""
        world = job.train.workers_max
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
        environment["OMP_NUM_THREADS"] = str(job.train.threads)
        environment["RAYTRAIN_DRIVER"] = str(os.getpid())
        text = job.model_dump_json()
        children = [
            subprocess.Popen(
                [sys.executable, "-m", "raytrain.train.worker"],
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]
        try:
            for child in children:
                assert child.stdin is not None
                child.stdin.write(text)
                child.stdin.close()
            codes = _wait_for_all(children)
        finally:
            for child in children:
                if child.poll() is None:
                    child.kill()
                child.wait()
        failure = read_failure(Store(job.store), job.run, job.attempt)
        if failure is not None:
            raise failure
        if any(codes):
            raise UserError(f"training: a worker died (exit codes {codes}); run the same command again to resume")


def _wait_for_all(children: list[subprocess.Popen[str]]) -> list[int]:
    """Waits until all are done, or one has failed: its peers would wait for it for ever."""
    done = threading.Event()

    def watch(child: subprocess.Popen[str]) -> None:
        if child.wait() != 0 or all(c.poll() is not None for c in children):
            done.set()

    for child in children:
        threading.Thread(target=watch, args=(child,), daemon=True).start()
    done.wait()
    for child in children:
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
    return [child.wait() for child in children]
