"""A worker's life from its job to its end, the same under Ray, torchrun and the local engine.

As a program it reads a job as JSON from standard input: `python -m raytrain.train.worker`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from raytrain.errors import UserError, disk_full
from raytrain.store import Store
from raytrain.train.job import TrainJob
from raytrain.train.progress import Reporter, leave_failure, read_failure

GRACE_SECONDS = 3.0


def work(job: TrainJob, rank: int, say: Callable[[dict[str, Any]], None] | None = None) -> bool:
    """Runs one worker. True when the run is finished; False when it ended for a reason left in the store.

    What the user can mend is left in the store and not raised, so that no framework tries it again. Anything else
    (a peer's death, a bug) is raised.
    """
    from raytrain.train.loop import train_worker
    from raytrain.train.parallel import leave

    warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one worker alone: so it is
    store = Store(job.store)
    if read_failure(store, job.run, job.attempt) is not None:
        return False
    reporter = Reporter(store, job.run, job.attempt) if rank == 0 else None

    def progress(figures: dict[str, Any]) -> None:
        if say is not None:
            say(figures)
        if reporter is not None:
            reporter(dict(figures))

    try:
        train_worker(job, progress)
        return True
    except UserError as error:
        leave_failure(store, job.run, job.attempt, error)
        leave()  # peers that wait for us in a collective must not wait for its time-out
        return False
    except Exception as error:
        mended = disk_full(error, job.store) if isinstance(error, OSError) else error
        if isinstance(mended, UserError):
            leave_failure(store, job.run, job.attempt, mended)
            leave()
            return False
        # A peer that left a reason also breaks our collectives; its word counts, not our broken connection.
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline:
            if read_failure(store, job.run, job.attempt) is not None:
                return False
            time.sleep(0.2)
        raise
    finally:
        if reporter is not None:
            reporter.close()


def _end_with(driver: int) -> None:
    """Ends this process when the driver that started it is gone: nobody else would, and its attempt is over."""
    while os.getppid() == driver:
        time.sleep(1)
    os._exit(1)


def main() -> int:
    from raytrain.train.parallel import leave

    threading.Thread(target=_end_with, args=(int(os.environ["RAYTRAIN_DRIVER"]),), daemon=True).start()
    job = TrainJob.model_validate_json(sys.stdin.read())
    try:
        return 0 if work(job, int(os.environ.get("RANK", "0"))) else 1
    finally:
        leave()


if __name__ == "__main__":
    sys.exit(main())
