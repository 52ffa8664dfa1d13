"""The promise: the same bits whatever the number of workers, through any resize."""

from __future__ import annotations

from typing import Any

import pytest

from raytrain.engine.local import LocalEngine
from raytrain.store import Store
from raytrain.train import loop
from raytrain.train.checkpoint import list_checkpoints

from .conftest import Train, make_job

VARIANTS: dict[str, dict[str, Any]] = {
    "muon, fp32": {},
    "adamw, bf16, untied, dropout": {
        "optimizer": "adamw",
        "precision": "bf16",
        "model": {"tied": False, "dropout": 0.1, "qk_norm": False},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_same_bits_on_any_number_of_workers(train: Train, variant: str) -> None:
    hashes = {workers: train(f"w{workers}", workers=workers, **VARIANTS[variant]) for workers in (1, 2, 3)}
    assert len(set(hashes.values())) == 1, hashes


@pytest.mark.slow
def test_same_bits_through_resizes(store: Store, train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = train("calm", workers=1, checkpoint_every=2)
    for attempt, (workers, stop) in enumerate([(2, 2), (3, 4), (1, 6), (2, 8)], start=1):
        # Each leg has the same identity; it is cut short by dropping the checkpoints above `stop`.
        job = make_job(store, "resized", attempt=attempt, workers=workers, checkpoint_every=2, keep_checkpoints=9)
        store.put_if_absent(f"runs/resized/attempts/{attempt:05d}.json", b"{}")
        LocalEngine(lambda line: None).train(job)
        for found in list_checkpoints(store, "resized"):
            if found.step > stop:
                store.delete(f"{found.prefix}/MANIFEST.json")
    last = list_checkpoints(store, "resized")[-1]
    assert last.step == 8
    assert last.manifest["parameter_sha256"] == undisturbed


def test_the_identity_ignores_how_a_run_is_carried_out(store: Store) -> None:
    base = make_job(store).identity()
    assert make_job(store, workers=3, checkpoint_every=1, keep_checkpoints=7, attempt=5).identity() == base
    assert make_job(store, max_steps=9).identity() != base
    assert make_job(store, model={"depth": 1}).identity() != base


def test_the_loop_reads_like_an_essay() -> None:
    assert loop.__file__ is not None
    with open(loop.__file__) as file:
        assert len(file.readlines()) < 300
