"""A stage: a function from documents to columns of numbers about them, with what decides its result.

What is shipped and what a user brings are the same thing: a frozen `Stage` called STAGE in a file. A stage that
writes more than one table (spans to cut, say) or works across shards is a step of its own. The invariant: a stage
sees a shard's documents and its own configuration, nothing else, and answers with one row a document.

A stage of one's own is a file like this, named in the recipe as `corpus.stages: [shouting.py]`; its rules then say
`shouting.capitals <= 0.3`:

    import pyarrow.compute as pc
    from raytrain.corpus.stages.stage import Stage

    def columns(documents, config):
        text = documents.column("text")
        capitals = pc.count_substring_regex(text, "[A-Z]")
        return {"capitals": pc.divide(pc.cast(capitals, "double"), pc.cast(pc.utf8_length(text), "double"))}

    STAGE = Stage(name="shouting", version=1, columns_out=("capitals",), columns=columns)
"""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any

from raytrain.corpus.attributes import shard_table, shard_tasks
from raytrain.corpus.ingest import DOCUMENTS, documents_schema
from raytrain.corpus.section import CorpusSection
from raytrain.errors import UserError
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task
from raytrain.store.uri import read_text

STAGE_NAME = re.compile(r"^[a-z][a-z0-9_]*$")


def nothing_of(corpus: CorpusSection) -> dict[str, Any]:
    """The configuration of a stage that nothing in a recipe moves."""
    return {}


@dataclass(frozen=True)
class Stage:
    """Annotates documents with columns; `version` is raised whenever the same text would give other numbers."""

    name: str
    version: int
    columns_out: tuple[str, ...]
    columns: Callable[[Any, Mapping[str, Any]], Any]
    """(documents as a table, config) -> a table, or a mapping of column name to values, one a document."""
    columns_in: tuple[str, ...] = ("text",)
    """The columns of ingest's documents that it reads."""
    config_of: Callable[[CorpusSection], dict[str, Any]] = nothing_of
    """What of the recipe decides the numbers: JSON values, part of the artifact's identity."""
    source: str = ""
    """The text of the file of a stage of one's own; empty for a shipped one."""
    file: str = ""
    """Where that file was read: no part of what it is."""

    @property
    def step(self) -> str:
        return f"annotate-{self.name}"

    @property
    def kind(self) -> str:
        return f"attributes/{self.name}"

    @property
    def object(self) -> str:
        """The name of the table in each shard."""
        return f"{self.name}.parquet"

    def config(self, corpus: CorpusSection) -> dict[str, Any]:
        """What decides the result: of a stage of one's own the source itself, so that the store tells what it was."""
        return {**self.config_of(corpus), **({"source": self.source} if self.source else {})}

    def run(self, ctx: StepContext) -> StepResult:
        """Annotates every shard of `documents`."""
        documents = ctx.parents["documents"]
        module = "" if self.source else self.columns.__module__
        place = [module, self.name, self.file]  # where a worker finds it, unless config has its source
        records = ctx.map_shards(annotate_shard, shard_tasks(ctx, documents, stage=place), self.step)
        for shard, record in zip(documents.shards, records, strict=True):
            if shard["rows"] != record["rows"]:
                raise RuntimeError(f"{self.step}: {record['rows']} rows for {shard['rows']} documents")
        return StepResult(records, {"documents": documents.id})

    def table(self, documents: Any, config: Mapping[str, Any]) -> Any:
        """The attribute table of a shard's documents, checked to hold what the stage promises."""
        made = self._own_columns(documents, config) if self.source else self._table(self.columns(documents, config))
        if made.column_names != list(self.columns_out):
            raise UserError(f"{self._place}: made {made.column_names}, promised {list(self.columns_out)}")
        if made.num_rows != documents.num_rows:
            raise UserError(f"{self._place}: {made.num_rows} rows for {documents.num_rows} documents")
        return made

    def _own_columns(self, documents: Any, config: Mapping[str, Any]) -> Any:
        """The table of a user's code, of which anything may be expected, but numbers are wanted."""
        import pyarrow.types as types

        try:
            made = self._table(self.columns(documents, config))
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"{_where(error, self.file)}: stage {self.name}: {_one_line(error)}") from None
        for field in made.schema:
            if not (types.is_integer(field.type) or types.is_floating(field.type)):
                raise UserError(
                    f"{self._place}: column {field.name} is {field.type}; rules compare numbers: integers or floats"
                )
        return made

    def _table(self, made: Any) -> Any:
        import pyarrow as pa

        if not isinstance(made, (pa.Table, Mapping)):
            kind = type(made).__name__
            raise UserError(f"{self._place}: columns gave {kind}; return a table, or values by column name")
        return made if isinstance(made, pa.Table) else pa.table(dict(made))

    @property
    def _place(self) -> str:
        return f"{self.file}: stage {self.name}" if self.file else f"stage {self.name}"


