"""A run's figures by optimizer step, for tools that draw curves: metrics.parquet, and files that TensorBoard reads.

Prometheus knows time, these know steps. The invariant: they hold the surviving history, one row a step, and can be
remade from the ledger at any moment.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from raytrain.errors import UserError
from raytrain.ledger import LedgerReader, account, read_events
from raytrain.store import Store
from raytrain.store.artifact import table_bytes
from raytrain.store.scratch import process_folder

FLOATS = ("loss", "grad_norm", "learning_rate", "seconds", "data_wait", "mfu")
TENSORBOARD_SECONDS = 30.0
# What TensorBoard calls it, by column.
TAGS = {
    "loss": "train/loss",
    "grad_norm": "train/grad_norm",
    "learning_rate": "train/learning_rate",
    "mfu": "speed/mfu",
    "seconds": "speed/seconds_per_step",
    "data_wait": "speed/data_wait_seconds",
    "workers": "speed/workers",
    "val_bits_per_byte": "validation/bits_per_byte",
}

Row = dict[str, Any]


def rows_of(events: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row a surviving step, by step: ts (Unix seconds), figures, tokens of the step, bits per byte or None."""
    steps = account(events).surviving_steps
    bits = {e["step"]: float(e["value"]["bits_per_byte"]) for e in events if e["kind"] == "eval"}
    rows = []
    for step, event in steps.items():
        value = event["value"]
        row: Row = {"step": step, "ts": event["ts"], **{name: float(value[name]) for name in FLOATS}}
        row |= {"tokens": value["tokens"], "workers": value["workers"], "val_bits_per_byte": bits.get(step)}
        rows.append(row)
    return rows


def parquet(rows: Sequence[Row]) -> bytes:
    """The rows as a Parquet file."""
    import pyarrow as pa

    wide = [("step", pa.int64()), ("ts", pa.float64()), *((name, pa.float64()) for name in FLOATS)]
    schema = pa.schema([*wide, ("tokens", pa.int64()), ("workers", pa.int64()), ("val_bits_per_byte", pa.float64())])
    return table_bytes(pa.Table.from_pylist(list(rows), schema=schema))


def tensorboard(rows: Sequence[Row]) -> bytes:
    """The rows as one of TensorBoard's event files."""
    from tensorboardX import SummaryWriter  # type: ignore[import-untyped]

    with tempfile.TemporaryDirectory(prefix="tensorboard-", dir=process_folder()) as folder:
        with SummaryWriter(folder, write_to_disk=True) as writer:
            for row in rows:
                for name, tag in TAGS.items():
                    if row[name] is not None:
                        writer.add_scalar(tag, row[name], row["step"], walltime=row["ts"])
        (file,) = Path(folder).iterdir()
        return file.read_bytes()


def keep_metrics(store: Store, run: str) -> None:
    """Writes runs/<run>/metrics.parquet as the ledger stands now.

    The training half alone has no pyarrow; the ledger keeps all, and `raytrain metrics` writes it anywhere else.
    """
    rows = rows_of(read_events(store, run))
    try:
        table = parquet(rows) if rows else None
    except ModuleNotFoundError:
        return
    if table is not None:
        store.replace(f"runs/{run}/metrics.parquet", table)


def write_metrics(store: Store, run: str, to: str) -> dict[str, Any]:
    """Writes both files into a folder of this machine and says where. UserError for a run without a step."""
    from raytrain.observe.collect import known, state_of

    rows = rows_of(read_events(store, run))
    if not rows:
        known(store, run)  # names an unknown run as such
        state = state_of(store, run)
        raise UserError(f"run {run!r} has not taken a step yet ({state}); there is nothing to write")
    table, events = Path(to) / "metrics.parquet", Path(to) / "tensorboard" / _event_file(run)
    try:
        events.parent.mkdir(parents=True, exist_ok=True)
        table.write_bytes(parquet(rows))
        events.write_bytes(tensorboard(rows))
    except OSError as error:
        raise UserError(f"--to {to!r} cannot be written: {error.strerror}; name another place") from None
    return {"steps": len(rows), "parquet": str(table), "tensorboard": str(events.parent)}


@contextmanager
def live_tensorboard(store: Store, run: str) -> Iterator[None]:
    """While the block runs, the ledger is followed into runs/<run>/tensorboard/.

    The file is replaced as a whole, which object stores can do, and holds the surviving history only: steps that a
    crash made worthless leave the curve. UserError where tensorboardX is missing.
    """
    if find_spec("tensorboardX") is None:
        raise UserError(
            "observe.tensorboard: tensorboardX is not installed; pip install tensorboardX, or switch it off"
        )
    stop, reader = threading.Event(), LedgerReader(store, run)
    events: list[dict[str, Any]] = []

    def follow() -> None:
        while True:
            last = stop.wait(TENSORBOARD_SECONDS)
            try:
                news = reader.news()
                events.extend(news)
                if any(e["kind"] == "step" for e in news):
                    store.replace(f"runs/{run}/tensorboard/{_event_file(run)}", tensorboard(rows_of(events)))
            except Exception:  # only a display: what is missed now is in the next file
                pass
            if last:
                return

    thread = threading.Thread(target=follow, name="raytrain-tensorboard", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _event_file(run: str) -> str:
    return f"events.out.tfevents.0.{run}"
