"""A run that is really trained: what it leaves for onlookers, and what the exporter makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from raytrain import recipe as recipes
from raytrain import runs
from raytrain.observe.collect import collect, show
from raytrain.observe.exporter import Exporter
from raytrain.store import Store
from tests.observe.life import curated
from tests.observe.test_exporter import served, value
from tests.observe.test_sinks import scalars

SMALL = {"train.max_steps": 4, "train.batch_sequences": 4, "train.microbatches": 2, "train.workers": 1}
TINY = {"model.depth": 1, "model.context": 32, "evaluate.choices": 2, "evaluate.prompts": "[]"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("trained")
    store = curated(folder, "other")
    options = {**SMALL, **TINY, "name": "small", "observe.tensorboard": "true", "store": store.uri}
    overrides = [f"{key}={value}" for key, value in options.items()]
    runs.execute(recipes.load(str(folder / "texts" / "recipe.yaml"), overrides), say=lambda line: None)
    return store


@pytest.mark.slow
def test_a_finished_run_has_its_figures_by_step(trained: Store) -> None:
    import io

    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(trained.get("runs/small/metrics.parquet")))
    curve = collect(trained, "small")["curve"]
    assert table.column("loss").to_pylist() == [point["loss"] for point in curve]
    (key,) = trained.keys("runs/small/tensorboard")
    assert [step for step, _ in scalars(trained.get(key))["train/loss"]] == [1, 2, 3, 4]


@pytest.mark.slow
def test_the_exporter_says_what_show_says(trained: Store) -> None:
    exporter = Exporter(trained)
    exporter.poll()
    series, facts = served(exporter), show(collect(trained, "small"))
    assert value(series, "raytrain_run_state", run_id="small", state="succeeded") == 1
    assert value(series, "raytrain_train_step", run_id="small") == facts["step"] == 4
    assert value(series, "raytrain_train_max_steps", run_id="small") == 4
    assert value(series, "raytrain_train_loss", run_id="small") == pytest.approx(facts["train_loss"])
    assert value(series, "raytrain_train_tokens", run_id="small") == facts["tokens"]
    assert value(series, "raytrain_eval_bpb", run_id="small") == pytest.approx(facts["val_bits_per_byte"])
    assert value(series, "raytrain_goodput_ratio", run_id="small") == pytest.approx(facts["goodput"])
    assert value(series, "raytrain_checkpoint_bytes_total", run_id="small") > 0
    assert value(series, "raytrain_energy_joules_total", run_id="small") == pytest.approx(65 * facts["elapsed_seconds"])
    assert value(series, "raytrain_cost_usd_total", run_id="small", component="pretrain") == pytest.approx(
        facts["cost"]["training_usd"]
    )
    assert value(series, "raytrain_nodes", run_id="small") == 0


@pytest.mark.slow
def test_what_is_written_for_onlookers_is_no_part_of_a_run_s_identity(trained: Store, tmp_path: Path) -> None:
    bound = json.loads(trained.get("runs/small/recipe.json"))
    assert bound["recipe"]["observe"] == {"tensorboard": True}
    assert "observe" not in bound["identity"]
