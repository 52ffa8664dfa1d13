"""Contamination: which items stand in which documents, where, and what is cut."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raytrain.corpus import contamination, difficulty
from raytrain.corpus.rules import rules_of
from raytrain.corpus.section import CorpusSection, Source
from raytrain.evalsets.index import merge
from raytrain.store import Artifact, Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, rows, write_jsonl

QUESTION = (
    "Which of these inventions let a sailor of the eighteenth century find out how far east or west of home he was?"
)
SHORT = "Who painted the old wooden bridge near the northern shore?"
PASSAGE = (
    "The captain wrote in his log that the wind had turned and that no land was to be seen on either side. " + QUESTION
)
PARTLY = "The captain wrote in his log that the wind had turned and that no land was in sight, which troubled nobody."


def documents() -> list[str]:
    clean = [prose.document(seed, 12) for seed in range(6)]
    return [
        clean[0],
        f"{clean[1]}\n\n{QUESTION.upper()} {clean[2]}",
        f"{clean[3]} {PARTLY}",
        f"“{SHORT}”",
        f"{clean[4]}\n{QUESTION}\nAnswer: a clock.\n{PASSAGE}",
        clean[5],
    ]


class Found:
    def __init__(self, folder: Path, **options: Any) -> None:
        items = [{"id": "clock", "question": QUESTION, "answer": "a clock"}, {"id": "bridge", "question": SHORT}]
        write_jsonl(folder / "quiz.jsonl", [*items, {"id": "tiny", "question": "Why?"}])
        write_jsonl(folder / "reading.jsonl", [{"passage": PASSAGE}])
        write_jsonl(folder / "text.jsonl", documents())
        sets = [{"name": name, "uri": str(folder / f"{name}.jsonl")} for name in ("quiz", "reading")]
        self.section: CorpusSection = corpus(decontaminate={"sets": sets, **options})
        self.walk = Walk(Store(str(folder / "store")), [Source(name="s", uri=str(folder / "text.jsonl"))], self.section)
        self.documents = self.walk.ingest()

    def annotate(self) -> Artifact:
        config = contamination.config_of(self.section)
        run = partial(contamination.run, corpus=self.section)
        return self.walk.make(contamination, config, {"documents": self.documents}, run)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Artifact]:
    held = Found(tmp_path_factory.mktemp("contamination"))
    return held, held.annotate()


def test_each_match_names_set_item_and_bytes(found: tuple[Found, Artifact]) -> None:
    _, artifact = found
    texts = documents()
    held = rows(artifact, contamination.MATCHES)
    seen = {(r["row"], r["set"], r["item"]) for r in held}
    assert {(1, "quiz", "clock"), (3, "quiz", "bridge"), (4, "quiz", "clock")} <= seen
    assert {row for row, _, _ in seen} == {1, 2, 3, 4}
    for r in held:
        assert texts[r["row"]].encode()[r["start"] : r["end"]].decode() == r["text"]
    exact = [r for r in held if r["row"] == 1 and r["item"] == "clock"]
    assert [r["text"] for r in exact] == [QUESTION.upper().rstrip("?")]


def test_overlap_is_the_share_of_the_items_words_that_stand_there(found: tuple[Found, Artifact]) -> None:
    _, artifact = found
    overlap = [row["overlap"] for row in rows(artifact, contamination.OBJECT)]
    assert overlap[0] == overlap[5] == 0
    assert overlap[1] == overlap[3] == overlap[4] == 1
    same = len("The captain wrote in his log that the wind had turned and that no land was".split())
    assert overlap[2] == pytest.approx(same / len(PASSAGE.split()))


def test_the_step_says_how_much_of_each_set_was_found(found: tuple[Found, Artifact]) -> None:
    _, artifact = found
    assert artifact.facts["sets"] == [
        {"set": "quiz", "items": 3, "too_short": 1, "found": 2, "documents": 3},
        {"set": "reading", "items": 1, "too_short": 0, "found": 1, "documents": 3},
    ]


def test_the_rule_drops_what_overlaps_enough(found: tuple[Found, Artifact]) -> None:
    held, artifact = found
    (rule,) = [rule for rule in rules_of(held.section) if rule.stage == "contamination"]
    numbers = [row[rule.column] for row in rows(artifact, contamination.OBJECT)]
    assert rule.keeps(np.array(numbers)).tolist() == [True, False, True, False, False, True]


def test_cuts_take_the_match_and_what_is_around_it_to_whole_words(tmp_path: Path) -> None:
    held = Found(tmp_path, action="cut", around=0)
    cuts = rows(held.annotate(), contamination.CUTS)
    texts = [text.encode() for text in documents()]
    assert {cut["row"] for cut in cuts} == {1, 3, 4}
    assert {cut["reason"] for cut in cuts} == {"contamination"}
    taken = {
        row: [texts[c["row"]][c["start"] : c["end"]].decode() for c in cuts if c["row"] == row] for row in (1, 3, 4)
    }
    assert taken == {1: [QUESTION.upper()], 3: [f"“{SHORT}”"], 4: [QUESTION, PASSAGE]}
    wide = Found(tmp_path, action="cut", around=20)
    for cut in rows(wide.annotate(), contamination.CUTS):
        text = texts[cut["row"]]
        assert cut["start"] == 0 or text[cut["start"] - 1 : cut["start"]].isspace()
        assert cut["end"] == len(text) or text[cut["end"] : cut["end"] + 1].isspace()
    answered = [c for c in rows(wide.annotate(), contamination.CUTS) if c["row"] == 4]
    assert len(answered) == 1  # the answer between question and passage goes with them


def test_another_set_is_another_artifact_and_another_place_is_not(tmp_path: Path) -> None:
    one, two = Found(tmp_path / "one"), Found(tmp_path / "two")
    assert contamination.config_of(one.section) == contamination.config_of(two.section)
    (tmp_path / "two" / "quiz.jsonl").write_text(json.dumps({"question": QUESTION}) + "\n")
    assert contamination.config_of(one.section) != contamination.config_of(two.section)


def test_texts_in_blocks_are_found_as_in_one(found: tuple[Found, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    _, artifact = found
    monkeypatch.setattr(contamination, "BLOCK_BYTES", 1)
    again, _ = found
    made = again.walk.make(
        contamination,
        {**contamination.config_of(again.section), "blocks": 1},
        {"documents": again.documents},
        partial(contamination.run, corpus=again.section),
    )
    assert rows(made, contamination.MATCHES) == rows(artifact, contamination.MATCHES)


def test_an_item_and_a_text_that_repeat_one_run_are_not_multiplied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "loop.jsonl", [{"text": "tick " * 500}, {"text": "tock " * 20}])
    write_jsonl(tmp_path / "text.jsonl", ["tick " * 600, "tock " * 20 + "and " + "tock " * 20, prose.document(0, 12)])
    section = corpus(decontaminate={"sets": [{"name": "loop", "uri": str(tmp_path / "loop.jsonl")}]})
    walk = Walk(Store(str(tmp_path / "store")), [Source(name="s", uri=str(tmp_path / "text.jsonl"))], section)
    merged: list[int] = []

    def counted(*held: Any) -> Any:
        merged.append(len(held[0]))
        return merge(*held)

    monkeypatch.setattr(contamination, "merge", counted)
    config, parents = contamination.config_of(section), {"documents": walk.ingest()}
    made = walk.make(contamination, config, parents, partial(contamination.run, corpus=section))
    assert max(merged) < 1200  # about as many as the text or the item has words, not their product
    assert [row["overlap"] for row in rows(made, contamination.OBJECT)] == [1, 1, 0]
    spans = [(r["row"], r["start"], r["end"]) for r in rows(made, contamination.MATCHES)]
    assert spans == [(0, 0, 2999), (1, 0, 99), (1, 104, 203)]


def test_another_unicode_is_another_artifact(found: tuple[Found, Artifact], monkeypatch: pytest.MonkeyPatch) -> None:
    held, _ = found
    before = [contamination.config_of(held.section), difficulty.config_of(held.section)]
    monkeypatch.setattr("unicodedata.unidata_version", "1.0")
    after = [contamination.config_of(held.section), difficulty.config_of(held.section)]
    assert before[0] != after[0] and before[1] != after[1]
