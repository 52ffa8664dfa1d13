"""What the commands have in common: options, the store that they mean, the way they end with --json."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from raytrain.store import Store

StoreOption = Annotated[
    str | None, typer.Option("--store", help="Where runs are kept: a folder or a URI. [env RAYTRAIN_STORE, ./store]")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
RunArgument = Annotated[str, typer.Argument(help="The run's name.")]


def named_store(uri: str | None) -> Store:
    """The store that --store, RAYTRAIN_STORE or the working directory names; it is not asked anything."""
    from raytrain.store import Store

    return Store(uri or os.environ.get("RAYTRAIN_STORE") or "./store")


def open_store(uri: str | None) -> Store:
    """The same, and it answers: a person who mistyped learns of it in seconds, not after a night's patience."""
    store = named_store(uri)
    store.reach()
    return store


def print_json(as_json: bool, value: dict[str, Any]) -> None:
    """Prints the one object of --json."""
    if as_json:
        print(json.dumps(value, default=str), flush=True)
