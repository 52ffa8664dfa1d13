"""The steps of a run as data: what each reads, what decides its result, what carries it out.

Walked by `raytrain run`, by `python -m raytrain.step` and by flows. The invariant: a step whose artifact exists is
never carried out again, and nothing but (step, version, configuration, parents) decides which artifact that is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raytrain.corpus import contamination, difficulty, forgotten, ingest, select
from raytrain.corpus.dedup import step as dedup
from raytrain.corpus.inventory import SourceFile, inventory, source_ids
from raytrain.corpus.rules import rules_of, stages_needed
from raytrain.corpus.stages import language, minhash, text
from raytrain.corpus.stages.stage import Stage, read_stages
from raytrain.engine import Engine
from raytrain.errors import UserError
from raytrain.ledger.prices import Price
from raytrain.recipe import Recipe
from raytrain.store import Artifact, ArtifactWriter, Attempt, Store, artifact_id, open_artifact
from raytrain.store.step import StepContext, StepResult
from raytrain.tokens import imports
from raytrain.tokens import shards as tokens
from raytrain.train.job import TrainJob
from raytrain.train.section import TrainSection

PRETRAIN_VERSION = 1
EVALUATE_VERSION = 1
BASELINE_VERSION = 1


@dataclass
class Walk:
    """One walk over the steps: what it was given, and the artifacts found or made so far."""

    recipe: Recipe
    store: Store
    engine: Engine
    attempt: Attempt
    price: Price
    say: Callable[[str], None]
    files: Sequence[SourceFile]
    made: dict[str, Artifact] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A step: `config` gives what of the recipe decides its result, `run` writes its shards."""

    name: str
    kind: str
    version: int
    parents: Mapping[str, str]
    """The step whose artifact serves, by the name that this step knows it by."""
    config: Callable[[Recipe, Mapping[str, Artifact]], dict[str, Any]]
    run: Callable[[Walk, StepContext], StepResult]
    reads_sources: bool = False
    """Whether the sources' content decides its result, beside its parents."""


def resolved_train(recipe: Recipe, tokenizer: Artifact) -> TrainSection:
    """The train section with every rule applied, which needs the size of the vocabulary."""
    return recipe.train.resolved(recipe.model, int(tokenizer.facts["vocab_size"]))


def _pretrain_config(recipe: Recipe, made: Mapping[str, Artifact]) -> dict[str, Any]:
    return {
        "seed": recipe.seed,
        "model": recipe.model.resolved().model_dump(mode="json"),
        "train": resolved_train(recipe, made["tokenizer"]).identity(),
    }


def train_job(walk: Walk, output: str) -> TrainJob:
    """The training job of a walk whose steps before pretrain are done."""
    recipe = walk.recipe
    train = resolved_train(recipe, walk.made["tokenizer"])
    assert train.microbatches
    if train.workers_max > train.microbatches:
        raise UserError(
            f"train.workers: {train.workers_max} workers share {train.microbatches} microbatches; "
            "set train.microbatches higher (it is part of the run's identity) or take fewer workers"
        )
    return TrainJob(
        store=walk.store.uri,
        run=recipe.name,
        attempt=walk.attempt.number,
        seed=recipe.seed,
        model=recipe.model,
        train=train,
        tokens=walk.made["tokenize"].prefix,
        tokenizer=walk.made["tokenizer"].prefix,
        output=output,
        prompts=recipe.evaluate.prompts,
        usd_per_hour=walk.price.usd_per_hour,
    )


def _run_pretrain(walk: Walk, ctx: StepContext) -> StepResult:
    writer = ArtifactWriter(ctx.store, ctx.prefix)
    if writer.record(0) is None:
        walk.engine.train(train_job(walk, ctx.prefix))
    record = writer.record(0)
    if record is None:
        raise UserError("training ended without a model; run the same command again to resume")
    return StepResult([record], record["facts"])


def _run_baseline(walk: Walk, ctx: StepContext) -> StepResult:
    from raytrain.evaluate.step import run_baseline

    return run_baseline(ctx)


def _run_evaluate(walk: Walk, ctx: StepContext) -> StepResult:
    from raytrain.evaluate.step import run_evaluate

    return run_evaluate(ctx)


def _stage(stage: Stage) -> Step:
    return Step(
        stage.step,
        stage.kind,
        stage.version,
        {"documents": "ingest"},
        lambda recipe, made: stage.config(recipe.corpus),
        lambda walk, ctx: stage.run(ctx),
    )


