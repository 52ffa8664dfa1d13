"""The commands that serve and write metrics."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from raytrain.cli.options import JsonOption, RunArgument, StoreOption, named_store, open_store, print_json


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(exporter)
    app.command()(metrics)


def exporter(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 9464,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at the store.")] = 10.0,
    keep_hours: Annotated[float, typer.Option(min=0, help="How long a run is served after its end.")] = 24.0,
    store: StoreOption = None,
) -> None:
    """Serve a store's runs as Prometheus metrics, until it is told to stop."""
    import signal
    import threading

    from raytrain.observe.exporter import Exporter, serve

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    place = named_store(store)
    print(f"metrics of {place.uri} on http://{host}:{port}/metrics", flush=True)
    serve(Exporter(place, os.environ.get("PREFECT_API_URL"), keep_hours * 3600), host, port, stop, every)


def metrics(
    run: RunArgument,
    to: Annotated[str | None, typer.Option("--to", help="The folder to write. [default: ./RUN-metrics]")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's figures by step: metrics.parquet, and tensorboard/ for TensorBoard."""
    from raytrain.observe.sinks import write_metrics

    written = write_metrics(open_store(store), run, to or f"./{run}-metrics")
    if not as_json:
        print(f"{written['steps']} steps written to {written['parquet']} and {written['tensorboard']}")
    print_json(as_json, {"run": run, **written})
