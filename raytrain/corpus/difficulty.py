"""The difficulty step: how hard each document is to read, as numbers that a curriculum can be cut by.

Length, rarity of words (Platanios et al. 2019, "Competence-based Curriculum Learning", section 2.2: both) and how far
the text can be compressed. Rarity needs counts of words: they come from at most SAMPLE shards, evenly spread, counted
before any is judged. The invariant: a document's numbers depend on the documents alone, not on workers or order.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from raytrain.corpus.attributes import shard_table, shard_tasks
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.kernels.buffers import Bytes, Offsets
from raytrain.corpus.section import CorpusSection
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task

NAME = "annotate-difficulty"
KIND = "attributes/difficulty"
VERSION = 1
OBJECT = "difficulty.parquet"
SKETCH = "words.bin"
SAMPLE = 64  # shards: of 256 MB each they hold billions of words
ZSTD_LEVEL = 3


def config_of(corpus: CorpusSection) -> dict[str, Any]:
    """Nothing of a recipe moves the numbers: by which of them bins are cut is select's affair."""
    return {"sample": SAMPLE, "zstd": ZSTD_LEVEL, "unicode": unicodedata.unidata_version}  # which says what a word is


def run(ctx: StepContext) -> StepResult:
    """Annotates `documents`."""
    documents = ctx.parents["documents"]
    tasks = shard_tasks(ctx, documents)
    chosen = sorted({int(i) for i in np.linspace(0, len(tasks) - 1, min(SAMPLE, len(tasks)))})
    counting = [{**tasks[i], "shard": n, "prefix": f"{ctx.prefix}/counts"} for n, i in enumerate(chosen)]
    counted = ctx.map_shards(count_shard, counting, f"{NAME}: words")
    whole = _add(ctx, counted)
    tasks = [{**task, "words": whole} for task in tasks]
    return StepResult(ctx.map_shards(annotate_shard, tasks, NAME), {"documents": documents.id})


def count_shard(task: Task) -> Task:
    """Commits the counts of one shard's words."""
    from raytrain.corpus.kernels.rarity import count_words, empty

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    sketch = empty()
    count_words(*_texts(writer.store, task), sketch)
    return writer.commit_shard(task["shard"], {SKETCH: writer.put(task["shard"], SKETCH, sketch.tobytes())}, 0)


def annotate_shard(task: Task) -> Task:
    """Commits `words`, `rarity` (bits a word) and `compression` (compressed bytes / bytes) of a shard's documents."""
    import pyarrow as pa

    from raytrain.corpus.kernels.rarity import rarity

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    data, offsets = _texts(writer.store, task)
    words, bits = rarity(data, offsets, _counts(writer.store, task["words"]))
    table = pa.table({"words": words, "rarity": bits, "compression": compression(data, offsets)})
    return writer.commit_shard(
        task["shard"], {OBJECT: writer.put(task["shard"], OBJECT, table_bytes(table))}, len(words)
    )


def compression(data: Bytes, offsets: Offsets) -> Any:
    """Bytes of each text by itself under zstd over its own: repetition is low, noise near 1, a few words above."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_content_size=False)
    held = data.data
    bounds = offsets.tolist()
    sizes = [len(compressor.compress(held[a:b])) for a, b in itertools.pairwise(bounds)]
    return np.array(sizes, np.float64) / np.maximum(np.diff(offsets), 1)


def _texts(store: Store, task: Task) -> tuple[Bytes, Offsets]:
    from raytrain.corpus.kernels.buffers import text_buffers

    return text_buffers(shard_table(store, task["documents"], DOCUMENTS, ["text"]).column("text"))


def _add(ctx: StepContext, counted: Sequence[Task]) -> Task:
    """Commits the sum of the shards' counts; its record."""
    from raytrain.corpus.kernels.rarity import empty

    writer = ArtifactWriter(ctx.store, f"{ctx.prefix}/words")
    record = writer.record(0)
    if record is None:
        whole = empty()
        for held in counted:
            whole += _counts(ctx.store, held)
        record = writer.commit_shard(0, {SKETCH: writer.put(0, SKETCH, whole.tobytes())}, 0)
    return record


def _counts(store: Store, record: Task) -> Any:
    from raytrain.corpus.kernels.rarity import BITS

    data = Artifact(store, "", {"shards": [record]}).get(0, SKETCH)
    return np.frombuffer(data, np.uint32).reshape(2, 1 << BITS)
