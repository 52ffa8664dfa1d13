"""Fixtures of real parts: a small corpus, a store with its tokens, a step as the pipeline runs it."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import MapShards, StepContext, StepResult


def pytest_configure() -> None:
    """A shell starts a command in the background deaf to Ctrl-C, and the programs that tests start would inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


WORDS = """
the of and to in a is that for it was on are as with his they at be this from have or by one had not
but what all were when we there can an your which their said if do will each about how up out them
then she many some so these would other into has more her two like him see time could no make than
first been its who now people my made over
""".split()


def serial(work: Callable[[Any], Any], tasks: Any, label: str) -> list[Any]:
    """The simplest engine."""
    return [work(t) for t in tasks]


def make_step(
    store: Store, prefix: str, step: str, parents: dict[str, Artifact], run: Callable[[StepContext], StepResult]
) -> Artifact:
    """Runs a step the way the pipeline does and commits it at a given prefix."""
    engine: MapShards = serial
    result = run(StepContext(store, prefix, {}, parents, engine, lambda line: None))
    return ArtifactWriter(store, prefix).commit(
        artifact=prefix.split("/")[1],
        step=step,
        version=1,
        config={},
        parents={k: a.id for k, a in parents.items()},
        shards=result.shards,
        facts=result.facts,
    )


def make_corpus(store: Store, shards: int = 3, documents: int = 30, seed: int = 0) -> Artifact:
    """A corpora artifact of two domains in a language of few words; every tenth document is held out."""
    import pyarrow as pa

    draw = random.Random(seed)
    writer = ArtifactWriter(store, "corpora/x")
    records = []
    for shard in range(shards):
        rows = []
        for n in range(documents):
            text = " ".join(draw.choices(WORDS, k=draw.randint(20, 200))).capitalize() + ".\n"
            number = shard * documents + n
            rows.append(
                {
                    "text": text,
                    "doc_id": f"{number:032x}",
                    "record_id": f"s/f/{number}",
                    "source": "s",
                    "domain": "prose" if n % 3 else "verse",
                    "licence": "CC0-1.0",
                    "origin": "machine",
                    "url": None,
                    "file": "f",
                    "record": number,
                    "split": "validation" if n % 10 == 0 else "train",
                    "bytes": len(text.encode()),
                }
            )
        table = pa.Table.from_pylist(rows)
        records.append(
            writer.commit_shard(
                shard, {"kept.parquet": writer.put(shard, "kept.parquet", table_bytes(table))}, len(rows)
            )
        )
    return writer.commit(artifact="x", step="select", version=1, config={}, parents={}, shards=records)


@pytest.fixture(scope="session")
def tokens_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with corpora/x, tokenizers/x and tokens/x; copy it, do not write to it."""
    from raytrain.tokens import shards
    from raytrain.tokens.section import TokenizerSection

    root = tmp_path_factory.mktemp("template")
    store = Store(str(root))
    corpus = make_corpus(store)
    section = TokenizerSection(vocab_size=320)
    tokenizer = make_step(
        store, "tokenizers/x", "tokenizer", {"corpus": corpus}, lambda c: shards.run_tokenizer(c, section)
    )
    make_step(store, "tokens/x", "tokenize", {"corpus": corpus, "tokenizer": tokenizer}, shards.run_tokenize)
    return root


@pytest.fixture
def store(tokens_template: Path, tmp_path: Path) -> Store:
    """A store of one's own with the tokens in it."""
    shutil.copytree(tokens_template, tmp_path / "store", dirs_exist_ok=True)
    fresh = Store(str(tmp_path / "store"))
    # Records name keys below the prefix only, so a copied store is a store.
    return fresh
