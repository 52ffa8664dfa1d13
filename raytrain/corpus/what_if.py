"""What another configuration of select would keep: answered from stored numbers, no text read and nothing written.

Goes the way that select goes, up to where it writes: rules, duplicates among what passes, shares. The invariant:
the counts are those that select would report, but for documents of which cuts leave nothing but white space: select
sees these when it writes the texts, and counts them as cut away; here they are kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from raytrain.corpus import verdict as verdicts
from raytrain.corpus.coded import id_numbers
from raytrain.corpus.dedup import exchange
from raytrain.corpus.judge import Judged, Settled, company, settle
from raytrain.corpus.select import judge_tasks
from raytrain.store import Artifact, Store
from raytrain.store.step import Task

SAMPLES = 5  # records named of those that would come and of those that would go


Asked = tuple[Mapping[str, Artifact], Mapping[str, Any]]
"""Select's parents by role, and its configuration."""


def what_if(before: Asked, after: Asked) -> dict[str, Any]:
    """What two configurations of select keep of the same documents, and which records they differ by."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pairs = list(zip(judge_tasks(*before), judge_tasks(*after), strict=True))
        asked = []
        for i, (parents, config) in enumerate((before, after)):
            held = list(pool.map(_company, [pair[i] for pair in pairs]))
            asked.append(settle([p for p, _ in held], [g for _, g in held], parents["dedup"], config))
        found = list(pool.map(lambda pair: _compare(pair, asked), pairs))
    names: dict[str, list[tuple[int, str]]] = {"added": [], "removed": []}
    for one in found:
        for name in names:
            names[name] += one[name]
    return {
        "before": verdicts.add(one["counts"][0] for one in found),
        "after": verdicts.add(one["counts"][1] for one in found),
        **{
            name: {
                "documents": sum(one["many"][name][0] for one in found),
                "bytes": sum(one["many"][name][1] for one in found),
                "records": [record for _, record in sorted(held)[:SAMPLES]],
            }
            for name, held in names.items()
        },
    }


def _company(task: Task) -> tuple[Any, Any]:
    return company(Judged(Store(task["store"]), task))


def _compare(pair: Sequence[Task], settled: Sequence[Settled]) -> dict[str, Any]:
    """A shard under both configurations."""
    shards = []
    for task, found in zip(pair, settled, strict=True):
        shard = Judged(Store(task["store"]), task)
        rows = found.decisions
        first, end = exchange.slice_of(rows["doc"], shard.first, shard.first + len(shard.columns.bytes))
        shard.decide(rows[first:end], found.over)
        shards.append(shard)
    keep = [shard.verdict.keep for shard in shards]
    moved = {"added": (shards[1], keep[1] & ~keep[0]), "removed": (shards[0], keep[0] & ~keep[1])}
    return {
        "counts": [shard.tally() for shard in shards],
        "many": {name: (int(mask.sum()), int(shard.columns.left[mask].sum())) for name, (shard, mask) in moved.items()},
        **{name: _some(shard.table, mask) for name, (shard, mask) in moved.items()},
    }


def _some(table: Any, mask: Any) -> list[tuple[int, str]]:
    """The few records whose texts hash lowest."""
    import pyarrow as pa

    some = table.select(["doc_id", "record_id"]).filter(pa.array(mask))
    draws = id_numbers(some.column("doc_id"))
    order = np.argsort(draws, kind="stable")[:SAMPLES]
    names = some.column("record_id").take(pa.array(order)).to_pylist()
    return list(zip(draws[order].tolist(), names, strict=True))
