"""The recipe's `corpus.decontaminate`: which evaluation sets must not stand in the corpus, and what happens if they do.

Only declarations. The invariant: a section that validates needs nothing more than files that can be read.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")


class EvaluationSet(Section):
    """A set of items (questions, passages) that a model will be judged by."""

    name: str = Field(description="a short name: lower-case letters, digits, . - _")
    uri: str = Field(
        min_length=1, description="a file, folder or glob of .jsonl (.gz, .zst) or .parquet: one item each"
    )
    fields: tuple[str, ...] = Field(
        default=(), description="fields of an item to look for; every field that holds text when not given"
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.match(value):
            raise ValueError("use lower-case letters, digits, dot, dash or underscore, such as 'mmlu-test'")
        return value


class DecontaminateSection(Section):
    """Items of evaluation sets are found in texts by their n-grams of words.

    Defaults: 13-grams, items of 8 to 12 words as a whole, 200 bytes (characters in the paper) on either side of what
    is cut (Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C). There any 13-gram condemned a
    text; here a share of the item decides, so that a sentence which both quote does not.
    """

    sets: tuple[EvaluationSet, ...] = Field(default=(), description="none: nothing is looked for")
    ngram: int = Field(default=13, ge=3, le=50, description="words that must stand in a row")
    shortest: int = Field(default=8, ge=1, description="a shorter field of an item is not looked for, but counted")
    overlap: float = Field(
        default=0.5, gt=0, le=1, description="share of an item's words found in a text that makes it contaminated"
    )
    action: Literal["drop", "cut"] = Field(default="drop", description="the whole text goes, or only what matches")
    around: int = Field(default=200, ge=0, description="bytes cut on either side of a match, to the next blank")

    @model_validator(mode="after")
    def _consistent(self) -> DecontaminateSection:
        names = [held.name for held in self.sets]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two evaluation sets are called {', '.join(twice)}")
        if self.shortest > self.ngram:
            raise ValueError(f"shortest ({self.shortest}) is more than ngram ({self.ngram}); lower it")
        return self
