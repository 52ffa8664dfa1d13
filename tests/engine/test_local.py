"""The engine without a cluster: results in order, and the CPU time of the tasks alone."""

from __future__ import annotations

import time

import pytest

from raytrain.engine.local import LocalEngine
from raytrain.errors import UserError
from raytrain.store.step import Task


def busy(task: Task) -> Task:
    start = time.thread_time()
    while time.thread_time() - start < task["seconds"]:
        pass
    return {"was": task["seconds"]}


def wrong(task: Task) -> Task:
    raise UserError("sources: wrong; mend them")


def test_results_stand_in_the_order_of_the_tasks_and_their_seconds_add_up() -> None:
    engine = LocalEngine(lambda line: None)
    tasks = [{"seconds": seconds} for seconds in (0.04, 0.0, 0.02, 0.01)]
    assert [done["was"] for done in engine.map_shards(busy, tasks, "busy")] == [0.04, 0.0, 0.02, 0.01]
    first = engine.cpu_seconds
    assert first >= 0.07
    engine.map_shards(busy, tasks[:1], "busy")
    assert engine.cpu_seconds >= first + 0.04


def test_a_task_that_waits_costs_nothing() -> None:
    engine = LocalEngine(lambda line: None)
    engine.map_shards(lambda task: time.sleep(0.2) or task, [{}], "wait")
    assert engine.cpu_seconds < 0.2


def test_a_task_that_fails_ends_the_call_with_its_own_error() -> None:
    with pytest.raises(UserError, match="mend them"):
        LocalEngine(lambda line: None).map_shards(wrong, [{}], "wrong")
