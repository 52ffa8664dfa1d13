"""What a node costs an hour: a dated table that we ship, and the user's own figures above it.

An unknown instance is an error, a stale table a warning. Spot prices move: the rows are a day's quotation, and
the `price` events of a run carry what was used.
"""

from __future__ import annotations

import datetime
import difflib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from pydantic import Field

from raytrain.config import Section
from raytrain.errors import UserError

STALE_DAYS = 90


class PriceSection(Section):
    """The recipe's `cost` section."""

    instance: str = Field("owned", description="a row of the price table; `owned` is your own machine at its power")
    market: str = Field("on-demand", pattern="^(on-demand|spot|owned)$", description="on-demand or spot")
    usd_per_hour: float | None = Field(None, ge=0, description="overrides the table, per node")
    watts: float = Field(65.0, ge=0, description="an owned node's power at the socket")
    usd_per_kwh: float = Field(0.30, ge=0, description="an owned node's electricity price")


@dataclass(frozen=True)
class Price:
    """A node's price with its origin."""

    instance: str
    market: str
    usd_per_hour: float
    source: str
    stale_days: int
    dated: datetime.date | None = None
    """The day of the quotation; None for a figure that the user gave."""
    watts: float | None = None
    """What an owned node draws, as the user estimates it."""


def table() -> dict[str, Any]:
    """The shipped price table."""
    loaded: dict[str, Any] = yaml.safe_load((files("raytrain.ledger") / "prices.yaml").read_text())
    return loaded


def price_of(section: PriceSection, today: datetime.date | None = None) -> Price:
    """The hourly price of one node. Raises UserError for an unknown instance or market."""
    if section.usd_per_hour is not None:
        return Price(section.instance, section.market, section.usd_per_hour, "recipe", 0)
    if section.instance == "owned":
        usd = section.watts / 1000 * section.usd_per_kwh
        return Price("owned", "owned", usd, "watts x usd_per_kwh", 0, watts=section.watts)
    known = table()
    rows = known["instances"]
    if section.instance not in rows:
        near = difflib.get_close_matches(section.instance, rows, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(
            f"cost.instance: no price is known for {section.instance!r}; {hint}give cost.usd_per_hour, or one of: "
            + ", ".join(sorted(rows))
        )
    row = rows[section.instance]
    key = "spot_usd_per_hour" if section.market == "spot" else "usd_per_hour"
    if row.get(key) is None:
        raise UserError(f"cost.market: no {section.market} price is known for {section.instance!r}; give usd_per_hour")
    age = (today or datetime.date.today()) - row["date"]
    stale = max(0, age.days - STALE_DAYS)
    return Price(section.instance, section.market, float(row[key]), row["source"], stale, row["date"])


def as_event(price: Price) -> dict[str, Any]:
    """The value of a `price` event: what a node costs from now on, and how that is known."""
    value: dict[str, Any] = {"usd_per_hour": price.usd_per_hour, "source": price.source}
    if price.dated is not None:
        value["dated"] = price.dated.isoformat()
    if price.watts is not None:
        value["watts"] = price.watts
    return value
