"""`raytrain data`: what a person reads who asks to forget, and what is not handed out afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from raytrain.cli.data import data_app
from raytrain.cli.results import export_data
from raytrain.errors import UserError
from raytrain.store import Store
from tests.observe.life import curated

RECORD = "verse/verse.jsonl/2"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return curated(tmp_path)


def forget(store: Store, reason: str) -> Result:
    return CliRunner().invoke(data_app, ["forget", RECORD, "--reason", reason, "--store", store.uri])


def test_what_is_forgotten_is_said_once_and_exported_no_more(store: Store, tmp_path: Path) -> None:
    refused = forget(store, " ")
    assert isinstance(refused.exception, UserError) and "--reason is empty" in str(refused.exception)
    assert export_data(store, "lives", "nanogpt", str(tmp_path / "before"))["files"]

    assert "1 record(s) will not be in any corpus" in forget(store, "asked by its author").output
    again = forget(store, "asked again").output
    assert again.startswith(f"{RECORD}: already forgotten since 20") and "reason: asked by its author\n" in again
    assert "will not be" not in again and "runs touched: lives" in again

    for form in ("parquet", "nanogpt", "megatron"):
        with pytest.raises(UserError, match=r"holds 1 record\(s\).*make the corpus anew"):
            export_data(store, "lives", form, str(tmp_path / "after"))
    assert not (tmp_path / "after").exists()
