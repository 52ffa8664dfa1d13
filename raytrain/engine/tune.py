"""Many independent trainings at once: Ray Tune over a cluster, or child processes of this machine.

A trial is the bare training loop in one process with one device; there is no trainer inside it and no state in Tune:
its checkpoints, books and result lie in the store like any run's, so that a killed process resumes where it stood and a
finished trial is never taken again, whatever became of the driver. For the same reason Tune's own experiment state is
thrown away: a second record of what is done could only disagree with the first. The invariant: the figures of a trial
do not depend on the engine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from raytrain.engine import Engine
from raytrain.engine.ray import _has_gpu, _node, _signals_stay_ours
from raytrain.errors import UserError
from raytrain.store import Store
from raytrain.store.scratch import process_folder
from raytrain.train.job import TrainJob
from raytrain.train.progress import leave_failure, read_failure

State = Literal["running", "ended"]
Told = Callable[[str, State], None]
"""Called with a job's run and what became of it, perhaps on another thread; how it ended is in the store."""

DEATHS = 8  # processes that a trial may lose
_TUNE_ENV = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_trials(engine: Engine, jobs: Sequence[TrainJob], concurrency: int | None, told: Told) -> None:
    """Carries out jobs of one worker each, in order as room comes; returns when all have ended.

    A job that cannot go on leaves its reason in the store and does not disturb the others.
    """
    if not jobs:
        return
    if engine.name == "ray":
        _on_ray(engine, jobs, concurrency, told)
    else:
        _in_processes(jobs, concurrency or max(1, (os.cpu_count() or 1) // jobs[0].train.threads), told)


# -- Ray Tune -------------------------------------------------------------------------------------------------------


def _on_ray(engine: Engine, jobs: Sequence[TrainJob], concurrency: int | None, told: Told) -> None:
    engine.node()  # the cluster is joined or started at its first use
    os.environ.update({k: v for k, v in _TUNE_ENV.items() if k not in os.environ})
    from ray import tune

    class Teller(tune.Callback):  # type: ignore[misc]
        def __init__(self, told: Told) -> None:
            self._told = told

        def __getstate__(self) -> dict[str, Any]:
            return {}  # Tune pickles its callbacks for a restore that is never asked for

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._told(trial.config["run"], "running")

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._told(trial.config["run"], "ended")

    threads = jobs[0].train.threads
    resources = {"cpu": threads, "gpu": 1} if _has_gpu() else {"cpu": threads}
    by_run = {job.run: job.model_dump_json() for job in jobs}
    with tempfile.TemporaryDirectory(prefix="tune-", dir=process_folder()) as folder, _signals_stay_ours():
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial_on_ray, jobs=by_run), resources),
            param_space={"run": tune.grid_search(list(by_run))},
            # Importing torch costs more than a small trial: a process serves many.
            tune_config=tune.TuneConfig(max_concurrent_trials=concurrency, reuse_actors=True),
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                failure_config=tune.FailureConfig(max_failures=DEATHS),
                callbacks=[Teller(told)],
                verbose=0,
            ),
        )
        results = tuner.fit()
    for result in results:
        if result.error is not None:
            _give_up(next(job for job in jobs if job.run == result.config["run"]), result.error)
            told(result.config["run"], "ended")


def _trial_on_ray(config: dict[str, Any], jobs: dict[str, str]) -> dict[str, Any]:
    from raytrain.train.worker import work

    os.environ["RAYTRAIN_NODE"] = _node()
    # A reason left in the store is no error to Tune: trying again would not mend it.
    return {"finished": work(TrainJob.model_validate_json(jobs[config["run"]]), 0)}


# -- processes ------------------------------------------------------------------------------------------------------


def _in_processes(jobs: Sequence[TrainJob], concurrency: int, told: Told) -> None:
    stop = threading.Event()
    children: set[subprocess.Popen[str]] = set()
    pool = ThreadPoolExecutor(concurrency)
    try:
        for done in [pool.submit(_trial_in_processes, job, told, children, stop) for job in jobs]:
            done.result()
    finally:
        stop.set()
        for child in list(children):
            child.kill()
        pool.shutdown(cancel_futures=True)


def _trial_in_processes(job: TrainJob, told: Told, children: set[subprocess.Popen[str]], stop: threading.Event) -> None:
    told(job.run, "running")
    environment = os.environ | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    environment["RAYTRAIN_DRIVER"] = str(os.getpid())
    environment["OMP_NUM_THREADS"] = str(job.train.threads)
    for death in range(DEATHS + 1):
        if stop.is_set():
            return
        child = subprocess.Popen(
            [sys.executable, "-m", "raytrain.train.worker"], env=environment, stdin=subprocess.PIPE, text=True
        )
        children.add(child)
        try:
            child.communicate(job.model_dump_json())
        finally:
            children.discard(child)
        if child.returncode == 0 or read_failure(Store(job.store), job.run, job.attempt) is not None:
            break
        if death == DEATHS and not stop.is_set():
            _give_up(job, f"exit code {child.returncode}")
    told(job.run, "ended")


def _give_up(job: TrainJob, why: object) -> None:
    words = " ".join(str(why).split())[-300:]
    error = UserError(f"its process died {DEATHS + 1} times: {words}; run the same command again to resume")
    leave_failure(Store(job.store), job.run, job.attempt, error)