_CONTAMINATION = Step(
    contamination.NAME,
    contamination.KIND,
    contamination.VERSION,
    {"documents": "ingest"},
    lambda recipe, made: contamination.config_of(recipe.corpus),
    lambda walk, ctx: contamination.run(ctx, walk.recipe.corpus),
)


_DIFFICULTY = Step(
    difficulty.NAME,
    difficulty.KIND,
    difficulty.VERSION,
    {"documents": "ingest"},
    lambda recipe, made: difficulty.config_of(recipe.corpus),
    lambda walk, ctx: difficulty.run(ctx),
)


def _quality(recipe: Recipe, stages: Sequence[Stage]) -> dict[str, str]:
    """The step that makes the column by which dedup's survivors are chosen, where the recipe names one."""
    asked = recipe.corpus.dedup.quality
    if asked is None:
        return {}
    name, _, column = asked.partition(".")
    for stage in stages:
        if stage.name == name and column in stage.columns_out:
            return {"quality": stage.step}
    columns = ", ".join(f"{stage.name}.{one}" for stage in stages for one in stage.columns_out[:2])
    raise UserError(f"corpus.dedup.quality: no stage makes {asked!r}; there are {columns} and others")


_PRETRAIN = Step(
    "pretrain",
    "models",
    PRETRAIN_VERSION,
    {"tokens": "tokenize", "tokenizer": "tokenizer"},
    _pretrain_config,
    _run_pretrain,
)


def _tokenizer(parents: Mapping[str, str]) -> Step:
    return Step(
        "tokenizer",
        "tokenizers",
        tokens.TOKENIZER_VERSION,
        parents,
        lambda recipe, made: tokens.tokenizer_config(recipe.tokenizer),
        lambda walk, ctx: tokens.run_tokenizer(ctx, walk.recipe.tokenizer),
    )


def _evaluate(more: Mapping[str, str]) -> Step:
    return Step(
        "evaluate",
        "evaluations",
        EVALUATE_VERSION,
        {"model": "pretrain", "tokens": "tokenize", **more},
        lambda recipe, made: {"seed": recipe.seed, **recipe.evaluate.model_dump(mode="json")},
        _run_evaluate,
    )


def _steps_of_tokens() -> tuple[Step, ...]:
    """The steps where the sources are tokens already: there is no text to curate, nor to compress beside the model."""
    return (
        _tokenizer({}),
        Step(
            "tokenize",
            "tokens",
            imports.VERSION,
            {"tokenizer": "tokenizer"},
            lambda recipe, made: imports.config_of(recipe.corpus, recipe.sources),
            lambda walk, ctx: imports.run(ctx, walk.files),
            reads_sources=True,
        ),
        _PRETRAIN,
        _evaluate({}),
    )


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """The steps of a recipe in order: every step's parents stand before it."""
    if recipe.sources_are_tokens:
        return _steps_of_tokens()
    asked = {*stages_needed(rules_of(recipe.corpus)), language.STAGE.name}
    chosen_by = (recipe.corpus.dedup.quality or "").partition(".")[0]
    stages = [*(stage for stage in text.STAGES if stage.name in {*asked, chosen_by}), language.STAGE]
    stages += read_stages(recipe.corpus.stages)
    attributes = {stage.name: stage.step for stage in stages if stage.name in asked}
    more = {"contamination": _CONTAMINATION} if recipe.corpus.decontaminate.sets else {}
    more |= {"difficulty": _DIFFICULTY} if recipe.corpus.difficulty else {}
    attributes |= {name: step.name for name, step in more.items()}
    return (
        Step(
            ingest.NAME,
            ingest.KIND,
            ingest.VERSION,
            {},
            lambda recipe, made: ingest.config_of(recipe.corpus, recipe.sources),
            lambda walk, ctx: ingest.run(ctx, walk.files),
            reads_sources=True,
        ),
        *(_stage(stage) for stage in stages),
        *more.values(),
        _stage(minhash.STAGE),
        Step(
            dedup.NAME,
            dedup.KIND,
            dedup.VERSION,
            {"documents": "ingest", "minhash": minhash.STAGE.step, **_quality(recipe, stages)},
            lambda recipe, made: dedup.config_of(recipe.corpus, made["ingest"].store),
            lambda walk, ctx: dedup.run(ctx),
        ),
        Step(
            select.NAME,
            select.KIND,
            select.VERSION,
            {"documents": "ingest", **attributes, "dedup": dedup.NAME},
            lambda recipe, made: select.config_of(recipe.corpus, forgotten.among(made[ingest.NAME])),
            lambda walk, ctx: select.run(ctx),
        ),
        # Before the tokens, though nothing up to the model needs it: where torch stands alone it could not be made.
        Step("baseline", "baselines", BASELINE_VERSION, {"corpus": "select"}, lambda recipe, made: {}, _run_baseline),
        _tokenizer({"corpus": "select"}),
        Step(
            "tokenize",
            "tokens",
            tokens.TOKENIZE_VERSION,
            {"corpus": "select", "tokenizer": "tokenizer"},
            lambda recipe, made: {},
            lambda walk, ctx: tokens.run_tokenize(ctx),
        ),
        _PRETRAIN,
        _evaluate({"baseline": "baseline"}),
    )


