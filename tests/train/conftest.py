from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from raytrain.engine.local import LocalEngine
from raytrain.model.section import ModelSection
from raytrain.store import Store
from raytrain.train.checkpoint import list_checkpoints
from raytrain.train.job import TrainJob
from raytrain.train.section import TrainSection

VOCAB = 320
Train = Callable[..., str]


def make_job(
    store: Store, run: str = "r", attempt: int = 1, model: dict[str, Any] | None = None, **train: Any
) -> TrainJob:
    shape = ModelSection(**({"depth": 2, "width": 64, "context": 32} | (model or {})))
    section = TrainSection(**({"max_steps": 8, "batch_sequences": 8, "microbatches": 8, "precision": "fp32"} | train))
    return TrainJob(
        store=store.uri,
        run=run,
        attempt=attempt,
        seed=3,
        model=shape,
        train=section.resolved(shape, VOCAB),
        tokens="tokens/x",
        tokenizer="tokenizers/x",
        output=f"models/{run}",
        prompts=("the people",),
    )


@pytest.fixture
def train(store: Store) -> Train:
    """Trains a job on processes of this machine and returns the last checkpoint's parameter hash."""

    def go(run: str = "r", **options: Any) -> str:
        job = make_job(store, run, **options)
        LocalEngine(lambda line: None).train(job)
        last = list_checkpoints(store, run)[-1]
        assert last.step == job.train.max_steps
        return str(last.manifest["parameter_sha256"])

    return go
