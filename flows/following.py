"""What the flows share: a step of a recipe as a Ray job, submitted or found, followed to its end, stopped on cancel.

Nothing here computes or decides what a run produces. The invariant: a flow owns nothing. Its process, its worker and
Prefect's server may die at any moment and the job goes on; a new flow run attaches to it and says what it says.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import prefect
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.states import Failed, State
from prefect.tasks import exponential_backoff

from flows import shown
from raytrain import recipe as recipes
from raytrain.config import digest
from raytrain.corpus.inventory import listing_digest
from raytrain.engine import jobs
from raytrain.errors import UserError
from raytrain.observe.collect import artifacts_of
from raytrain.recipe import Recipe
from raytrain.store import Store
from raytrain.store import attempt as attempts
from raytrain.store.journal import START, read_journal

RECIPE = os.environ.get("RAYTRAIN_RECIPE", "recipes/quickstart.yaml")
POLL_SECONDS = 2.0
PATIENCE_SECONDS = 120.0  # a job server that does not answer for so long: the follower gives up, the job need not
STOP_SECONDS = 60.0
INTERRUPTED = "Interrupted"
SNAPSHOT_DIGITS = 8
_LONGEST = 60 - SNAPSHOT_DIGITS - 1


class Interrupted(Exception):
    """The work ended without a word or cannot be seen: worth another try, which resumes it."""


@dataclass(frozen=True)
class Order:
    """What a flow was asked for: the recipe as read, and how a driver reads the same one."""

    recipe: Recipe
    uri: str
    overrides: tuple[str, ...]
    store: Store

    @property
    def run(self) -> str:
        return self.recipe.name

    def command(self, step: str) -> list[str]:
        """The driver of a step. The cluster's image may hold another Python than this process."""
        python = os.environ.get("RAYTRAIN_JOB_PYTHON") or sys.executable
        changes = [word for change in self.overrides for word in ("--set", change)]
        whole = "all" if step == "evaluate" else step  # the last step ends the run: its report, its exported model
        return [python, "-m", "raytrain.step", whole, self.uri, *changes, "--store", self.store.uri]


def order(recipe: str, overrides: Sequence[str], store: str | None, snapshot: bool = False) -> Order:
    """Reads the recipe. A relative path counts from the flows' working directory, RAYTRAIN_ROOT.

    With `snapshot` the run is named after what lies in the sources now, so that new objects make a run of their own.
    """
    uri = recipe if "://" in recipe else os.path.abspath(recipe)
    loaded = recipes.load(uri, overrides, store)
    if snapshot:
        overrides = [*overrides, f"name={snapshot_name(loaded)}"]
        loaded = recipes.load(uri, overrides, store)
    return Order(loaded, uri, tuple(overrides), Store(loaded.store))


def snapshot_name(recipe: Recipe) -> str:
    """The name of the run over the objects that the sources hold now, by their listing alone."""
    return f"{recipe.name[:_LONGEST]}-{listing_digest(recipe.sources)[:SNAPSHOT_DIGITS]}"


def walk(recipe: str, overrides: Sequence[str], store: str | None, steps: Sequence[str], snapshot: bool = False) -> Any:
    """Carries steps out one after the other, each as a task with its own job; the last one's result.

    A state instead where it failed: its message is the one line that a person needs, without a traceback.
    """
    try:
        check_server()
        given = order(recipe, overrides, store, snapshot)
    except UserError as error:
        return failed(str(error))
    shown.links()
    result: dict[str, Any] = {}
    for step in steps:
        state = carry_out.with_options(name=step, task_run_name=f"{given.run}-{step}")(
            given.run, step, given.command(step), given, return_state=True
        )
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
def carry_out(run: str, step: str, command: list[str], given: Order) -> Any:
    """One step of a run as a Ray job, followed to its end; the ids of the artifacts that there are then."""
    try:
        listing = listing_digest(given.recipe.sources)
        of_recipe = digest(given.recipe.identity())
        follow(given.store, run, step, command, of_recipe, listing, lambda: in_store(given.store, run, step))
        shown.results(given.store, run, step)
        return result_of(given.store, run)
    except (Interrupted, jobs.Unreachable, OSError) as error:
        get_run_logger().warning("%s", plain(str(error)))
        return Failed(name=INTERRUPTED, message=str(error))
    except UserError as error:
        return failed(str(error))


def follow(
    store: Store, run: str, step: str, command: list[str], recipe: str, listing: str, present: Callable[[], bool]
) -> None:
    """Submits or attaches to the job of a step and logs what its driver says until it succeeds.

    Raises UserError for what a person must mend or has stopped, Interrupted for an end that a retry may mend.
    """
    log = get_run_logger()
    _, cursor = read_journal(store, run, START)
    job = jobs.submit_or_attach(store, run, step, command, recipe=recipe, listing=listing, present=present)
    log.info("%s %s (%s)", "attach to" if job.attached else "submitted", job.name, job.state.status)
    progress = shown.Progress(store, run)
    state, answered, quiet = job.state, time.monotonic(), True
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
            state, answered = jobs.state(job.name), time.monotonic()
        except jobs.Unreachable:
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
    if state.status != "SUCCEEDED":
        raise why(job.name, state)
    if quiet and not job.attached:
        for text in jobs.last_lines(job.name, 3):
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
    loaded = recipes.load(
        os.path.abspath(uri) if "://" not in (uri := given.get("recipe") or RECIPE) else uri,
        given.get("overrides") or (),
        given.get("store"),
    )
    store, names = Store(loaded.store), [loaded.name]
    if given.get("snapshot"):
        pattern = re.compile(re.escape(loaded.name[:_LONGEST]) + rf"-[0-9a-f]{{{SNAPSHOT_DIGITS}}}")
        names = [name for name in store.folders("runs") if pattern.fullmatch(name)]
    for name in names:
        stop_run(store, name)


def stop_run(store: Store, run: str) -> None:
    """Asks the run's driver through the store to end itself; its job is ended where it does not."""
    from raytrain.runs import request_stop

    number = request_stop(store, run)
    deadline = time.monotonic() + STOP_SECONDS
    while number and attempts.alive(store, run, number) and time.monotonic() < deadline:
        time.sleep(0.5)
    jobs.stop_jobs(store, run)


def in_store(store: Store, run: str, step: str) -> bool:
    """Whether a finished job's work is still there: nobody deleted what it had made."""
    made = artifacts_of(store, run)
    return step in made and (step != "evaluate" or store.exists(f"runs/{run}/report.html"))


def result_of(store: Store, run: str) -> dict[str, Any]:
    """What a run has made, small enough for a flow's result."""
    made = artifacts_of(store, run)
    model = made["pretrain"].facts if "pretrain" in made else {}
    return {
        "run": run,
        "store": store.uri,
        "artifacts": {name: artifact.id for name, artifact in made.items()},
        "parameter_sha256": model.get("parameter_sha256"),
    }


def check_server() -> None:
    """Refuses a Prefect server of another version: runs that hang and schedules that never fire come of it."""
    with get_client(sync_client=True) as client:
        served = client.api_version()
    if served != prefect.__version__:
        raise UserError(
            f"PREFECT_API_URL: the server is Prefect {served}, this worker is {prefect.__version__}; "
            "install the same version on both"
        )


def plain(line: str) -> str:
    """A line without brackets: `--watch` would take them for markup and show nothing."""
    return line.replace("[", "(").replace("]", ")")
