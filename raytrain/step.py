"""One step of a recipe as a program: `python -m raytrain.step tokenize RECIPE [--set a.b=c] [--store URI]`.

Carries out the steps before it where they are missing, as flows and job schedulers expect. It ends like the
`raytrain` command: the same lines, the same exit codes. One more, 75, the schedulers' word for "try again later"
(EX_TEMPFAIL): another attempt is alive, perhaps the orphan of a cluster that just died.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from raytrain.cli import run_as_command
from raytrain.errors import Busy

if TYPE_CHECKING:
    from raytrain.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m raytrain.step", description="Carry out one step of a recipe.")
    parser.add_argument("step", help="for example select or pretrain; `all` for the whole run; `sweep`")
    parser.add_argument("recipe", help="path or URI of the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override, repeatable")
    parser.add_argument("--store", help="where runs are kept")
    parser.add_argument("--name", help="the sweep's name; the recipe's with -sweep when not given")
    options = parser.parse_args()
    if options.name is not None and options.step != "sweep":
        parser.error("--name is for a sweep; a run's name is --set name=...")
    run_as_command(lambda: carry_out(options))


def carry_out(options: argparse.Namespace) -> None:
    """Does what is asked for and prints the result as one JSON object."""
    from raytrain import recipe as recipes

    recipe = recipes.load(options.recipe, options.set, options.store)
    try:
        result = _sweep(recipe, options.name) if options.step == "sweep" else _run(recipe, options.step)
    except Busy as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    print(json.dumps(result, default=str))


def _run(recipe: Recipe, step: str) -> dict[str, Any]:
    from raytrain import runs
    from raytrain.cli.live import Live, give_way, stop_here
    from raytrain.cli.results import deliver
    from raytrain.store import Store

    live = Live()
    result = runs.execute(
        recipe,
        say=live.say,
        until=None if step == "all" else step,
        training=live.training,
        on_superseded=give_way,
        on_stop=stop_here,
    )
    return deliver(Store(recipe.store), recipe.name, live.say) if result["state"] == "succeeded" else result


def _sweep(recipe: Recipe, name: str | None) -> dict[str, Any]:
    from raytrain import sweep
    from raytrain.cli.live import Live, give_way, stop_here

    return sweep.execute(recipe, say=Live().say, name=name, on_superseded=give_way, on_stop=stop_here)


if __name__ == "__main__":
    main()
