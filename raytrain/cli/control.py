"""The commands that act on a run from afar: stop, logs, attach. They need the store and nothing else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from raytrain.cli.options import RunArgument, StoreOption, open_store

if TYPE_CHECKING:
    from raytrain.store import Store

ENDED = {"succeeded": 0, "partial": 0, "failed": 1, "interrupted": 1, "stopped": 130}
POLL_SECONDS = 1.0
BETWEEN_SECONDS = 20.0  # an attempt that came as far as was asked may be followed by the next step's


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(stop)
    app.command()(logs)
    app.command()(attach)


def stop(
    run: RunArgument,
    store: StoreOption = None,
    wait: Annotated[float, typer.Option(min=1, help="Seconds to wait for its end.")] = 90.0,
) -> None:
    """Stop a run wherever it is carried out; nothing is lost, the same command resumes it."""
    from raytrain import runs
    from raytrain.observe.collect import state_of

    place = _store_with(store, run)
    if runs.stop(place, run, wait):
        print(f"run {run!r}: stopped; the same command resumes it")
    else:
        print(f"run {run!r}: nothing to stop, it is {state_of(place, run)}")


def logs(
    run: RunArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    store: StoreOption = None,
) -> None:
    """Print what a run has said, with the time of each line."""
    from raytrain.store.journal import START, read_journal

    place = _store_with(store, run)
    cursor = START
    while True:
        going = follow and not _is_over(place, run)
        lines, cursor = read_journal(place, run, cursor)
        for line in lines:
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(line.at))} {line.text}", flush=True)
        if not going:
            return
        time.sleep(POLL_SECONDS)


def attach(run: RunArgument, store: StoreOption = None) -> None:
    """Follow a live run as if it had been started here; Ctrl-C detaches. Exits as the run does."""
    from raytrain.observe.collect import state_of
    from raytrain.store.journal import START, read_journal

    place = _store_with(store, run)
    _, cursor = read_journal(place, run, START)
    try:
        print(f"run {run!r} is {state_of(place, run)}; Ctrl-C leaves it alone", file=sys.stderr)
        while True:
            over = _is_over(place, run)
            lines, cursor = read_journal(place, run, cursor)
            for line in lines:
                print(line.text, file=sys.stderr, flush=True)
            if over:
                break
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        print(f"detached; the run goes on (raytrain stop {run} ends it)", file=sys.stderr)
        raise typer.Exit(0) from None
    state = state_of(place, run)
    print(f"run {run!r} {state}", file=sys.stderr)
    raise typer.Exit(ENDED[state])


def _is_over(place: Store, run: str) -> bool:
    """True when no attempt is at work, nor likely to follow at once."""
    from raytrain.observe.collect import state_of

    deadline = time.monotonic() + BETWEEN_SECONDS
    while (state := state_of(place, run)) == "partial" and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return state != "running"


def _store_with(uri: str | None, run: str) -> Store:
    """The store, which must hold the run, or a sweep of that name."""
    from raytrain.observe.collect import known
    from raytrain.store import attempt as attempts

    place = open_store(uri)
    if not attempts.newest(place, run):  # a sweep has attempts and no recipe of its own
        known(place, run)
    return place
