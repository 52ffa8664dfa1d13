from __future__ import annotations

import datetime

import pytest

from raytrain.errors import UserError
from raytrain.ledger import PriceSection, price_of
from raytrain.ledger.prices import table


def test_an_owned_machine_costs_its_power() -> None:
    assert price_of(PriceSection(watts=500, usd_per_kwh=0.2)).usd_per_hour == pytest.approx(0.1)


def test_the_recipe_wins_over_the_table() -> None:
    assert price_of(PriceSection(instance="aws/p5.48xlarge", usd_per_hour=40)).usd_per_hour == 40


def test_an_unknown_instance_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"did you mean 'aws/p5\.48xlarge'"):
        price_of(PriceSection(instance="aws/p5.48xlarg"))


def test_a_missing_market_is_an_error() -> None:
    with pytest.raises(UserError, match="spot"):
        price_of(PriceSection(instance="aws/p5.48xlarge", market="spot"))


def test_an_old_quotation_is_stale() -> None:
    section = PriceSection(instance="aws/p5.48xlarge")
    assert price_of(section, datetime.date(2025, 3, 10)).stale_days == 0
    assert price_of(section, datetime.date(2026, 3, 10)).stale_days > 200


def test_every_row_has_a_price_a_date_and_a_source() -> None:
    for name, row in table()["instances"].items():
        assert row["usd_per_hour"] > 0, name
        assert isinstance(row["date"], datetime.date), name
        assert row["source"], name
