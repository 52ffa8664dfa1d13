"""The exchange of deduplication on synthetic band keys: memory of a task, CPU seconds, bytes, and what was found.

`python benchmarks/exchange.py` sends the rows of 100 million documents, 14 bands each (22.4 GB), through the code that
deduplication itself uses, on a store below --folder. Of ten documents one shares a band with the one before it, so
that the number of candidate pairs is known; the result is refused when another number comes out. Signatures and texts
are left out: their cost is linear and measured in data.py. The invariant: no row is made twice or looked at by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from raytrain.corpus.dedup import bands, exchange
from raytrain.corpus.dedup.pool import RANGE_DOCUMENTS, SENDER_DOCUMENTS
from raytrain.corpus.dedup.step import ROWS_PER_PARTITION
from raytrain.corpus.kernels.pairs import band_keys
from raytrain.store import ArtifactWriter, Store

RESULT = Path(__file__).parent / "results/exchange.json"
BANDS = 14
PLANTED = 10  # of so many documents one shares a band with the one before


def send(task: dict[str, Any]) -> dict[str, Any]:
    """The rows of documents first to end: what bands.send_bands does once it has the signatures."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    docs = np.arange(task["first"], task["end"])
    values = np.empty((len(docs), BANDS), np.uint32)
    values[:] = docs[:, None]
    follows = docs % PLANTED == PLANTED - 1
    values[follows, 0] -= 1
    rows = bands.band_rows(values, docs, BANDS)
    parts = bands.partition_of(rows["key"], task["partitions"])
    objects = exchange.send(writer, task["shard"], "bands", rows, parts, task["partitions"])
    return writer.commit_shard(task["shard"], objects, len(rows))


def measured(job: tuple[Callable[[dict[str, Any]], dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A task's record, its CPU seconds, and the most memory that its process ever held, in bytes."""
    work, task = job
    start = time.process_time()
    record = work(task)
    seconds = time.process_time() - start
    return {"record": record, "cpu": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def idle(_: int) -> int:
    """The memory of a worker that has loaded and compiled everything and done nothing."""
    band_keys(np.zeros((1, BANDS), np.uint32), BANDS, np.zeros((1, BANDS), np.uint64))
    bands.candidate_pairs(np.zeros(2, bands.ROW), 2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def carry_out(workers: int, work: Callable[[dict[str, Any]], dict[str, Any]], tasks: Sequence[dict[str, Any]]) -> Any:
    """Every task's measurement; a process a task, so that one's memory is not another's."""
    with ProcessPoolExecutor(workers, get_context("spawn"), max_tasks_per_child=1) as pool:
        return list(pool.map(measured, [(work, task) for task in tasks]))


def measure(folder: Path, documents: int, workers: int) -> dict[str, Any]:
    partitions = -(-documents * BANDS // ROWS_PER_PARTITION)
    shared = {"store": str(folder), "partitions": partitions}
    firsts = range(0, documents, SENDER_DOCUMENTS)
    sends = [
        {**shared, "prefix": "x/bands", "shard": i, "first": first, "end": min(documents, first + SENDER_DOCUMENTS)}
        for i, first in enumerate(firsts)
    ]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        at_rest = pool.submit(idle, 0).result()
    start = time.time()
    sent = carry_out(workers, send, sends)
    where = exchange.plan(Store(str(folder)), "x", "bands", [held["record"] for held in sent])
    shared |= {"own": documents, "range": RANGE_DOCUMENTS, "ranges": -(-documents // RANGE_DOCUMENTS), "bands": where}
    tasks = [{**shared, "prefix": "x/candidates", "shard": part} for part in range(partitions)]
    found = carry_out(workers, bands.candidates_of_partition, tasks)
    wall = time.time() - start
    pairs = sum(held["record"]["rows"] for held in found)
    if pairs != documents // PLANTED:
        raise SystemExit(f"{pairs} candidate pairs, {documents // PLANTED} were planted")
    return {
        "documents": documents,
        "bands": BANDS,
        "rows": where["rows"],
        "bytes": where["rows"] * bands.ROW.itemsize,
        "pairs": pairs,
        "partitions": partitions,
        "senders": len(sends),
        "send": _summary(sent, at_rest),
        "find": _summary(found, at_rest),
        "idle_bytes": at_rest,
        "wall_seconds": round(wall, 1),
        "workers": workers,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


def _summary(held: Sequence[dict[str, Any]], at_rest: int) -> dict[str, float]:
    return {
        "cpu_seconds": round(sum(one["cpu"] for one in held), 1),
        "most_cpu_seconds_a_task": round(max(one["cpu"] for one in held), 2),
        "peak_bytes_above_idle": max(one["peak"] for one in held) - at_rest,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=100_000_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where the rows go; the system's temporary folder when not given")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.relative_to(RESULT.parents[2])}")
    options = parser.parse_args()
    if options.documents % PLANTED:
        parser.error(f"--documents: a multiple of {PLANTED}")
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="exchange-"))
    try:
        result = measure(folder, options.documents, options.workers)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result, indent=1))
    if options.write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
