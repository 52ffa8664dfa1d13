"""What Prefect's pages show of a run: the funnel, the losses, progress, links. Read from the store, drawn there.

The invariant: a page that cannot be written never fails a run.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from raytrain.observe.collect import artifacts_of, collect
from raytrain.store import Store
from raytrain.train.progress import read_progress

ROWS = 40  # of the losses table
EVERY_SECONDS = 10.0  # between two steps of the bar: each is an event for everybody who watches


def _never_fails(draw: Callable[..., None]) -> Callable[..., None]:
    @wraps(draw)
    def shielded(*arguments: Any) -> None:
        try:
            draw(*arguments)
        except Exception as error:
            get_run_logger().warning("not shown: %s: %s", type(error).__name__, error)

    return shielded


@_never_fails
def links() -> None:
    """Links to the pages of the parts that this environment names."""
    for key, (text, link) in pages(os.environ).items():
        create_link_artifact(link=link, link_text=text, key=key)


def pages(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """An artifact's key to the text and address of a part's page, as a browser reaches it.

    Ray's is the job server's own address unless RAYTRAIN_RAY_URL says that people go another way.
    """
    known = {
        "ray-dashboard": ("Ray dashboard", ("RAYTRAIN_RAY_URL", "RAY_API_SERVER_ADDRESS")),
        "metrics": ("Prometheus", ("RAYTRAIN_PROMETHEUS_URL",)),
        "dashboards": ("Grafana", ("RAYTRAIN_GRAFANA_URL",)),
    }
    links = {key: (text, next(filter(None, map(environment.get, names)), "")) for key, (text, names) in known.items()}
    return {key: page for key, page in links.items() if page[1]}


@_never_fails
def results(store: Store, run: str, step: str) -> None:
    """The pages of a step that is done."""
    if step == "select":
        funnel = artifacts_of(store, run)["select"].facts["funnel"]
        rows = [{"step": r["step"], "documents": r["documents"], "bytes": r["bytes"]} for r in funnel]
        create_table_artifact(table=rows, key="corpus-funnel", description=f"run {run}: what is left after each step")
    if step in ("pretrain", "evaluate"):
        create_markdown_artifact(markdown=_losses(store, run), key="losses", description=f"run {run}")
    if step in ("evaluate", "sweep"):
        create_markdown_artifact(markdown=report(store, run, step), key="report", description=f"run {run}")


class Progress:
    """A run's progress bar on Prefect's page, made when training begins."""

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run
        self._id: UUID | None = None
        self._shown, self._when = -1.0, 0.0

    @_never_fails
    def look(self) -> None:
        state = read_progress(self.store, self.run)
        if state is None or not state.get("max_steps") or "step" not in state:
            return
        done = round(100 * float(state["step"]) / float(state["max_steps"]), 1)
        now = time.monotonic()
        if done == self._shown or (done < 100 and now < self._when + EVERY_SECONDS):
            return
        self._shown, self._when = done, now
        if self._id is None:
            made = create_progress_artifact(progress=done, key="training", description=f"run {self.run}: steps")
            assert isinstance(made, UUID)
            self._id = made
        else:
            update_progress_artifact(self._id, progress=done)


def report(store: Store, run: str, step: str) -> str:
    """Where a report lies and how to get it, as Markdown: a browser opens no s3:// or file:// link from a page."""
    if step == "sweep":
        return f"# Report of {run}\n\n`{store.where(f'sweeps/{run}/report.html')}`"
    return (
        f"# Report of {run}\n\n`{store.where(f'runs/{run}/report.html')}`\n\n"
        f"To read it on your machine:\n\n```\nraytrain report {run} --store {shlex.quote(store.uri)}\n```"
    )


def _losses(store: Store, run: str) -> str:
    facts = collect(store, run)
    curve = facts["curve"]
    held_out = {v["step"]: v["bits_per_byte"] for v in facts["validation"]}
    every = max(1, -(-len(curve) // ROWS))
    rows = [p for i, p in enumerate(curve) if i % every == 0 or i == len(curve) - 1 or p["step"] in held_out]
    lines = [f"| {p['step']:,} | {p['loss']:.4f} | {_figure(held_out.get(p['step']))} |" for p in rows]
    head = "| step | training loss (nats a token) | validation (bits a byte) |\n|---:|---:|---:|"
    return "\n".join([f"# Losses of {run}", "", head, *lines])


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
