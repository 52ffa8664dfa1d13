"""Training under torchrun, with neither Ray nor Prefect: `torchrun --nproc-per-node 2 -m raytrain.train RECIPE`.

A door, not a room: it stands at the roof and hands the recipe's steps an engine that is this very process group.
The tokens must be in the store (`raytrain run RECIPE --until tokenize`, on any machine).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

from raytrain.cli import run_as_command
from raytrain.errors import UserError
from raytrain.store.step import Task
from raytrain.train.job import TrainJob
from raytrain.train.parallel import World, join, leave


class ProcessGroup:
    """An engine whose workers are already there: the first one walks the steps, the others wait for the job."""

    name = "torchrun"
    cpu_seconds = 0.0

    def __init__(self, world: World) -> None:
        self.world = world
        self.told = False

    def map_shards(self, work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
        raise UserError(
            f"the step {label} is not done yet: `raytrain run RECIPE --until tokenize` does all before training"
        )

    def node(self) -> str:
        return self.world.node

    def train(self, job: TrainJob) -> None:
        from raytrain.store import Store
        from raytrain.train.progress import read_failure
        from raytrain.train.worker import work

        self.told = True
        self.world.tell(job)
        if not work(job, self.world.rank):
            failure = read_failure(Store(job.store), job.run, job.attempt)
            assert failure is not None
            raise failure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m raytrain.train", description="Train a recipe's model.")
    parser.add_argument("recipe", help="path or URI of the recipe")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override, repeatable")
    parser.add_argument("--store", help="where runs are kept; else the recipe's, RAYTRAIN_STORE, ./store")
    parser.add_argument("--take-over", action="store_true", help="take the run over from a live attempt")
    options = parser.parse_args()
    run_as_command(lambda: _take_part(options))


def _take_part(options: argparse.Namespace) -> int:
    from raytrain import recipe as recipes

    size = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        recipe = recipes.load(options.recipe, [*options.set, f"train.workers={size}"], options.store)
    except UserError:
        if os.environ.get("RANK", "0") == "0":
            raise
        return 1  # the first worker says why
    world = join(recipe.train.threads)
    try:
        if world.rank == 0:
            _first(recipe, world, options.take_over)
            return 0
        job: TrainJob | None = world.tell(None)
        if job is None:  # the first worker had nothing to train, or gave up; it says why
            return 0
        from raytrain.train.worker import work

        return 0 if work(job, world.rank) else 1
    finally:
        leave()


def _first(recipe: Any, world: World, take_over: bool) -> None:
    from raytrain import runs
    from raytrain.cli.live import Live, stop_here

    live, engine = Live(), ProcessGroup(world)
    try:
        runs.execute(
            recipe, say=live.say, take_over=take_over, training=live.training, engine=engine, on_stop=stop_here
        )
    finally:
        if not engine.told:
            world.tell(None)


if __name__ == "__main__":
    main()
