"""The commands that start and stop the services of a machine: up, down, status."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from raytrain.services.stack import State

FolderOption = Annotated[
    Path, typer.Option("--folder", help="Where everything of the services lies.", show_default=True)
]
HERE = Path(".raytrain")


def up(
    folder: FolderOption = HERE,
    base_port: Annotated[
        int | None, typer.Option("--base-port", help="The first of the ports on loopback. [default: 7400]")
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", min=1, help="What Ray may use. [default: this machine's cores]")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A service to leave out, repeatable: prometheus, ray ...")
    ] = None,
) -> None:
    """Start S3, Prefect, Ray and Prometheus on this machine, on loopback; what is up stays as it is."""
    from raytrain.services import stack

    stack.up(folder, base_port=base_port, cpus=cpus, without=without or [], say=_say)


def down(
    folder: FolderOption = HERE,
    wipe: Annotated[bool, typer.Option("--wipe", help="Delete the folder too: data, runs, everything.")] = False,
) -> None:
    """Stop what `up` started: no process stays, nor a file outside the folder."""
    from raytrain.services import stack

    stack.down(folder, wipe=wipe, say=_say)


def status(
    runs: Annotated[list[str] | None, typer.Argument(help="The runs to show. [default: all]")] = None,
    folder: FolderOption = HERE,
    env: Annotated[bool, typer.Option("--env", help='Print what `eval "$(raytrain status --env)"` needs.')] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Show how the services are, and the runs of their store. Ends with 1 unless all services are healthy."""
    from raytrain.errors import UserError
    from raytrain.services import place as places
    from raytrain.services import stack

    place = places.load(folder)
    if place is None:
        raise UserError(f"--folder {folder}: no services there; `raytrain up` starts them")
    environment = place.environment()
    if env:
        _print_environment(environment, place.rivals())
        if not any(process.process() for process in place.processes.values()):
            raise UserError("the services are down; `raytrain up` starts them")
        return
    states = stack.states(place)
    stored = any(s.service == "store" and s.state == "healthy" for s in states)
    found = _runs(environment, place.rivals(), runs or []) if stored else []
    if not as_json:
        _print_table(states, found)
    else:
        import json

        print(json.dumps({"folder": str(place.folder), "services": [asdict(s) for s in states], "runs": found}))
    bad = [s for s in states if s.state != "healthy"]
    if bad:
        if all(s.state == "down" for s in states):
            raise UserError("the services are down; `raytrain up` starts them")
        named = ", ".join(f"{s.service} is {s.state}" for s in bad)
        raise UserError(f"{named}; `raytrain up` starts what is missing, {place.folder / 'logs'} tells why")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def _say(line: str) -> None:
    print(line, flush=True)


def _print_environment(environment: dict[str, str], rivals: list[str]) -> None:
    for name, value in sorted(environment.items()):
        print(f"export {name}={shlex.quote(value)}")
    for name in rivals:
        print(f"unset {name}")


def _print_table(states: list[State], runs: list[dict[str, Any]]) -> None:
    from datetime import datetime

    print(f"{'service':<12} {'state':<8} {'port':<6} {'since':<20} url")
    for one in states:
        since = datetime.fromtimestamp(one.since).strftime("%Y-%m-%d %H:%M:%S") if one.since else "-"
        print(f"{one.service:<12} {one.state:<8} {one.port or '-'!s:<6} {since:<20} {one.url}")
    for run in runs:
        print(f"run {run['run']:<28} {run['state']}")


def _runs(environment: dict[str, str], rivals: list[str], wanted: list[str]) -> list[dict[str, Any]]:
    """The runs of the services' own store, and how they stand."""
    from raytrain.errors import UserError
    from raytrain.observe.collect import run_names, state_of
    from raytrain.store import Store

    for name in rivals:
        del os.environ[name]
    os.environ.update(environment)
    store = Store(environment["RAYTRAIN_STORE"])
    names = run_names(store)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UserError(f"run {unknown[0]!r} is not in {store.uri}; `raytrain status` lists those that are")
    return [{"run": name, "state": state_of(store, name)} for name in wanted or names]
