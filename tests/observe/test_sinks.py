"""Figures by step: the surviving history, for Parquet readers and for TensorBoard."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from raytrain.errors import UserError
from raytrain.ledger import read_events
from raytrain.observe import sinks
from raytrain.observe.sinks import keep_metrics, live_tensorboard, rows_of, tensorboard, write_metrics
from raytrain.store import Store
from tests.observe.life import TOKENS, lived


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def scalars(file: bytes) -> dict[str, list[tuple[int, float]]]:
    """What an event file holds, by tag: TensorBoard's records are length, checksum, message, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    at = 0
    while at < len(file):
        (length,) = struct.unpack("<Q", file[at : at + 8])
        event = Event.FromString(file[at + 12 : at + 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, value.simple_value))
        at += length + 16
    return found


def test_one_row_a_surviving_step_in_order(store: Store) -> None:
    lived(store, "r", 1, time.time() - 200).close()
    keep_metrics(store, "r")
    table = pq.read_table(io.BytesIO(store.get("runs/r/metrics.parquet")))
    assert table.column("step").to_pylist() == list(range(1, 41))
    assert set(table.column("tokens").to_pylist()) == {TOKENS}
    assert table.column("workers").to_pylist() == [2] * 20 + [1] * 10 + [2] * 10
    bits = {s: b for s, b in zip(table["step"].to_pylist(), table["val_bits_per_byte"].to_pylist(), strict=True) if b}
    assert sorted(bits) == [20, 40] and bits[20] > bits[40]
    assert table.column("ts").to_pylist() == sorted(table.column("ts").to_pylist())


def test_metrics_can_be_remade_and_are_the_same(store: Store) -> None:
    lived(store, "r", 1, time.time() - 200).close()
    keep_metrics(store, "r")
    first = store.get("runs/r/metrics.parquet")
    keep_metrics(store, "r")
    assert store.get("runs/r/metrics.parquet") == first


def test_tensorboard_s_file_holds_the_same_curve(store: Store) -> None:
    lived(store, "r", 1, time.time() - 200).close()
    rows = rows_of(read_events(store, "r"))
    found = scalars(tensorboard(rows))
    assert [step for step, _ in found["train/loss"]] == list(range(1, 41))
    assert [value for _, value in found["train/loss"]] == pytest.approx([row["loss"] for row in rows])
    assert [step for step, _ in found["validation/bits_per_byte"]] == [20, 40]


def test_a_live_run_is_followed_and_lost_steps_leave_the_curve(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "TENSORBOARD_SECONDS", 0.05)
    key = "runs/r/tensorboard/events.out.tfevents.0.r"

    def steps() -> list[int]:
        return [step for step, _ in scalars(store.get(key))["train/loss"]] if store.exists(key) else []

    life = lived(store, "r", 1, time.time() - 200)
    with live_tensorboard(store, "r"):
        deadline = time.monotonic() + 60
        while steps() != list(range(1, 41)) and time.monotonic() < deadline:
            time.sleep(0.05)
        life.group("a", 30)
        life.steps(2)
        life.close()
    assert steps() == list(range(1, 33))
    assert store.keys("runs/r/tensorboard") == [key]


def test_both_are_written_where_the_user_says(store: Store, tmp_path: Path) -> None:
    lived(store, "r", 1, time.time() - 200).close()
    written = write_metrics(store, "r", str(tmp_path / "out"))
    assert written["steps"] == 40
    assert pq.read_table(written["parquet"]).num_rows == 40
    (file,) = Path(written["tensorboard"]).iterdir()
    assert len(scalars(file.read_bytes())["train/loss"]) == 40


def test_a_run_without_a_step_is_one_line(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not in"):
        write_metrics(store, "nobody", str(tmp_path / "out"))
    store.replace("runs/r/recipe.json", b'{"hash": "x", "recipe": {"train": {}}}')
    with pytest.raises(UserError, match="has not taken a step yet"):
        write_metrics(store, "r", str(tmp_path / "out"))


def test_a_place_that_cannot_be_written_is_one_line(store: Store, tmp_path: Path) -> None:
    lived(store, "r", 1, time.time() - 200).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_metrics(store, "r", str(tmp_path / "file" / "below"))


def test_the_command_says_where(store: Store, tmp_path: Path) -> None:
    lived(store, "r", 1, time.time() - 200).close()
    command = [sys.executable, "-c", "from raytrain.cli import main; main()", "metrics"]
    options = ["--store", store.uri, "--to", str(tmp_path / "out"), "--json"]
    done = subprocess.run([*command, "r", *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["steps"] == 40 and Path(said["parquet"]).exists()
    done = subprocess.run([*command, "nobody", *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.startswith("error: run 'nobody'") and done.stderr.count("\n") == 1
