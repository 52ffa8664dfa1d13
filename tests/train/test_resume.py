"""A resume that proves itself, falls back from damage, and yields to its successor."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from raytrain.engine.local import LocalEngine
from raytrain.errors import Superseded, UserError
from raytrain.ledger import account, read_events
from raytrain.store import Store
from raytrain.train import worker
from raytrain.train.checkpoint import list_checkpoints, loss_bits, parameter_sha256
from raytrain.train.job import TrainJob
from raytrain.train.progress import read_failure, read_progress

from .conftest import make_job


def run(job: TrainJob) -> bool:
    torch.set_num_threads(1)
    return worker.work(job, 0)


def forget_the_end(store: Store, name: str, above: int) -> None:
    for found in list_checkpoints(store, name):
        if found.step > above:
            store.delete(f"{found.prefix}/MANIFEST.json")


def messages(store: Store, name: str) -> str:
    state = read_progress(store, name)
    assert state is not None
    return "\n".join(line for _, line in state["lines"])


def test_a_resume_is_verified_and_ends_in_the_same_bits(store: Store) -> None:
    assert run(make_job(store, keep_checkpoints=9, checkpoint_every=2))
    whole = list_checkpoints(store, "r")[-1].manifest["parameter_sha256"]
    forget_the_end(store, "r", 4)
    assert run(make_job(store, attempt=2, keep_checkpoints=9, checkpoint_every=2))
    assert "resumed at step 4 on 1 worker: verified" in messages(store, "r")
    assert list_checkpoints(store, "r")[-1].manifest["parameter_sha256"] == whole
    books = account(read_events(store, "r"))
    assert list(books.surviving_steps) == list(range(1, 9))
    assert books.phases["wasted"] > 0


def test_a_damaged_checkpoint_is_passed_over_loudly(store: Store) -> None:
    assert run(make_job(store, keep_checkpoints=9, checkpoint_every=2))
    whole = list_checkpoints(store, "r")[-1].manifest["parameter_sha256"]
    newest, before = list_checkpoints(store, "r")[-1], list_checkpoints(store, "r")[-2]
    name = next(n for n in newest.manifest["files"] if n.endswith(".distcp"))
    path = store.local_path(f"{newest.prefix}/{name}")
    assert path is not None
    path.write_bytes(path.read_bytes()[:-7])
    assert run(make_job(store, attempt=2, keep_checkpoints=9, checkpoint_every=2))
    assert f"resumed at step {before.step}" in messages(store, "r")
    warnings = [e["value"]["message"] for e in read_events(store, "r") if e["kind"] == "warning"]
    assert any("is damaged" in w for w in warnings)
    assert list_checkpoints(store, "r")[-1].manifest["parameter_sha256"] == whole


def test_a_save_that_died_before_its_manifest_harms_no_later_one_of_the_same_attempt(store: Store) -> None:
    assert run(make_job(store, keep_checkpoints=9, checkpoint_every=2))
    whole = list_checkpoints(store, "r")[-1].manifest["parameter_sha256"]
    forget_the_end(store, "r", 4)  # files without a manifest stay behind
    assert run(make_job(store, keep_checkpoints=9, checkpoint_every=2))
    kept = list_checkpoints(store, "r")
    assert [c.step for c in kept] == [2, 4, 6, 8]
    for checkpoint in kept:
        for name, entry in checkpoint.manifest["files"].items():
            data = store.get(f"{checkpoint.prefix}/{name}")
            assert hashlib.sha256(data).hexdigest() == entry["sha256"], f"{checkpoint.prefix}/{name}"
    assert kept[-1].manifest["parameter_sha256"] == whole


def test_a_resume_that_cannot_prove_itself_is_refused(store: Store) -> None:
    assert run(make_job(store, checkpoint_every=4))
    forget_the_end(store, "r", 4)
    found = list_checkpoints(store, "r")[-1]
    lie = dict(found.manifest) | {"replay": loss_bits(1.0)}
    store.replace(f"{found.prefix}/MANIFEST.json", json.dumps(lie).encode())
    assert not run(make_job(store, attempt=2, checkpoint_every=4))
    failure = read_failure(store, "r", 2)
    assert failure is not None
    assert "not to be trusted" in str(failure)


def test_other_numerics_begin_a_new_era_or_are_refused(store: Store) -> None:
    assert run(make_job(store, checkpoint_every=4, keep_checkpoints=9))
    forget_the_end(store, "r", 4)
    found = list_checkpoints(store, "r")[-1]
    other = dict(found.manifest) | {"replay": loss_bits(1.0), "numerics": {"torch": "another"}}
    store.replace(f"{found.prefix}/MANIFEST.json", json.dumps(other).encode())
    assert not run(make_job(store, attempt=2, checkpoint_every=4, strict=True))
    assert "train.strict forbids it" in str(read_failure(store, "r", 2))
    assert run(make_job(store, attempt=3, checkpoint_every=4))
    assert "a new exactness era begins" in messages(store, "r")


def test_a_superseded_writer_stops_and_commits_nothing(store: Store) -> None:
    store.put("runs/r/attempts/00002.json", b"{}")
    assert not run(make_job(store, attempt=1))
    assert isinstance(read_failure(store, "r", 1), Superseded)
    assert list_checkpoints(store, "r") == []


@pytest.mark.slow
def test_no_worker_waits_for_one_that_was_superseded(store: Store) -> None:
    store.put("runs/r/attempts/00002.json", b"{}")
    with pytest.raises(Superseded):
        LocalEngine(lambda line: None).train(make_job(store, attempt=1, workers=3))


def test_a_checkpoint_of_another_configuration_is_not_resumed(store: Store) -> None:
    assert run(make_job(store))
    assert run(make_job(store, attempt=2, max_steps=9))
    assert any(
        "another configuration" in e["value"].get("message", "")
        for e in read_events(store, "r")
        if e["kind"] == "warning"
    )


def test_only_the_last_checkpoints_are_kept(store: Store) -> None:
    assert run(make_job(store, checkpoint_every=1, keep_checkpoints=2))
    assert [c.step for c in list_checkpoints(store, "r")] == [7, 8]
    folders = store.folders("runs/r/checkpoints")
    assert len([f for f in folders if store.keys(f"runs/r/checkpoints/{f}")]) == 2


def test_a_tokenizer_that_did_not_make_the_shards_is_refused(store: Store) -> None:
    path = store.local_path("tokenizers/x/MANIFEST.json")
    assert path is not None
    manifest = json.loads(path.read_text())
    manifest["facts"]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert not run(make_job(store))
    assert "is not the one that made" in str(read_failure(store, "r", 1))


def test_losses_that_are_not_finite_are_left_out_and_then_end_the_run(store: Store) -> None:
    assert not run(make_job(store, learning_rate=1e18, optimizer="adamw", warmup_fraction=0.0))
    failure = read_failure(store, "r", 1)
    assert isinstance(failure, UserError)
    assert "not finite" in str(failure)


def test_the_parameter_hash_is_what_its_definition_says() -> None:
    import hashlib

    a, b = torch.arange(4, dtype=torch.float32).view(2, 2), torch.ones(3)
    expected = hashlib.sha256()
    for name, shape, values in (("a", "(2, 2)", a), ("b", "(3,)", b)):
        expected.update(f"{name}\0float32\0{shape}\0".encode() + values.numpy().astype("<f4").tobytes())
    assert parameter_sha256({"b": b, "a": a}) == expected.hexdigest()
    assert parameter_sha256({"b": b, "a": a + 1e-6}) != expected.hexdigest()
