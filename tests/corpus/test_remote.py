"""The same walk on a store and a source that are not local files."""

from __future__ import annotations

import json
from collections.abc import Iterator

import fsspec
import pytest

from raytrain.corpus.section import Source
from raytrain.corpus.select import KEPT
from raytrain.store import Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows


@pytest.fixture
def bucket() -> Iterator[str]:
    fs = fsspec.filesystem("memory")
    fs.pipe_file(
        "/corpus-test/raw/a.jsonl", "\n".join(json.dumps({"text": prose.document(s)}) for s in range(9)).encode()
    )
    fs.pipe_file("/corpus-test/raw/sub/b.txt", prose.document(3).encode())
    yield "memory://corpus-test"
    fs.rm("/corpus-test", recursive=True)


def test_a_corpus_from_bucket_to_bucket(bucket: str) -> None:
    walking = Walk(Store(f"{bucket}/store"), [Source(name="s", uri=f"{bucket}/raw")], corpus())
    kept = rows(walking.corpus(), KEPT)
    assert len(kept) == 9
    assert {row["file"] for row in kept} <= {"a.jsonl", "sub/b.txt"}
    assert {row["split"] for row in kept} == {"train", "validation"}
