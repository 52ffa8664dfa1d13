"""The recipe's `sources` and `corpus` sections: what is read, how it is cleaned, what is kept.

Only declarations and the checks that need nothing but the values themselves. The invariant: a section that
validates describes a corpus that can be built, but for what the data themselves may lack.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from raytrain.config import Section
from raytrain.corpus.curriculum import DifficultySection
from raytrain.evalsets.section import DecontaminateSection

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")
Origin = Literal["human", "machine", "unknown"]
ORIGINS: tuple[Origin, ...] = ("human", "machine", "unknown")
Verification = Literal["verified", "unverified", "unknown"]
VERIFICATIONS: tuple[Verification, ...] = ("verified", "unverified", "unknown")
RULE_SETS = tuple(sorted(path.stem for path in Path(__file__).with_name("rules").glob("*.yaml")))
TOKEN_FORMATS = ("datatrove", "megatron", "nanogpt")
DEFAULT_RULES = ("gopher", "gopher-repetition", "c4", "fineweb")


class Source(Section):
    """One origin of raw text. Fields of a record (licence, origin, domain, url, id, date) win over these."""

    name: str = Field(description="a short name: lower-case letters, digits, . - _")
    uri: str = Field(min_length=1, description="a file, folder, glob pattern, or any fsspec URI (s3://bucket/folder)")
    format: Literal[
        "auto", "jsonl", "parquet", "txt", "html", "csv", "warc", "epub", "pdf", "datatrove", "megatron", "nanogpt"
    ] = Field(
        default="auto",
        description="auto goes by each file's ending and passes over what it does not know; datatrove, megatron and "
        "nanogpt are token files, which need tokenizer.file and take the place of all steps before the training",
    )
    text_field: str = Field(default="text", min_length=1, description="the field or column that holds the text")
    extractor: Literal["resiliparse", "trafilatura"] = Field(
        default="resiliparse", description="what makes text of HTML, in html and warc: the fast one, or the stricter"
    )
    domain: str = Field(default="web", min_length=1, description="the group that mixtures and reports count by")
    licence: str = Field(default="unknown", min_length=1, description="an SPDX name where there is one")
    origin: Origin = Field(default="unknown", description="who wrote it: human, machine or unknown")
    verification: Verification = Field(
        default="unknown", description="whether somebody has vouched for what it says: verified, unverified or unknown"
    )
    language: str | None = Field(
        default=None, pattern=r"^[a-z]{2,3}$", description="ISO 639 code; believed where the identification is unsure"
    )
    usd: float | None = Field(
        default=None,
        ge=0,
        description="what it costs; `raytrain source try` gives it by novel token, nothing else asks",
    )

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not NAME.match(value):
            raise ValueError("use lower-case letters, digits, dot, dash or underscore, such as 'web-2024'")
        return value


class NormaliseSection(Section):
    """What happens to every text before it gets its identity; see normalise.py."""

    form: Literal["NFC", "NFKC", "none"] = Field(default="NFC", description="Unicode normalisation form")
    repair_mojibake: bool = Field(default=True, description="undo UTF-8 that was once read as Windows-1252 or Latin-1")
    strip_gutenberg: bool = Field(default=True, description="cut Project Gutenberg's header and licence")


class LanguagesSection(Section):
    """Which languages are kept, by fastText's lid.176 or by the sources' word."""

    identify: bool = Field(
        default=True, description="false believes every source's `language`; the model is the dearest stage"
    )
    allowed: tuple[str, ...] = Field(default=("en",), description="codes such as en, de; empty keeps every language")
    min_score: float = Field(default=0.65, ge=0, le=1, description="FineWeb and RefinedWeb use 0.65")

    @field_validator("allowed")
    @classmethod
    def _codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [code for code in value if not re.match(r"^[a-z]{2,3}$", code)]
        if wrong:
            raise ValueError(f"{wrong[0]!r} is not a language code such as en or de")
        return value

    @model_validator(mode="after")
    def _scored(self) -> LanguagesSection:
        if not self.identify and not self.min_score:
            raise ValueError("min_score: 0 believes an identification that is not made; leave min_score out")
        return self


class DedupSection(Section):
    """MinHash bands find candidates, the true similarity of their shingles decides.

    Defaults: FineWeb (Penedo et al. 2024, section 3.4): word 5-grams, 14 bands of 8; a pair of similarity s
    becomes a candidate with probability 1 - (1 - s^8)^14: 0.92 at 0.8, 0.99 at 0.85.
    """

    bands: int = Field(default=14, ge=1, le=1024, description="more bands find more candidates")
    rows: int = Field(default=8, ge=1, le=128, description="values a band; more rows make a band stricter")
    unit: Literal["word", "character"] = Field(default="word", description="what shingles are made of")
    ngram: int = Field(default=5, ge=1, le=100, description="words (or characters) a shingle")
    jaccard: float = Field(default=0.8, gt=0, le=1, description="verified similarity that makes a duplicate")
    containment: float | None = Field(
        default=None, gt=0, le=1, description="a candidate goes, too, if so much of it stands in a longer one"
    )
    url: bool = Field(default=False, description="of documents of one URL keep one")
    licences: tuple[str, ...] = Field(
        default=(), max_length=250, description="whose copy survives: these first, then other known ones, unknown last"
    )
    quality: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*\.[A-Za-z0-9_]+$",
        description="of equal licence the larger value of this column stays (text.alpha_word_ratio); then the longer",
    )
    span_words: int | None = Field(
        default=None,
        ge=10,
        le=1000,
        description="cut runs of so many words that an earlier document has, kept or rejected (50, say)",
    )
    max_source_loss: float = Field(
        default=0.5, ge=0, le=1, description="stop when a source would lose more of its documents to near-duplicates"
    )
    against: tuple[str, ...] = Field(
        default=(), description="earlier corpora (runs, or ids of corpora) whose documents are not to come again"
    )

    @model_validator(mode="after")
    def _reachable(self) -> DedupSection:
        if self.bands * self.rows > 16384:
            raise ValueError(f"bands x rows is {self.bands * self.rows}; at most 16384 values a document are kept")
        found = 1 - (1 - self.jaccard**self.rows) ** self.bands
        if found < 0.5:
            raise ValueError(
                f"bands={self.bands}, rows={self.rows} would find only {found:.0%} of the pairs at jaccard="
                f"{self.jaccard:g}; use more bands or fewer rows"
            )
        return self


class LicencesSection(Section):
    """Which licences may be trained on; patterns such as CC-BY-* count, case matters."""

    allow: tuple[str, ...] = Field(default=(), description="nothing else is kept; empty allows every licence")
    deny: tuple[str, ...] = Field(default=(), description="never kept, allowed or not")


class LimitsSection(Section):
    """What may be kept by where it comes from; each limit is a reason of its own in the report."""

    refuse: dict[Literal["origin", "verification", "licence", "domain"], tuple[str, ...]] = Field(
        default_factory=dict, description="values that are not kept, such as verification: [unverified]"
    )
    licences: LicencesSection = LicencesSection()
    max_share: dict[Origin, float] = Field(
        default_factory=dict, description="largest share of the kept bytes by origin, such as machine: 0.1"
    )

    @field_validator("refuse")
    @classmethod
    def _values(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for field, known in (("origin", ORIGINS), ("verification", VERIFICATIONS)):
            for given in value.get(field, ()):
                if given not in known:
                    raise ValueError(f"{field}: {given!r} is none of {', '.join(known)}; it would refuse nothing")
        return value

    @field_validator("max_share")
    @classmethod
    def _shares(cls, value: dict[Origin, float]) -> dict[Origin, float]:
        for origin, share in value.items():
            if not 0 <= share < 1:
                raise ValueError(f"{origin}: {share:g} is no share; give 0 or more and less than 1")
        return value


class SplitSection(Section):
    """How much is held out for validation, in whole clusters of near-duplicates."""

    validation_fraction: float = Field(default=0.05, ge=0, le=0.25, description="share of clusters, drawn by hash")
    min_validation_documents: int = Field(default=50, ge=0, description="taken at least, however small the share")
    min_validation_bytes: int = Field(default=300_000, ge=0, description="the same in bytes of text")


class Override(Section):
    """Another threshold for a rule, and why: asked for where it keeps more than the rule set does."""

    threshold: float | None = Field(description="null drops the rule")
    reason: str = Field(min_length=3, description="one line for those who read the report")


class CorpusSection(Section):
    """From raw sources to a corpus: shards, cleaning, languages, rules, duplicates, split."""

    target_shard_bytes: int = Field(
        default=256_000_000, ge=10_000, le=4_000_000_000, description="text a shard; part of every identity"
    )
    max_document_bytes: int = Field(
        default=10_000_000, ge=100, le=1_000_000_000, description="a longer document is set aside as oversize"
    )
    normalise: NormaliseSection = NormaliseSection()
    languages: LanguagesSection = LanguagesSection()
    rules: tuple[str | dict[str, Any], ...] = Field(
        default=DEFAULT_RULES,
        description="rule sets in order: shipped ones by name, the path of a .yaml of yours, or a set written here, "
        "as `{mine: {long_enough: word_count >= 200}}`",
    )
    stages: tuple[str, ...] = Field(
        default=(), description="Python files of yours that define a STAGE, whose columns rules may name"
    )
    overrides: dict[str, float | Override | None] = Field(
        default_factory=dict,
        description="thresholds by set.rule (gopher.min_words: 100); null drops a rule; what keeps more than the set "
        "does needs a reason: `fineweb.terminal_punct: {threshold: 0.1, reason: much poetry}`",
    )
    dedup: DedupSection = DedupSection()
    decontaminate: DecontaminateSection = DecontaminateSection()
    difficulty: DifficultySection | None = Field(
        default=None, description="cut each domain into bins that train.curriculum weighs; not given: one bin"
    )
    limits: LimitsSection = LimitsSection()
    split: SplitSection = SplitSection()

    @field_validator("stages")
    @classmethod
    def _files(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path.endswith(".py"):
                raise ValueError(f"{path!r} is not the path of a Python file")
        return value

    @field_validator("rules")
    @classmethod
    def _known(cls, value: tuple[str | dict[str, Any], ...]) -> tuple[str | dict[str, Any], ...]:
        names: list[str] = []
        for held in value:
            if isinstance(held, str) and held not in RULE_SETS and not held.endswith((".yaml", ".yml")):
                raise ValueError(f"no rule set is called {held!r}; use {', '.join(RULE_SETS)}, or a .yaml of yours")
            names += [Path(held).stem] if isinstance(held, str) else [*held]
        if len(set(names)) < len(names):
            raise ValueError("a rule set stands twice")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> CorpusSection:
        if self.max_document_bytes > 4 * self.target_shard_bytes:
            raise ValueError(
                f"max_document_bytes ({self.max_document_bytes}) is more than four times target_shard_bytes "
                f"({self.target_shard_bytes}): one document would burst its shard; lower the one or raise the other"
            )
        return self
