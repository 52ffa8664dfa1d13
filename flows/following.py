"""What the flows share: a step of a recipe as a Ray job, submitted or found, followed to its end, stopped on cancel.

Nothing here computes or decides what a run produces. The invariant: a flow owns nothing. Its process, its worker and
Prefect's server may die at any moment and the job goes on; a new flow run attaches to it and says what it says.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import FailedRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Failed
from prefect.tasks import exponential_backoff

from flows import shown
from flows.works import RECIPE, Order, Work, absolute, is_snapshot_of, of_step, of_sweep, order
from raytrain import recipe as recipes
from raytrain.corpus.inventory import listing_digest
from raytrain.engine import jobs
from raytrain.errors import UserError
from raytrain.runs import stop
from raytrain.services.prefect import check_prefect_version
from raytrain.store import Store
from raytrain.store.journal import START, read_journal
from raytrain.sweep import sweep_name

POLL_SECONDS = 2.0
PATIENCE_SECONDS = 120.0  # a job server that does not answer for so long: the follower gives up, the job need not
INTERRUPTED = "Interrupted"


class Interrupted(Exception):
    """The work ended without a word or cannot be seen: worth another try, which resumes it."""


def _without_stack(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun))


# After a flow that returned a failed state Prefect prints where in its engine that was noticed: forty lines that bury
# the one which says what to do.
logging.getLogger("prefect.flow_runs").addFilter(_without_stack)


def walk(recipe: str, overrides: Sequence[str], store: str | None, steps: Sequence[str], snapshot: bool = False) -> Any:
    """Carries steps out one after the other, each as a task with its own job; the last one's result.

    A state instead where it failed: its message is the one line that a person needs, without a traceback.
    """
    try:
        given = order(recipe, overrides, store, snapshot)
        return carry_out(given, [of_step(given, step) for step in steps])
    except UserError as error:
        return failed(str(error))


def sweep_out(recipe: str, overrides: Sequence[str], store: str | None, name: str | None) -> Any:
    """Carries a sweep out as one job."""
    try:
        given = order(recipe, overrides, store)
        return carry_out(given, [of_sweep(given, sweep_name(given.recipe, name))])
    except UserError as error:
        return failed(str(error))


def carry_out(given: Order, works: Sequence[Work]) -> Any:
    """One task after the other; the last one's result, or the state of the first that failed."""
    check_prefect_version(str(PREFECT_API_URL.value()))
    shown.links()
    result: dict[str, Any] = {}
    for work in works:
        named = job.with_options(name=work.step, task_run_name=f"{work.run}-{work.step}")
        state = named(given, work, return_state=True)
        if not state.is_completed():
            return Failed(message=state.message)
        result = state.result()
    return result


def failed(line: str) -> State[Any]:
    """A failure that says one line, in the log that `--watch` shows and in the run's state."""
    get_run_logger().error("%s", plain(line))
    return Failed(message=line)


def worth_another_try(task: Any, task_run: Any, state: State[Any]) -> bool:
    """What ended without a word is; what a person must mend, or has stopped, is not."""
    return state.name == INTERRUPTED


@task(
    retries=4,
    retry_delay_seconds=exponential_backoff(10),
    retry_jitter_factor=0.5,
    retry_condition_fn=worth_another_try,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def job(given: Order, work: Work) -> Any:
    """One job, submitted or found, followed to its end; what there is then."""
    try:
        follow(given, work)
        shown.results(given.store, work.run, work.step)
        return work.result()
    except (Interrupted, jobs.Unreachable, OSError) as error:
        get_run_logger().warning("%s", plain(str(error)))
        return Failed(name=INTERRUPTED, message=str(error))
    except UserError as error:
        return failed(str(error))


def follow(given: Order, work: Work) -> None:
    """Submits or attaches to a job and logs what its driver says until it succeeds.

    Raises UserError for what a person must mend or has stopped, Interrupted for an end that a retry may mend.
    """
    store, run = given.store, work.run
    log = get_run_logger()
    _, cursor = read_journal(store, run, START)
    found = jobs.submit_or_attach(
        store,
        run,
        work.step,
        work.command,
        recipe=work.identity,
        listing=listing_digest(given.recipe.sources),
        present=work.present,
    )
    log.info("%s %s (%s)", "attach to" if found.attached else "submitted", found.name, found.state.status)
    progress = shown.Progress(store, run)
    state, answered, quiet = found.state, time.monotonic(), True
    while True:
        lines, cursor = read_journal(store, run, cursor)
        for line in lines:
            log.info("%s", plain(line.text))
            quiet = False
        progress.look()
        if not state.live:
            break
        time.sleep(POLL_SECONDS)
        try:
            state, answered = jobs.state(found.name), time.monotonic()
        except jobs.Unreachable:
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
    if state.status != "SUCCEEDED":
        raise why(found.name, state)
    if quiet and not found.attached:
        for text in jobs.last_lines(found.name, 3):
            if "nothing to do" in text:
                log.info("%s", plain(text))


def why(name: jobs.JobName, state: jobs.JobState) -> Exception:
    """The reason of a job's end that was no success, as what should come of it."""
    last = next((line.strip() for line in reversed(state.message.splitlines()) if line.strip()), "it left no word")
    if state.status == "STOPPED" or state.exit_code == 130:
        return UserError(f"run {name.run!r} was stopped; start it again to resume")
    if state.status == jobs.UNKNOWN:
        return Interrupted(f"job {name}: Ray's head lost it, so the next job goes on where it was")
    if state.exit_code != os.EX_TEMPFAIL and last.startswith(("error: ", "superseded: ")):
        return UserError(last.removeprefix("error: "))
    return Interrupted(f"job {name} ended unexpectedly: {last}")


def stop_on_cancel(flow: Any, flow_run: Any, state: Any) -> None:
    """Stops what a cancelled flow run followed. Runs in the worker, with its environment and the parameters alone."""
    given = flow_run.parameters
    loaded = recipes.load(absolute(given.get("recipe") or RECIPE), given.get("overrides") or (), given.get("store"))
    store, names = Store(loaded.store), [loaded.name]
    if flow.name == "sweep":
        names = [sweep_name(loaded, given.get("name"))]
    if given.get("snapshot"):
        names = [name for name in store.folders("runs") if is_snapshot_of(loaded, name)]
    for name in names:
        stop(store, name)


def plain(line: str) -> str:
    """A line without brackets: `--watch` would take them for markup and show nothing."""
    return line.replace("[", "(").replace("]", ")")
