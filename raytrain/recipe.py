"""The recipe: a whole run as one typed document, composed of the rooms' own sections.

It holds no rule of its own but how sections stand together. The invariant: what `identity` returns, and nothing
else, decides what a run produces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeGuard

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section, apply_overrides, parse_yaml, validate
from raytrain.corpus.rules import rules_of
from raytrain.corpus.section import TOKEN_FORMATS, CorpusSection, Source
from raytrain.corpus.stages.stage import read_stages
from raytrain.errors import UserError
from raytrain.evalsets import items
from raytrain.evalsets.section import DecontaminateSection
from raytrain.evaluate.section import EvaluateSection
from raytrain.ledger.prices import PriceSection
from raytrain.model.section import ModelSection
from raytrain.observe.section import ObserveSection
from raytrain.scaling.section import SweepSection
from raytrain.store.uri import read_text
from raytrain.tokens.section import TokenizerSection
from raytrain.tokens.shards import tokenizer_config
from raytrain.train.section import TrainSection


class Recipe(Section):
    """A run from sources to model."""

    name: str = Field(description="the run's name; letters, digits, dash and underscore", max_length=60)
    store: str = Field("./store", description="where everything is kept: a folder or an fsspec URI")
    seed: int = Field(0, ge=0, lt=1 << 62, description="decides initial weights, data order and questions")
    engine: Literal["ray", "local"] = Field("ray", description="what carries the steps: Ray, or this process")
    sources: tuple[Source, ...] = Field(min_length=1, description="where the text comes from, in order")
    corpus: CorpusSection = CorpusSection()
    tokenizer: TokenizerSection = TokenizerSection()
    model: ModelSection = ModelSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    sweep: SweepSection = SweepSection()
    cost: PriceSection = PriceSection()
    observe: ObserveSection = ObserveSection()

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        # No dots: names become parts of job names that are split at dots.
        if not value or not all(c.isascii() and (c.isalnum() or c in "-_") for c in value) or value[0] in "-_":
            raise ValueError("a run's name is made of letters, digits, dash and underscore")
        return value

    @field_validator("sources")
    @classmethod
    def _distinct(cls, value: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [s.name for s in value]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two sources are called {', '.join(twice)}")
        return value

    @model_validator(mode="after")
    def _languages(self) -> Recipe:
        silent = [i for i, source in enumerate(self.sources) if not source.language]
        if silent and not self.corpus.languages.identify and not self.sources_are_tokens:
            raise ValueError(
                f"sources[{silent[0]}].language: {self.sources[silent[0]].name} names none, and "
                "corpus.languages.identify is false; name it, or let it be identified"
            )
        return self

    @model_validator(mode="after")
    def _tokens(self) -> Recipe:
        given = [source.name for source in self.sources if source.format in TOKEN_FORMATS]
        if given and len(given) < len(self.sources):
            raise ValueError(f"sources: {given[0]} is tokens and others are text; make a run of each")
        if given and self.tokenizer.file is None:
            raise ValueError(f"tokenizer.file: name the tokenizer.json that made the tokens of {given[0]}")
        return self

    @model_validator(mode="after")
    def _curriculum(self) -> Recipe:
        if not self.train.curriculum or self.sources_are_tokens:
            return self
        given = len(self.train.curriculum[0].bins)
        asked = self.corpus.difficulty
        if given != (asked.bins if asked else 1):
            there = f"makes {asked.bins}; give each stage as many weights, or" if asked else "is not given;"
            raise ValueError(
                f"train.curriculum: every stage weighs {given} bins, but corpus.difficulty {there} "
                f"set corpus.difficulty.bins={given}"
            )
        return self

    @property
    def sources_are_tokens(self) -> bool:
        """Whether the sources are token files: nothing is curated or encoded then."""
        return self.sources[0].format in TOKEN_FORMATS

    def identity(self) -> dict[str, Any]:
        """What decides the result: all but the name, places, prices, the sweep and how the work is carried out."""
        document = self.model_dump(
            mode="json", exclude={"name", "store", "engine", "sweep", "cost", "observe", "train"}
        )
        # The content of a file counts, not the place, nor what it cost.
        for source in document["sources"]:
            del source["uri"], source["usd"]
        del document["corpus"]["dedup"]["max_source_loss"]  # stops a run, and decides nothing
        del document["corpus"]["overrides"]  # applied to the rules; their reasons decide nothing
        document["corpus"]["rules"] = [rule.as_dict() for rule in rules_of(self.corpus)]
        document["corpus"]["stages"] = [stage.source for stage in read_stages(self.corpus.stages)]
        document["corpus"]["decontaminate"]["sets"] = [items.identity(held) for held in self.corpus.decontaminate.sets]
        if self.tokenizer.file is not None:
            document["tokenizer"] = tokenizer_config(self.tokenizer)
        return document | {"train": self.train.identity()}


def load(uri: str, overrides: Iterable[str] = (), store: str | None = None) -> Recipe:
    """Reads a recipe from a path or URI. `store` wins over the recipe's, which wins over RAYTRAIN_STORE.

    Relative paths of sources, rule sets, stages, evaluation sets and a tokenizer count from the recipe's own folder,
    the store's from the working directory.
    """
    try:
        text = read_text(uri)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {uri!r} cannot be read: {error}") from None
    document = apply_overrides(parse_yaml(text, uri), overrides)
    if store is not None:
        document["store"] = store
    elif "store" not in document and os.environ.get("RAYTRAIN_STORE"):
        document["store"] = os.environ["RAYTRAIN_STORE"]
    recipe = validate(Recipe, document, uri)
    folder = uri.rpartition("/")[0] if "://" in uri else str(Path(uri).resolve().parent)
    sources = tuple(s.model_copy(update={"uri": _anchored(s.uri, folder)}) for s in recipe.sources)
    rules = tuple(_anchored(held, folder) if _is_path(held) else held for held in recipe.corpus.rules)
    stages = tuple(_anchored(path, folder) for path in recipe.corpus.stages)
    sets = _decontaminate(recipe, folder)
    corpus = recipe.corpus.model_copy(update={"rules": rules, "stages": stages, "decontaminate": sets})
    own = recipe.tokenizer.file
    tokenizer = recipe.tokenizer.model_copy(update={"file": _anchored(own, folder)}) if own else recipe.tokenizer
    return recipe.model_copy(update={"sources": sources, "corpus": corpus, "tokenizer": tokenizer})


def _decontaminate(recipe: Recipe, folder: str) -> DecontaminateSection:
    asked = recipe.corpus.decontaminate
    sets = tuple(held.model_copy(update={"uri": _anchored(held.uri, folder)}) for held in asked.sets)
    return asked.model_copy(update={"sets": sets})


def _anchored(place: str, folder: str) -> str:
    return place if "://" in place or os.path.isabs(place) else f"{folder}/{place}"


def _is_path(rule_set: str | dict[str, Any]) -> TypeGuard[str]:
    return isinstance(rule_set, str) and rule_set.endswith((".yaml", ".yml"))
