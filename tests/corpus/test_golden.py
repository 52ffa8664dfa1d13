"""What each step makes of a fixed input, as a hash of its tables' contents.

A failure here means that the output changed: raise the step's VERSION, so that no store mixes old and new, and
write the new hash down. (The bytes of Parquet files may differ between versions of pyarrow; contents must not.)
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from raytrain.config import digest
from raytrain.corpus import ingest, select
from raytrain.corpus.dedup import step as dedup
from raytrain.corpus.section import Source
from raytrain.corpus.stages import language, minhash, text
from raytrain.store import Artifact, Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows

RECORDS = [
    *({"text": prose.document(seed, 20), "id": seed, "licence": "MIT"} for seed in range(40)),
    *({"text": prose.edited(prose.document(seed, 20), seed, 0.008)} for seed in range(10)),
    {"text": prose.document(3, 20)},
    {"text": "Too short."},
    {"text": "Ünïcode – “quoted” … 東京。 " * 30},
    {"text": "cafÃ© au lait, " * 40},
]
GOLDEN = {
    "ingest": (4, "48ae9c352aa3dddd"),
    "annotate-text": (2, "f24bc5b45e283cdf"),
    "annotate-language": (1, "b2e06867ddbee58f"),
    "annotate-minhash": (3, "41651371ebc23bfd"),
    "dedup": (3, "861e784c885df894"),
    "select": (3, "057e774c2067884f"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, Artifact]]:
    root = tmp_path_factory.mktemp("golden")
    (root / "a.jsonl").write_text("".join(json.dumps(r) + "\n" for r in RECORDS) + "{broken\n", encoding="utf-8")
    section = corpus(
        rules=("gopher", "gopher-repetition", "c4", "fineweb"), languages={"allowed": ["en"]}, target_shard_bytes=40_000
    )
    walking = Walk(Store(str(root / "store")), [Source(name="s", uri=str(root / "a.jsonl"))], section)
    documents = walking.ingest()
    attributes = walking.annotate(documents)
    stages = (text.STAGE, language.STAGE, minhash.STAGE)
    found = {stage.step: (stage.version, attributes[stage.name]) for stage in stages}
    duplicates = walking.dedup(documents, attributes["minhash"])
    rest = {"dedup": (dedup.VERSION, duplicates), "select": (select.VERSION, walking.corpus())}
    return {"ingest": (ingest.VERSION, documents), **found, **rest}


def contents(artifact: Artifact) -> str:
    names = sorted({name for shard in artifact.shards for name in shard["objects"]})
    return digest({name: _plain(rows(artifact, name)) for name in names})


def _plain(value: Any) -> Any:
    """Bytes in hex, and numbers to six digits: the last bits of a division are no change of output."""
    if isinstance(value, dict):
        return {name: _plain(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_plain(held) for held in value]
    if isinstance(value, bytes):
        return value.hex()
    return round(value, 6) if isinstance(value, float) else value


@pytest.mark.parametrize("step", GOLDEN)
def test_output_changes_only_with_the_version(step: str, made: dict[str, tuple[int, Artifact]]) -> None:
    version, artifact = made[step]
    assert (version, contents(artifact)) == GOLDEN[step]
