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

from raytrain.cli import run_as_command
from raytrain.errors import Busy


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m raytrain.step", description="Carry out one step of a recipe.")
    parser.add_argument("name", help="the step, for example select or pretrain; `all` for the whole run")
    parser.add_argument("recipe", help="path or URI of the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override, repeatable")
    parser.add_argument("--store", help="where runs are kept")
    options = parser.parse_args()
    run_as_command(lambda: carry_out(options))


def carry_out(options: argparse.Namespace) -> None:
    """Runs as far as the step, or to the end and delivers; prints the result as one JSON object."""
    from raytrain import recipe as recipes
    from raytrain import runs
    from raytrain.cli.live import Live, give_way, stop_here
    from raytrain.cli.results import deliver
    from raytrain.store import Store

    recipe = recipes.load(options.recipe, options.set, options.store)
    live = Live()
    try:
        result = runs.execute(
            recipe,
            say=live.say,
            until=None if options.name == "all" else options.name,
            training=live.training,
            on_superseded=give_way,
            on_stop=stop_here,
        )
    except Busy as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(os.EX_TEMPFAIL)
    if result["state"] == "succeeded":
        result = deliver(Store(recipe.store), recipe.name, live.say)
    print(json.dumps(result, default=str))


if __name__ == "__main__":
    main()
