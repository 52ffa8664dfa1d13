"""Which language a document is in."""

from __future__ import annotations

import socket

import pyarrow as pa
import pytest
from pydantic import ValidationError

from raytrain.corpus.section import CorpusSection
from raytrain.corpus.stages import language
from raytrain.recipe import Recipe


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The committee met on Tuesday to discuss the new library.\nNobody objected.", "en"),
        ("Der Ausschuss traf sich am Dienstag,\num über die neue Bibliothek zu sprechen.", "de"),
        ("Le comité s'est réuni mardi pour discuter de la nouvelle bibliothèque.", "fr"),
        ("委員会は火曜日に新しい図書館について話し合いました。", "ja"),
    ],
)
def test_identifies(text: str, expected: str) -> None:
    code, score = language.identify(text)
    assert code == expected
    assert 0.65 < score <= 1


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "12 34 --", "\0"])
def test_text_without_language_gets_some_answer(text: str) -> None:
    code, score = language.identify(text)
    assert code
    assert 0 <= score <= 1


def test_only_the_beginning_counts() -> None:
    text = "The house by the sea was quiet in the morning. " * 50
    documents = pa.table({"text": pa.array([text + "あ" * 100_000], pa.large_string())})
    table = language.columns(documents, {"model": language.MODEL, "characters": 2000})
    assert table.column("language").to_pylist() == ["en"]


def test_no_network_is_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the language stage reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    language._model.cache_clear()
    assert language.identify("The quick brown fox jumps over the lazy dog.")[0] == "en"


def test_without_identification_the_sources_are_believed() -> None:
    believed = CorpusSection.model_validate({"languages": {"identify": False}})
    documents = pa.table({"text": pa.array(["Der Ausschuss traf sich am Dienstag."], pa.large_string())})
    table = language.columns(documents, language.config_of(believed))
    assert table.to_pylist() == [{"language": "und", "language_score": 0.0}]


def test_a_source_that_names_no_language_must_be_identified() -> None:
    document = {"name": "x", "sources": [{"name": "a", "uri": "a"}], "corpus": {"languages": {"identify": False}}}
    with pytest.raises(ValidationError, match=r"sources\[0\].language"):
        Recipe.model_validate(document)
