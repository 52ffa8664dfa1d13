"""What a part of the report is, and the small pieces that all parts use. Pure.

The invariant: a section draws from facts alone, and gives nothing where its facts are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytrain.observe.notation import MISSING, text
from raytrain.observe.page import Markup

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the page: `draw` gives its HTML, or nothing while its facts are not there; `absent` then says so."""

    anchor: str
    title: str
    lede: str
    absent: str
    draw: Callable[[Facts], str]


def entries(value: Any) -> list[Facts]:
    """The mappings of a list, and nothing of anything else."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, Sequence) else []


def hashed(value: object) -> Markup:
    """The start of a hash, the whole of it under the pointer."""
    return Markup(f'<code title="{text(value)}">{text(str(value)[:12])}</code>') if value else Markup(MISSING)
