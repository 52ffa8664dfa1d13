"""Stages: what is shipped and what a user brings are the same thing."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from raytrain.corpus.section import CorpusSection, Source
from raytrain.corpus.stages import language, minhash, text
from raytrain.corpus.stages.stage import Stage, from_source, read_stage, read_stages
from raytrain.errors import UserError
from raytrain.store import Store
from tests.corpus.walk import Walk, corpus, rows, write_jsonl

MINE = """
import pyarrow.compute as pc
from raytrain.corpus.stages.stage import Stage

def columns(documents, config):
    text = documents.column("text")
    shouted = pc.count_substring_regex(text, "[A-Z]")
    return {"capitals": pc.divide(pc.cast(shouted, "double"), pc.cast(pc.utf8_length(text), "double"))}

STAGE = Stage(name="shouting", version=1, columns_out=("capitals",), columns=columns)
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "shouting.py"
    path.write_text(MINE)
    return path


def test_a_stage_of_twenty_lines_decides_what_is_kept(tmp_path: Path, mine: Path) -> None:
    texts = ["quiet words, all of them", "LOUD WORDS", "more quiet words", "more of them", "and some more"]
    write_jsonl(tmp_path / "a.jsonl", texts)
    section = corpus(rules=({"own": {"calm": "shouting.capitals <= 0.3"}},), stages=(str(mine),))
    walking = Walk(Store(str(tmp_path / "s")), [Source(name="s", uri=str(tmp_path / "a.jsonl"))], section)
    documents = walking.ingest()
    made = walking.stage(read_stage(str(mine)), documents)
    assert [round(row["capitals"], 2) for row in rows(made, "shouting.parquet")] == [0.0, 0.9, 0.0, 0.0, 0.0]
    assert made.manifest["config"]["source"] == MINE  # the store tells what made the numbers


def test_another_source_is_another_stage(mine: Path) -> None:
    before = read_stage(str(mine)).config(CorpusSection())
    mine.write_text(MINE.replace("[A-Z]", "[A-ZÄÖÜ]"))
    assert read_stage(str(mine)).config(CorpusSection()) != before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = (", "line 1: SyntaxError"),
        ("\nraise ValueError('no')", "line 2: ValueError: no"),
        ("STAGE = 3", "defines no STAGE"),
        (MINE.replace('"shouting"', '"a.b"'), "stage name 'a.b'"),
        (MINE.replace('("capitals",)', "()"), "has no columns_out"),
        (MINE.replace('("capitals",)', '("capitals")'), "has no columns_out"),
        (
            MINE.replace("columns=columns)", 'columns=columns, columns_in=("text", "title"))'),
            "columns_in names 'title'",
        ),
        (MINE.replace("columns=columns)", 'columns=columns, columns_in=("text"))'), "columns_in names 'text'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(mine: Path, source: str, message: str) -> None:
    mine.write_text(source)
    with pytest.raises(UserError) as error:
        read_stage(str(mine))
    assert message in str(error.value)
    assert str(mine) in str(error.value)
    assert "\n" not in str(error.value)


def test_two_stages_of_one_name_and_a_file_that_is_not_there(tmp_path: Path, mine: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text(MINE)
    with pytest.raises(UserError, match="another stage is called 'shouting' too"):
        read_stages([str(mine), str(other)])
    with pytest.raises(UserError, match=r"corpus\.stages: 'absent\.py' cannot be read"):
        read_stage("absent.py")


@pytest.mark.parametrize(
    ("made", "message"),
    [({"b": [1, 2]}, r"made \['b'\], promised \['a'\]"), ({"a": [1]}, "1 rows for 2 documents")],
)
def test_a_stage_that_breaks_its_promise_is_named(made: dict[str, list[int]], message: str) -> None:
    stage = Stage(name="s", version=1, columns_out=("a",), columns=lambda documents, config: made)
    with pytest.raises(UserError, match=message):
        stage.table(pa.table({"text": ["x", "y"]}), {})


@pytest.mark.parametrize(
    "name", ["text", "text_unicode", "language", "minhash", "contamination", "difficulty", "dedup"]
)
def test_the_names_of_what_is_shipped_are_reserved(mine: Path, name: str) -> None:
    mine.write_text(MINE.replace('"shouting"', f'"{name}"'))
    with pytest.raises(UserError, match=f"the name '{name}' is reserved"):
        read_stages([str(mine)])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("1 / 0", "line 5: stage shouting: ZeroDivisionError: division by zero"),
        ("None", "columns gave NoneType; return a table"),
        ('{"capitals": ["a", "b"]}', "column capitals is string; rules compare numbers"),
        ('{"capitals": [True, False]}', "column capitals is bool; rules compare numbers"),
        ('{"capitals": [None, None]}', "column capitals is null; rules compare numbers"),
        ('{"capitals": [1, "a"]}', "stage shouting: Arrow"),
        ('{"capitals": 3}', "stage shouting: TypeError"),
    ],
)
def test_what_goes_wrong_in_a_users_code_is_one_line_with_its_place(mine: Path, body: str, message: str) -> None:
    """On whatever worker: a task carries the source, and the name of the file."""
    mine.write_text(
        f"from raytrain.corpus.stages.stage import Stage\n\n\ndef columns(documents, config):\n    return {body}"
        '\n\nSTAGE = Stage(name="shouting", version=1, columns_out=("capitals",), columns=columns)\n'
    )
    stage = from_source(mine.read_text(), str(mine))
    with pytest.raises(UserError) as error:
        stage.table(pa.table({"text": ["x", "y"]}), {})
    assert message in str(error.value) and str(error.value).startswith(f"{mine}: ")
    assert "\n" not in str(error.value)


def test_shipped_stages_keep_what_they_promise() -> None:
    documents = pa.table({"text": pa.array(["One text. And more of it.", ""], pa.large_string())})
    for stage in (*text.STAGES, language.STAGE, minhash.STAGE):
        table = stage.table(documents.select(list(stage.columns_in)), stage.config(CorpusSection()))
        assert table.num_rows == 2