def annotate_shard(task: Task) -> Task:
    """Commits the attribute table of one shard, unless it is there already."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    stage = _find(task)
    documents = shard_table(writer.store, task["documents"], DOCUMENTS, list(stage.columns_in))
    table = stage.table(documents, task["config"])
    entry = writer.put(task["shard"], stage.object, table_bytes(table))
    return writer.commit_shard(task["shard"], {stage.object: entry}, table.num_rows)


def read_stage(path: str) -> Stage:
    """The stage of a user's Python file. Raises a UserError that names the file and what is wrong with it."""
    try:
        source = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"corpus.stages: {path!r} cannot be read: {error}") from None
    return from_source(source, path)


def read_stages(paths: Iterable[str]) -> list[Stage]:
    """The user's stages in order, no two of one name."""
    found: dict[str, Stage] = {}
    for path in paths:
        stage = read_stage(path)
        if stage.name in reserved():
            raise UserError(f"corpus.stages: {path}: the name {stage.name!r} is reserved; call your stage otherwise")
        if stage.name in found:
            raise UserError(f"corpus.stages: {path}: another stage is called {stage.name!r} too")
        found[stage.name] = stage
    return list(found.values())


@cache
def from_source(source: str, place: str) -> Stage:
    """Runs the text of a stage's file and gives the STAGE that it defines."""
    module = ModuleType(f"raytrain_stage_{hashlib.sha256(source.encode()).hexdigest()[:16]}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(source, place, "exec"), module.__dict__)
    except Exception as error:
        raise UserError(f"{_where(error, place)}: {_one_line(error)}") from None
    stage = getattr(module, "STAGE", None)
    if not isinstance(stage, Stage):
        raise UserError(f"{place}: defines no STAGE = Stage(name=..., version=1, columns_out=(...), columns=...)")
    if not STAGE_NAME.match(stage.name):
        raise UserError(f"{place}: stage name {stage.name!r}: use lower-case letters, digits and underscores")
    if isinstance(stage.columns_out, str) or not stage.columns_out:
        raise UserError(f"{place}: stage {stage.name} has no columns_out; name the columns that it makes, as ('x',)")
    there = documents_schema().names
    unknown = [name for name in stage.columns_in if name not in there]
    if isinstance(stage.columns_in, str) or unknown:
        wrong = repr(stage.columns_in) if isinstance(stage.columns_in, str) else ", ".join(map(repr, unknown))
        raise UserError(f"{place}: stage {stage.name}: columns_in names {wrong}; documents have {', '.join(there)}")
    return replace(stage, source=source, file=place)


def reserved() -> set[str]:
    """The names of what is shipped and select reads beside a user's stages."""
    from raytrain.corpus import contamination, difficulty  # which are built on this module
    from raytrain.corpus.stages import language, minhash, text

    shipped = {stage.name for stage in (*text.STAGES, language.STAGE, minhash.STAGE)}
    shipped |= {"documents", "dedup"}
    return shipped | {module.KIND.removeprefix("attributes/") for module in (contamination, difficulty)}


def _where(error: BaseException, file: str) -> str:
    """The file and the line in it at which a user's code went wrong."""
    own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else None
    return f"{file}: line {line}" if line else file


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _find(task: Task) -> Stage:
    module, name, file = task["stage"]
    if "source" in task["config"]:
        return from_source(task["config"]["source"], file)
    held = importlib.import_module(module)
    stages: Iterable[Stage] = getattr(held, "STAGES", None) or (held.STAGE,)
    return next(stage for stage in stages if stage.name == name)
