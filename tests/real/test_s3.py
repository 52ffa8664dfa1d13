"""The same recipe on a folder and on S3: the same artifacts and the same parameters, whatever the network does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from raytrain.store import Store
from tests.parts.faultproxy import faulty
from tests.parts.seaweed import Seaweed, seaweed
from tests.real.conftest import CORPUS, RECIPE, Started, raytrain, same_as

__all__ = ["seaweed"]
pytestmark = pytest.mark.slow


@pytest.fixture
def bucket(seaweed: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket, with the environment that leads to it and a cache of one's own."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return seaweed.bucket()


def with_sources(bucket: str) -> str:
    """Puts the sources and a recipe that names them relative to itself into a bucket; returns the recipe's URI."""
    store = Store(bucket)
    for path in sorted(CORPUS.rglob("*")):
        if path.is_file():
            store.put(str(path.relative_to(CORPUS)), path)
    sources = [source | {"uri": Path(source["uri"]).name} for source in RECIPE["sources"]]
    store.put("small.yaml", yaml.safe_dump(RECIPE | {"sources": sources}).encode())
    return f"{bucket}/small.yaml"


def test_recipe_sources_and_store_on_s3(undisturbed: Path, bucket: str) -> None:
    done = raytrain("run", with_sources(bucket), "--store", f"{bucket}/store")
    assert done.returncode == 0, done.stderr[-3000:]
    same_as(undisturbed, f"{bucket}/store")
    again = raytrain("run", f"{bucket}/small.yaml", "--store", f"{bucket}/store", "--engine", "local")
    assert again.returncode == 0 and "nothing to do" in again.stdout + again.stderr
    said = raytrain("generate", "small", "The first", "--max-tokens", "4", "--store", f"{bucket}/store")
    assert said.returncode == 0, said.stderr[-3000:]


@pytest.mark.long
@pytest.mark.parametrize(("latency", "outage"), [(0.01, 8.0), (0.2, 20.0)], ids=["near", "far"])
def test_a_bad_network_and_an_outage_change_no_bit(
    undisturbed: Path,
    seaweed: Seaweed,
    bucket: str,
    start: Callable[..., Started],
    monkeypatch: pytest.MonkeyPatch,
    latency: float,
    outage: float,
) -> None:
    """`outage` in seconds, in the middle of training; `latency` in seconds on every request of the run."""
    recipe = with_sources(bucket)
    with faulty(seaweed.endpoint) as proxy:
        faults, struck = proxy.faults, proxy.struck
        faults.latency, faults.busy = latency, 0.05
        faults.lost_request = faults.lost_answer = faults.cut_answer = 0.02
        with monkeypatch.context() as here:
            here.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
            run = start("run", recipe, "--store", f"{bucket}/store", "--engine", "local", "--set", "train.workers=1")
        run.wait_for_step(f"{bucket}/store", 60, seconds=600)
        faults.outage = True
        over = threading.Timer(outage, lambda: setattr(faults, "outage", False))
        over.start()
        code = run.end(600)
        over.join()
        assert code == 0, run.output()[-3000:]
    assert min(struck[kind] for kind in ("busy", "lost_request", "lost_answer", "cut_answer", "outage")) > 0
    same_as(undisturbed, f"{bucket}/store")
