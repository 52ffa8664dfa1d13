"""The commands that look at the data of runs: `raytrain data ...`."""

from __future__ import annotations

from typing import Annotated

import typer

from raytrain.cli.options import JsonOption, StoreOption, open_store, print_json

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the data of a run.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(data_app, name="data")


@data_app.command("at")
def data_at(
    run: Annotated[str, typer.Option("--run", help="The run's name.")],
    step: Annotated[int, typer.Option("--step", help="The optimizer step, from 1.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the sequences and documents that a step trained on."""
    from raytrain.observe.data_at import data_at as find

    found = find(open_store(store), run, step)
    if not as_json:
        for s in found["sequences"]:
            print(f"sequence {s['sequence']} (microbatch {s['microbatch']}): {s['domain']}, pass {s['pass']}")
            for d in s["documents"]:
                print(f"  {d['doc_id']}  {d['source']}/{d['file']}#{d['record']}  {d['tokens']} tokens  {d['licence']}")
    print_json(as_json, found)
