"""A source on Hugging Face's hub, told by a file system that stands in for it: no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.inventory import inventory
from raytrain.corpus.section import Source
from raytrain.store import Store
from tests.corpus.walk import Walk, corpus, rows


class Hub(MemoryFileSystem):
    """Files below hf://, described as huggingface_hub.HfFileSystem describes them: by the hash of their content."""

    protocol = "hf"
    store: dict[str, Any] = {}  # noqa: RUF012 - the parent's own
    pseudo_dirs = [""]  # noqa: RUF012
    opened = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return "/" + path.removeprefix("hf://").strip("/")

    def unstrip_protocol(self, name: str) -> str:
        return "hf://" + name.lstrip("/")

    def find(self, path: str, maxdepth: int | None = None, withdirs: bool = False, **options: Any) -> Any:
        found = super().find(path, maxdepth, withdirs, **options)
        return {name: {**entry, "blob_id": str(hash(name))} for name, entry in found.items()}

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        type(self).opened += mode == "rb"
        return super().open(path, mode, **options)


@pytest.fixture
def hub() -> Iterator[type[Hub]]:
    known = fsspec.registry.get("hf")
    fsspec.register_implementation("hf", Hub, clobber=True)
    Hub.store.clear()
    with fsspec.open("hf://datasets/someone/words/data/part.jsonl", "w") as file:
        file.write("".join(json.dumps({"text": f"document number {i} of the hub"}) + "\n" for i in range(5)))
    yield Hub
    if known is not None:
        fsspec.register_implementation("hf", known, clobber=True)


def test_a_dataset_of_the_hub_is_a_source_like_any_other(hub: type[Hub], tmp_path: Any) -> None:
    source = Source(name="hub", uri="hf://datasets/someone/words")
    documents = Walk(Store(str(tmp_path)), [source], corpus()).ingest()
    assert [row["text"] for row in rows(documents, DOCUMENTS)] == [f"document number {i} of the hub" for i in range(5)]
    assert rows(documents, DOCUMENTS)[0]["record_id"] == "hub/data/part.jsonl/0"


def test_a_file_of_the_hub_is_hashed_once(hub: type[Hub], tmp_path: Any) -> None:
    source, store = Source(name="hub", uri="hf://datasets/someone/words"), Store(str(tmp_path))
    first = inventory([source], store, print)
    opened = hub.opened
    assert inventory([source], store, print) == first
    assert hub.opened == opened
