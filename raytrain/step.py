"""One step of a recipe as a program: `python -m raytrain.step tokenize RECIPE [--set a.b=c] [--store URI]`.

Carries out the steps before it where they are missing, as flows and job schedulers expect.
"""

from __future__ import annotations

import argparse
import json
import sys


def main() -> int:
    from raytrain import recipe as recipes
    from raytrain import runs
    from raytrain.errors import UserError

    parser = argparse.ArgumentParser(prog="python -m raytrain.step", description="Carry out one step of a recipe.")
    parser.add_argument("name", help="the step, for example select or pretrain")
    parser.add_argument("recipe", help="path or URI of the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override, repeatable")
    parser.add_argument("--store", help="where runs are kept")
    options = parser.parse_args()
    try:
        loaded = recipes.load(options.recipe, options.set, options.store)
        result = runs.execute(loaded, say=lambda line: print(line, file=sys.stderr), until=options.name)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
