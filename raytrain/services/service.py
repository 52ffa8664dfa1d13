"""A service as data: how it is started, which ports it takes, and by what one knows that it is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raytrain.services.processes import Started


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Service:
    """One of the things that `raytrain up` starts.

    `before` runs just before the start and `then` once when it is well; `after` names what must be well first.
    """

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    ports: Sequence[int]
    url: str
    healthy: Callable[[Started], bool]
    after: Sequence[str] = ()
    before: Callable[[], None] = _nothing
    then: Callable[[], None] = _nothing
    keeps_orphans: bool = False  # a restart leaves alone what outlived its parent
