"""A plan of a recipe that nobody has run: estimates with ranges, assumptions in words, nothing written."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from raytrain import recipe as recipes
from raytrain.errors import UserError
from raytrain.forecast import forecast
from raytrain.scaling.plan import nearest
from raytrain.store import Store

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "recipes/quickstart.yaml")
SCHEMA = json.loads((ROOT / "docs/schemas/plan.json").read_text())


def plan(store: Path, *overrides: str, **options: Any) -> dict[str, Any]:
    found = forecast(recipes.load(QUICKSTART, overrides, str(store)), **options)
    jsonschema.validate(found, SCHEMA)
    return found


def codes(found: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in found["warnings"]}


def test_the_quickstart_is_foreseen_from_its_files_alone(tmp_path: Path) -> None:
    found = plan(tmp_path / "store")
    assert not (tmp_path / "store").exists()
    tokens = found["data"]["tokens"]
    assert tokens["low"] < 3_195_505 < tokens["high"]  # what the run counts
    assert found["data"]["assumed"] and "listing" in found["data"]["source"]
    assert found["training"]["tokens"] == 240 * 16 * 256 and found["model"]["parameters"] == 4_000_512
    assert found["training"]["flops"] == pytest.approx(983_040 * (6 * 3_997_696 + 12 * 4 * 256 * 256))
    for key in ("hours", "usd", "kwh"):
        assert 0 < found[key]["low"] < found[key]["value"] < found[key]["high"]
    assert found["usd"]["value"] == pytest.approx(found["kwh"]["value"] * 0.30)
    assert found["sweep"]["trials"] == 12 and found["expected"] is None and found["budget"] is None
    assert not found["warnings"]


def test_a_rented_node_is_priced_whole_and_its_idle_devices_are_named(tmp_path: Path) -> None:
    found = plan(tmp_path, "cost.instance=aws/p4d.24xlarge", "model.depth=16", "train.max_steps=null")
    assert codes(found) == {"idle_devices", "epochs", "stale_price"}
    machines = found["machines"]
    assert machines["nodes"] == 1 and machines["mfu"] == pytest.approx(0.4)
    assert found["usd"]["value"] == pytest.approx(found["hours"]["value"] * machines["usd_per_node_hour"])
    assert found["hours"]["value"] == pytest.approx(found["training"]["flops"] / (2 * 0.4 * 312e12) / 3600)
    assert "memory" in codes(plan(tmp_path, "cost.instance=aws/p4d.24xlarge", "model.depth=64", "train.max_steps=9"))


def test_a_budget_is_answered_and_no_limit_is_passed_over_in_silence(tmp_path: Path) -> None:
    rich = plan(tmp_path, usd=50.0)
    assert rich["budget"]["recipe_fits"] == "yes" and "budget_beyond_data" in codes(rich)
    poor = plan(tmp_path, usd=1e-9)
    assert poor["budget"]["recipe_fits"] == "no" and poor["budget"]["balanced"] is None
    assert {"over_budget", "budget_too_small"} <= codes(poor)
    for bad in (0.0, -1.0):
        with pytest.raises(UserError, match="--usd"):
            plan(tmp_path, usd=bad)
    with pytest.raises(UserError, match="costs nothing"):
        plan(tmp_path, "cost.watts=0", usd=1.0)


def test_what_no_plan_can_be_made_of_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sources\[0\] \(austen\)"):
        plan(tmp_path, "sources.0.uri=/nowhere/at/all")
    with pytest.raises(UserError, match=r"cost\.instance"):
        plan(tmp_path, "cost.instance=aws/none")
    with pytest.raises(UserError, match="it holds no law"):
        plan(tmp_path, law="nobody")


def test_what_the_law_buys_costs_the_budget_as_the_trainer_counts(tmp_path: Path) -> None:
    hoffmann = {"A": 406.4, "B": 410.7, "E": 1.69, "alpha": 0.34, "beta": 0.28}
    draws = io.BytesIO()
    np.save(draws, np.array([list(hoffmann.values())] * 3))
    body = {
        "parameters": {name: {"value": value} for name, value in hoffmann.items()},
        "points": {"largest_flops": 1e18},
        "draws": {"object": "draws.npy"},
        "not_identified": [],
        "sentence": "",
        "at": 0.0,
    }
    store = Store(str(tmp_path))
    store.put("sweeps/known/law.json", json.dumps(body).encode())
    store.put("sweeps/known/draws.npy", draws.getvalue())
    overrides = ("cost.instance=aws/p4d.24xlarge", "model.context=4096")
    found = plan(tmp_path, *overrides, usd=1e4)["budget"]
    parameters, tokens = (found["by_law"][key]["value"] for key in ("parameters", "tokens"))
    recipe = recipes.load(QUICKSTART, overrides, str(tmp_path))
    size = nearest(recipe.model, 4096, parameters)
    spent = tokens * size.flops_per_token(4096) * parameters / size.parameters(4096)
    assert spent == pytest.approx(found["flops"]["value"], rel=0.02)
    assert 6 * parameters * tokens < 0.8 * spent  # attention is dear here
