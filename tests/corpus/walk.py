"""Walks the steps of the corpus room as the pipeline does, with the simplest engine there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from raytrain.corpus import ingest, select
from raytrain.corpus.dedup import step as dedup
from raytrain.corpus.inventory import inventory, source_ids
from raytrain.corpus.section import CorpusSection, Source
from raytrain.corpus.stages import language, minhash, text
from raytrain.corpus.stages.stage import Stage
from raytrain.store import Artifact, ArtifactWriter, Store, artifact_id
from raytrain.store.artifact import read_table
from raytrain.store.step import MapShards, StepContext, StepResult, Task

SMALL_SPLIT = {"min_validation_documents": 1, "min_validation_bytes": 1}


def serial(work: Callable[[Task], Task], tasks: Sequence[Task], label: str) -> list[Task]:
    return [work(task) for task in tasks]


def silent(line: str) -> None:
    pass


def corpus(**options: Any) -> CorpusSection:
    """A section for small data: tiny shards, no rules or languages unless asked for, a split of any size."""
    defaults = {"target_shard_bytes": 20_000, "max_document_bytes": 50_000, "rules": (), "languages": {"allowed": ()}}
    return CorpusSection.model_validate({**defaults, "split": SMALL_SPLIT, **options})


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any] | str]) -> Path:
    """One record a line; a plain string becomes its text."""
    rows = [{"text": r} if isinstance(r, str) else r for r in records]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Walk:
    """The steps one after the other, each made once; `engine` may be replaced on the way."""

    def __init__(self, store: Store, sources: Sequence[Source], section: CorpusSection, engine: MapShards = serial):
        self.store, self.sources, self.section, self.engine = store, sources, section, engine
        self.said: list[str] = []

    def ingest(self) -> Artifact:
        files = inventory(self.sources, self.store, self.said.append)
        config = ingest.config_of(self.section, self.sources)
        return self.make(ingest, config, {}, partial(ingest.run, files=files), list(source_ids(files).values()))

    def annotate(self, documents: Artifact) -> dict[str, Artifact]:
        stages = {"text": text, "language": language, "minhash": minhash}
        return {name: self.stage(stage.STAGE, documents) for name, stage in stages.items()}

    def stage(self, stage: Stage, documents: Artifact) -> Artifact:
        return self.make(
            SimpleNamespace(NAME=stage.step, KIND=stage.kind, VERSION=stage.version),
            stage.config(self.section),
            {"documents": documents},
            stage.run,
        )

    def dedup(self, documents: Artifact, signatures: Artifact, **quality: Artifact) -> Artifact:
        parents = {"documents": documents, "minhash": signatures, **quality}
        return self.make(dedup, dedup.config_of(self.section, self.store), parents, dedup.run)

    def corpus(self) -> Artifact:
        documents = self.ingest()
        attributes = self.annotate(documents)
        duplicates = self.dedup(documents, attributes["minhash"])
        parents = {"documents": documents, **attributes, "dedup": duplicates}
        del parents["minhash"]
        return self.make(select, select.config_of(self.section), parents, select.run)

    def make(
        self,
        module: Any,
        config: dict[str, Any],
        parents: Mapping[str, Artifact],
        run: Callable[[StepContext], StepResult],
        raw_parents: Sequence[str] = (),
    ) -> Artifact:
        ids = {name: parent.id for name, parent in parents.items()}
        made = artifact_id(module.NAME, module.VERSION, config, [*ids.values(), *raw_parents])
        prefix = f"{module.KIND}/{made}"
        result = run(StepContext(self.store, prefix, config, parents, self.engine, self.said.append))
        writer = ArtifactWriter(self.store, prefix)
        return writer.commit(
            artifact=made,
            step=module.NAME,
            version=module.VERSION,
            config=config,
            parents=ids,
            shards=result.shards,
            facts=result.facts,
        )


def table(artifact: Artifact, name: str) -> pa.Table:
    """An object of every shard that has it, one below the other."""
    held = [read_table(artifact, i, name) for i, shard in enumerate(artifact.shards) if name in shard["objects"]]
    return pa.concat_tables(held)


def rows(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    return list(table(artifact, name).to_pylist())