def find(recipe: Recipe, name: str) -> Step:
    """A recipe's step by name."""
    steps = steps_of(recipe)
    for step in steps:
        if step.name == name:
            return step
    raise UserError(f"no step is called {name!r}; there are {', '.join(s.name for s in steps)}")


def look(recipe: Recipe, store: Store, say: Callable[[str], None]) -> tuple[list[SourceFile], dict[str, Artifact]]:
    """The sources' files, and the artifacts of this recipe that are there already, up to the first missing one.

    Raises a UserError for one that this recipe does not allow, whoever made it.
    """
    files = inventory(recipe.sources, store, say)
    made: dict[str, Artifact] = {}
    for step in steps_of(recipe):
        found = open_artifact(store, prefix_of(step, recipe, files, made))
        if found is None:
            break
        _admit(recipe, made, step, found)
    return files, made


def prefix_of(step: Step, recipe: Recipe, files: Sequence[SourceFile], made: Mapping[str, Artifact]) -> str:
    """Where a step's artifact lies, from the recipe and its parents' ids."""
    return f"{step.kind}/{_id_of(step, recipe, files, made)}"


def _id_of(step: Step, recipe: Recipe, files: Sequence[SourceFile], made: Mapping[str, Artifact]) -> str:
    parents = [f"{k}={v}" for k, v in _read(recipe, files).items()] if step.reads_sources else []
    parents += [f"{role}={made[name].id}" for role, name in step.parents.items()]
    return artifact_id(step.name, step.version, step.config(recipe, made), parents)


def _read(recipe: Recipe, files: Sequence[SourceFile]) -> dict[str, str]:
    """What a step is made of that reads the sources: their content, and what makes text of it."""
    return source_ids(files) | ingest.readers_of(files, recipe.sources)


def carry_out(walk: Walk, step: Step) -> Artifact:
    """The artifact of one step whose parents are in `walk.made`: found, or made and committed now."""
    prefix = prefix_of(step, walk.recipe, walk.files, walk.made)
    found = open_artifact(walk.store, prefix)
    if found is None:
        walk.attempt.check()
        walk.say(f"[{step.name}]")
        start, busy = time.time(), walk.engine.cpu_seconds
        config = step.config(walk.recipe, walk.made)
        context = StepContext(
            walk.store,
            prefix,
            config,
            {role: walk.made[name] for role, name in step.parents.items()},
            walk.engine.map_shards,
            lambda line: walk.say(f"  {line}"),
        )
        result = step.run(walk, context)
        walk.attempt.check()
        seconds = time.time() - start
        found = ArtifactWriter(walk.store, prefix).commit(
            artifact=prefix.rsplit("/", 1)[1],
            step=step.name,
            version=step.version,
            config=config,
            parents={role: walk.made[name].id for role, name in step.parents.items()}
            | (_read(walk.recipe, walk.files) if step.reads_sources else {}),
            shards=result.shards,
            facts=result.facts,
            cost={
                "seconds": seconds,
                "cpu_seconds": walk.engine.cpu_seconds - busy,
                "usd": seconds / 3600 * walk.price.usd_per_hour,
                "market": walk.price.market,
                "run": walk.recipe.name,
            },
        )
    _admit(walk.recipe, walk.made, step, found)
    return found


def _admit(recipe: Recipe, made: dict[str, Artifact], step: Step, found: Artifact) -> None:
    """Adds the artifact of a step to those that later steps build upon, if the recipe allows what is in it."""
    if step.name == dedup.NAME:
        dedup.check_losses(found, recipe.corpus.dedup.max_source_loss)
    made[step.name] = found
