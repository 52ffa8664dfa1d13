"""Ray's real autoscaler under a real run: the cluster grows for the training and shrinks after it, bit for bit."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from raytrain.engine.ray import RESIZE_SECONDS
from raytrain.ledger import read_events
from raytrain.store import Store
from raytrain.train.progress import read_progress

from .conftest import COMMAND, RECIPE, ROOT, environment, same_as

pytestmark = [pytest.mark.slow, pytest.mark.long]

TICK_SECONDS = 20  # so often does Ray tell its trainings of new nodes

MARK = "AUTOSCALE_TEST"
"""In the environment of every process of the cluster, with a value of its own: so that they can be found and ended."""

WATCH = """
import sys, time, json
from ray._raylet import GcsClient
gcs, last = GcsClient(address=sys.argv[1]), None
while True:
    workers = sum(n.state == 0 and not n.is_head_node for n in gcs.get_all_node_info(timeout=30).values())
    if workers != last:
        print(json.dumps({"ts": time.time(), "workers": workers}), flush=True)
        last = workers
    time.sleep(0.5)
"""


class Cluster:
    """A head with Ray's autoscaler, whose nodes are processes of this machine, and a watch on their number."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, secrets.token_hex(8)
        self.address = f"127.0.0.1:{free_port()}"
        self.environment = environment() | {
            MARK: self.mark,
            "HOME": str(folder),
            "RAY_TMPDIR": str(folder),
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray takes the machine's own address for loopback
        }
        config = yaml.safe_load((ROOT / "cluster" / "local.yaml").read_text())
        config["provider"]["gcs_address"] = self.address
        (folder / "local.yaml").write_text(yaml.safe_dump(config))
        self.timeline = folder / "timeline.jsonl"

    def start(self) -> None:
        """As cluster/README.md says, on ports of its own."""
        port = self.address.rpartition(":")[2]
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        ray += ["--node-ip-address=127.0.0.1", "--num-cpus=0", "--object-store-memory=104857600"]
        ray += [f"--autoscaling-config={self.folder / 'local.yaml'}", f"--temp-dir={self.folder}"]
        ray += ["--include-dashboard=false", "--dashboard-agent-listen-port=0", "--min-worker-port=0"]
        ray += ["--max-worker-port=0", f"--ray-client-server-port={free_port()}"]
        only_here = {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "0",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        head_environment = {k: v for k, v in self.environment.items() if k != "RAY_ADDRESS"} | only_here
        with (self.folder / "head.log").open("wb") as log:
            subprocess.Popen(ray, env=head_environment, stdout=log, stderr=log, start_new_session=True)
        wait_until(self.answers, 120, "the head answers")
        with self.timeline.open("wb") as seen, (self.folder / "watch.log").open("wb") as log:
            watch = [sys.executable, "-c", WATCH, self.address]
            subprocess.Popen(watch, env=self.environment, stdout=seen, stderr=log, start_new_session=True)

    def answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def history(self) -> list[dict[str, Any]]:
        """Moments at which the number of live worker nodes changed."""
        return [json.loads(line) for line in self.timeline.read_text().splitlines()]

    def settles_at(self, workers: int) -> None:
        def there() -> bool:
            history = self.history()
            return bool(history) and history[-1]["workers"] == workers

        wait_until(there, 400, f"{workers} worker nodes, after {self.history()}")

    def trainers(self) -> list[int]:
        """The processes that train."""
        return [pid for pid in self.processes() if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def end(self) -> None:
        """Ends every process that carries the mark, and those that it starts meanwhile."""
        deadline = time.monotonic() + 60
        while (pids := self.processes()) and time.monotonic() < deadline:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.2)
        assert not pids

    def processes(self) -> list[int]:
        found, wanted = [], f"{MARK}={self.mark}".encode()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Its sockets need a short path, so its folder is not below pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="ra-", dir="/tmp"))
    made = Cluster(folder)
    try:
        made.start()
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Above the range that Ray's workers use by default."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port >= 20_000:
            return port


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)


@contextmanager
def held(pids: list[int]) -> Iterator[None]:
    """Processes stand still for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_cluster_grows_for_a_training_and_shrinks_after_it_and_the_model_does_not_notice(
    cluster: Cluster, recipe: Callable[..., Path], tmp_path: Path, undisturbed: Path
) -> None:
    path, store = recipe(train=RECIPE["train"] | {"workers": [1, 3]}), tmp_path / "s"
    command = [*COMMAND, "run", str(path), "--store", str(store), "--engine", "ray"]
    cluster.settles_at(1)
    data = subprocess.run(
        [*command, "--until", "tokenize"], env=cluster.environment, capture_output=True, text=True, timeout=600
    )
    assert data.returncode == 0, data.stderr[-3000:]  # shard work, on nodes of one CPU
    cluster.settles_at(1)

    with (tmp_path / "run.log").open("wb") as log:
        run = subprocess.Popen(command, env=cluster.environment, stdout=log, stderr=log)

    def training() -> bool:
        assert run.poll() is None, (tmp_path / "run.log").read_text()[-3000:]
        return (read_progress(Store(str(store)), "small") or {}).get("step", 0) >= 20

    wait_until(training, 300, "the first steps")
    # However fast this machine is, the training shall not be over before the nodes that it asked for are seen.
    with held(cluster.trainers()):
        cluster.settles_at(3)
        time.sleep(max(RESIZE_SECONDS, TICK_SECONDS) + 5)
    assert run.wait(600) == 0, (tmp_path / "run.log").read_text()[-3000:]
    worlds = [e["value"]["workers"] for e in read_events(Store(str(store)), "small") if e["kind"] == "restore"]
    assert worlds == [1, 3]
    same_as(undisturbed, store)
    cluster.settles_at(1)
