"""What a recipe may say of sources and corpus."""

from __future__ import annotations

from typing import Any

import pytest

from raytrain.config import validate
from raytrain.corpus.section import CorpusSection, Source
from raytrain.errors import UserError


def test_the_defaults_are_those_of_the_papers() -> None:
    section = CorpusSection()
    assert section.rules == ("gopher", "gopher-repetition", "c4", "fineweb")
    assert (section.dedup.bands, section.dedup.rows, section.dedup.ngram) == (14, 8, 5)
    assert section.languages.min_score == 0.65


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"name": "Wiki Pedia", "uri": "x"}, "name: use lower-case letters"),
        ({"name": "-x", "uri": "x"}, "name: use lower-case letters"),
        ({"name": "x", "uri": ""}, "uri"),
        ({"name": "x", "uri": "x", "format": "docx"}, "format"),
        ({"name": "x", "uri": "x", "origin": "robot"}, "origin"),
        ({"name": "x", "uri": "x", "license": "MIT"}, "license: unknown key; did you mean 'licence'?"),
        ({"name": "x", "uri": "x", "language": "English"}, "language"),
    ],
)
def test_a_wrong_source_is_refused_by_its_field(document: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        validate(Source, document, "recipe.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"rules": ["gofer"]}, "no rule set is called 'gofer'; use c4, "),
        ({"rules": ["c4", "c4"]}, "stands twice"),
        ({"dedup": {"bands": 1, "rows": 32}}, "would find only 0% of the pairs"),
        ({"dedup": {"bands": 1024, "rows": 32}}, "at most 16384"),
        ({"dedup": {"jaccard": 0}}, "jaccard"),
        ({"split": {"validation_fraction": 0.5}}, "validation_fraction"),
        ({"target_shard_bytes": 10_000, "max_document_bytes": 10_000_000}, "would burst its shard"),
        ({"languages": {"allowed": ["english"]}}, "'english' is not a language code"),
        ({"normalise": {"form": "NFD"}}, "form"),
        ({"rules": "gopher"}, "rules: a list is wanted, such as [gopher]"),
        ({"limits": {"refuse": {"verification": ["bogus"]}}}, "'bogus' is none of verified, unverified, unknown"),
        ({"limits": {"refuse": {"origin": ["machin"]}}}, "'machin' is none of human, machine, unknown"),
        ({"languages": {"identify": False, "min_score": 0}}, "min_score"),
    ],
)
def test_an_impossible_corpus_is_refused_in_one_line(document: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        validate(CorpusSection, document, "recipe.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
