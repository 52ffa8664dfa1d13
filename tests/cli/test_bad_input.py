"""What goes wrong for a reason that a person can mend is one line: the field or file, the value, the remedy.

And it leaves nothing half-written behind: whatever is in the store afterwards is whole.
"""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from raytrain import runs
from raytrain.store import Store
from raytrain.train.progress import read_progress

from .conftest import COMMAND, RECIPE, ROOT, Call, Finished, check_whole, environment

pytestmark = pytest.mark.slow  # each runs the command or a browser

Write = Callable[..., Path]


def texts(folder: Path, **files: str | bytes) -> dict[str, Any]:
    """A source of files; their names have `_` for the last dot."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / ".".join(name.rsplit("_", 1))).write_bytes(data)
    return {"name": "mine", "uri": str(folder)}


# -- the recipe, before any work ---------------------------------------------------------------------------------


def test_a_recipe_that_is_not_there(call: Call, tmp_path: Path) -> None:
    line = call("run", tmp_path / "no.yaml").at_once
    assert str(tmp_path / "no.yaml") in line and "cannot be read" in line
    assert "cannot be read" in call("run", tmp_path).at_once
    assert "cannot be read" in call("run", "nosuch://bucket/r.yaml").at_once


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name: a\nsources: [\n", ["line 3", "not valid YAML"]),
        ("name: a\nname: b\n", ["line 2", "'name' stands twice"]),
        ("- a\n", ["mapping", "list"]),
        ("", ["name: required"]),
        ("name: a\n", ["sources: required"]),
        ("\x00", ["r.yaml"]),
        (b"\xff\xfe\xff", ["r.yaml"]),
    ],
)
def test_a_recipe_that_is_no_recipe(call: Call, tmp_path: Path, text: str | bytes, parts: list[str]) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    line = call("run", path).at_once
    assert all(part in line for part in parts), line


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"train__max_step": 3}, ["train.max_step", "unknown key", "'max_steps'"]),
        ({"trian": {}}, ["trian", "unknown key", "'train'"]),
        ({"model__zzz": 3}, ["model.zzz", "known keys", "depth"]),
        ({"train__max_steps": "many"}, ["train.max_steps", "integer", "'many'"]),
        ({"train__max_steps": 0}, ["train.max_steps", "greater than or equal to 1", "0"]),
        ({"model__depth": [2]}, ["model.depth", "[2]"]),
        ({"train": 3}, ["train", "3"]),
        ({"name": "a.b"}, ["name", "letters, digits", "'a.b'"]),
        ({"name": "../x"}, ["name", "'../x'"]),
        ({"engine": "slurm"}, ["engine", "'ray' or 'local'", "'slurm'"]),
        ({"model__width": 256, "model__heads": 3}, ["model.heads", "3 heads", "256", "take one of"]),
        ({"train__microbatches": 6}, ["train.microbatches", "power of two", "4 or 8", "6"]),
        ({"train__workers": 8}, ["train.workers", "8 workers share 4 microbatches", "8 or more"]),
        ({"train__workers": 32, "train__microbatches": None}, ["train.workers", "32 workers", "train.microbatches"]),
        ({"train__batch_sequences": 6}, ["train.batch_sequences", "6", "train.microbatches = 4"]),
        ({"train__mixture": {"faq": -1.0}}, ["train.mixture", "negative"]),
        ({"corpus__rules": ["gofer"]}, ["corpus.rules", "'gofer'", "gopher"]),
        ({"corpus__rules": ["/no/such.yaml"]}, ["corpus.rules", "'/no/such.yaml'", "cannot be read"]),
        (
            {"corpus__overrides": {"gopher.wrds": 1}},
            ["corpus.overrides", "'gopher.wrds'", "did you mean 'gopher.min_words'"],
        ),
        ({"sources": []}, ["sources", "at least one"]),
        ({"sources": [RECIPE["sources"][0]] * 2}, ["sources", "faq"]),
        ({"cost__instance": "aws/p5.48xlarg"}, ["cost.instance", "'aws/p5.48xlarg'", "'aws/p5.48xlarge'"]),
        ({"tokenizer__file": "/no/tokenizer.json"}, ["tokenizer.file", "/no/tokenizer.json", "cannot be read"]),
    ],
    ids=lambda v: "-".join(v) if isinstance(v, dict) else "",
)
def test_a_key_or_value_that_cannot_be(
    call: Call, recipe: Write, tmp_path: Path, changes: dict[str, Any], parts: list[str]
) -> None:
    line = call("run", recipe(**changes), "--store", tmp_path / "s").at_once
    assert all(part in line for part in parts), line
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        ("train.max_steps", ["train.max_steps", "section.key=value"]),
        ("=3", ["section.key=value"]),
        ("train.max_steps=[", ["not valid YAML"]),
        ("name.x=3", ["name is a str"]),
        ("sources.7.uri=x", ["sources.7", "list of 2"]),
        ("train.max_stepz=3", ["train.max_stepz", "'max_steps'"]),
        ("train.max_steps=x", ["train.max_steps", "'x'"]),
    ],
)
def test_an_override_that_cannot_be(call: Call, recipe: Write, item: str, parts: list[str]) -> None:
    line = call("run", recipe(), "--set", item).at_once
    assert all(part in line for part in parts), line


def test_a_step_that_is_not_there(call: Call, recipe: Write, tmp_path: Path) -> None:
    line = call("run", recipe(), "--until", "tokenise", "--store", tmp_path / "s").at_once
    assert "'tokenise'" in line and "tokenize" in line
    assert not (tmp_path / "s").exists()


def test_a_secret_in_plain_text_is_refused_and_not_repeated(call: Call, recipe: Write) -> None:
    stated = call("run", recipe(s3={"aws_secret": "hunter2"})).at_once
    given = call("run", recipe(), "--set", "s3.api_key=hunter2").at_once
    for line in (stated, given):
        assert "${env:NAME}" in line and "s3." in line
        assert "hunter2" not in line


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("no json", ["tokenizer.json"]),
        ("[]", ["tokenizer.json"]),
        ('{"model": 3}', ["tokenizer.json"]),
        (None, ["tokenizer.end_of_text", "'<|endoftext|>'", "not a token"]),
    ],
)
def test_a_tokenizer_that_is_none(
    call: Call, recipe: Write, tmp_path: Path, content: str | None, parts: list[str]
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(own_tokenizer("<s>") if content is None else content)
    line = call("run", recipe(tokenizer={"file": "mine.json"}), "--store", tmp_path / "s").at_once
    assert str(path) in line
    assert all(part in line for part in parts), line


def own_tokenizer(end: str) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat and the other cat went to the market"] * 9, trainer)
    return str(tokenizer.to_str())


@pytest.mark.slow
def test_a_users_own_tokenizer_works_to_the_end(call: Call, recipe: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(own_tokenizer("<s>"))
    own = {"file": "mine.json", "end_of_text": "<s>"}
    done = call("run", recipe(tokenizer=own, train__max_steps=3), "--store", tmp_path / "s", "--json")
    exported = Path(done.json["export"])
    kept = json.loads((exported / "tokenizer.json").read_text())
    assert kept["model"]["vocab"] == json.loads((tmp_path / "mine.json").read_text())["model"]["vocab"]
    assert json.loads((exported / "tokenizer_config.json").read_text())["eos_token"] == "<s>"
    assert call("generate", "tiny", "the", "--max-tokens", 3, "--store", tmp_path / "s").code == 0


# -- the sources -------------------------------------------------------------------------------------------------


def test_a_source_that_is_not_there_or_holds_nothing(call: Call, recipe: Write, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "s")
    line = call("run", recipe(sources=[{"name": "mine", "uri": "no-such-folder"}]), *store).at_once
    assert "sources[0] (mine)" in line and str(tmp_path / "no-such-folder") in line and "correct its uri" in line
    (tmp_path / "empty").mkdir()
    assert "nothing in it" in call("run", recipe(sources=[{"name": "mine", "uri": "empty"}]), *store).at_once
    zero = texts(tmp_path / "zero", a_jsonl="", b_txt="")
    assert "every file of" in call("run", recipe(sources=[zero]), *store).at_once
    other = texts(tmp_path / "other", a_exe="x", b_doc="y")
    line = call("run", recipe(sources=[other]), *store).at_once
    assert "2 files, none of a known format" in line and ".jsonl" in line and "sources[0].format" in line
    assert check_whole(tmp_path / "s") == []


def test_a_source_that_may_not_be_read(call: Call, recipe: Write, tmp_path: Path) -> None:
    source = texts(tmp_path / "mine", a_txt="x" * 99)
    (tmp_path / "mine" / "b.txt").symlink_to("/proc/1/mem")
    line = call("run", recipe(sources=[source]), "--store", tmp_path / "s").at_once
    assert "sources[0] (mine)" in line


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("{broken\n" * 9, ["9 bad_json", "one JSON object a line"]),
        ('{"body": "x"}\n' * 9, ["9 missing_text", "text_field"]),
        ('{"text": "  "}\n' * 9, ["9 empty"]),
        (json.dumps({"text": "x" * 200_000}) + "\n", ["1 oversize", "max_document_bytes"]),
    ],
)
def test_a_source_that_gives_no_document(
    call: Call, recipe: Write, tmp_path: Path, content: str, parts: list[str]
) -> None:
    source = texts(tmp_path / "mine", a_jsonl=content)
    line = call("run", recipe(sources=[RECIPE["sources"][0], source]), "--store", tmp_path / "s").error
    assert "sources[1] (mine)" in line and "a.jsonl" in line and "gave no document" in line
    assert all(part in line for part in parts), line
    assert check_whole(tmp_path / "s") == []
    assert call("show", "tiny", "--store", tmp_path / "s", "--json").json["state"] == "failed"


def test_broken_pieces_are_counted_and_set_aside_and_stop_nothing(call: Call, recipe: Write, tmp_path: Path) -> None:
    from raytrain.observe.collect import collect
    from raytrain.observe.report import render

    good = [json.dumps({"text": f"document {i} {i * 7919}"}) for i in range(60)]
    packed = gzip.compress("\n".join(good[:30]).encode())
    source = texts(
        tmp_path / "mine",
        a_jsonl="\n".join([*good[30:], "{broken", '{"body": "no text"}']),
        b_txt=b"caf\xe9 au lait",
    )
    (tmp_path / "mine" / "c.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "mine" / "d.zip").write_bytes(b"PK")
    path = recipe(sources=[RECIPE["sources"][0], source])
    done = call("run", path, "--store", tmp_path / "s", "--until", "select", "--json")
    assert done.code == 0, done.err
    assert "mine: 1 files of unknown format are passed over" in done.err
    facts = collect(Store(str(tmp_path / "s")), "tiny")
    aside = facts["ingest"]["sources"]["mine"]["quarantined"]
    assert aside == {"bad_json": 1, "missing_text": 1, "not_utf8": 1, "broken_stream": 1}
    assert facts["ingest"]["sources"]["mine"]["documents"] >= 30
    assert facts["corpus"]["quarantined"] == aside
    assert all(reason in done.err for reason in aside)
    assert all(reason in render(facts) for reason in aside)


# -- what only the data can say ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_the_data_do_not_support_is_said_at_the_step_that_knows(call: Call, recipe: Write, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "s")
    line = call("run", recipe(corpus__languages__allowed=["fi"]), *store).error
    assert "corpus: the rules keep none" in line and "languages.allowed" in line
    line = call("run", recipe(name="b", corpus__split={}), *store).error
    assert "corpus.split" in line and "lower min_validation_documents" in line
    line = call("run", recipe(name="c", tokenizer__vocab_size=60_000), *store).error
    assert "tokenizer.vocab_size" in line and "60000" in line and "set tokenizer.vocab_size=" in line
    line = call("run", recipe(name="d", train__mixture={"novels": 1.0}), *store).error
    assert "train.mixture" in line and "'novels'" in line and "faq" in line
    line = call("run", recipe(name="e", model__context=1 << 19), *store).error
    assert "model.context" in line and "lower it" in line
    assert "pretrain" not in check_whole(tmp_path / "s")


# -- names, stores, and other people -----------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["show", "generate", "export", "report", "data at --step 1 --run"])
def test_a_run_that_is_not_there(call: Call, finished: Finished, tmp_path: Path, command: str) -> None:
    line = call(*command.split(), "tinny", "--store", finished.store).at_once
    assert "'tinny'" in line and str(finished.store) in line and "there are tiny" in line
    assert "holds no run" in call(*command.split(), "tiny", "--store", tmp_path / "none").at_once
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["generate", "export", "data at --step 1 --run"])
def test_a_run_that_is_not_so_far(call: Call, recipe: Write, tmp_path: Path, command: str) -> None:
    store = ("--store", tmp_path / "s")
    assert call("run", recipe(), *store, "--until", "ingest").code == 0
    line = call(*command.split(), "tiny", *store).at_once
    assert "'tiny'" in line and "run its recipe" in line
    assert call("report", "tiny", *store, "--to", tmp_path / "r.html").code == 0


def test_a_place_that_cannot_be_written(call: Call, finished: Finished, recipe: Write, tmp_path: Path) -> None:
    assert "file:///proc/x cannot be used" in call("run", recipe(), "--store", "/proc/x").at_once
    assert "cannot be used" in call("run", recipe(), "--store", recipe()).at_once
    assert "'nosuch://x'" in call("ls", "--store", "nosuch://x").at_once
    assert "r.yaml" in call("show", "x", "--store", recipe().rename(tmp_path / "r.yaml")).at_once
    for command in ("export", "report"):
        assert "--to '/proc/x/y'" in call(command, "tiny", "--to", "/proc/x/y", "--store", finished.store).at_once
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("mine")
    line = call("export", "tiny", "--to", tmp_path / "precious", "--store", finished.store).at_once
    assert "precious" in line and "name another folder" in line
    assert [p.name for p in (tmp_path / "precious").iterdir()] == ["thesis.txt"]


def test_another_recipe_under_an_old_name_is_refused_with_what_differs(
    call: Call, finished: Finished, recipe: Write
) -> None:
    line = call("run", recipe(train__max_steps=21, seed=8), "--store", finished.store).at_once
    assert "'tiny'" in line and "choose another name" in line
    assert "seed was 7, is 8" in line and "train.max_steps was 20, is 21" in line
    moved = recipe(train__workers=2, train__checkpoint_every=3, cost={"watts": 10})
    assert "nothing to do" in call("run", moved, "--store", finished.store).err


def test_other_text_under_an_old_name_is_refused(call: Call, recipe: Write, tmp_path: Path) -> None:
    source = texts(tmp_path / "mine", a_txt="one")
    assert call("run", recipe(sources=[source]), "--store", tmp_path / "s", "--until", "ingest").code == 0
    texts(tmp_path / "mine", a_txt="two")
    assert "content.mine was" in call("run", recipe(sources=[source]), "--store", tmp_path / "s").at_once


@pytest.mark.slow
def test_two_at_once_under_one_name_and_a_polite_end(
    call: Call, recipe: Write, tmp_path: Path, ended: list[subprocess.Popen[str]]
) -> None:
    store, path = tmp_path / "s", recipe(train__max_steps=100_000)
    command = [*COMMAND, "run", str(path), "--store", str(store)]
    for number, sign in enumerate((signal.SIGINT, signal.SIGTERM), 1):
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        ended.append(process)
        deadline = time.monotonic() + 60
        while (read_progress(Store(str(store)), "tiny") or {}).get("attempt") != number:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        assert call("show", "tiny", "--store", store, "--json").json["state"] == "running"
        line = call("run", path, "--store", store).error
        assert f"is being written by process {process.pid}" in line and "--take-over" in line
        process.send_signal(sign)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "stopped: run the same command again to resume"
        assert "Traceback" not in err
        assert call("show", "tiny", "--store", store, "--json").json["state"] == "stopped"


# -- a full disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A file system of a given size; called again it gets another size and keeps what it holds."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def size(text: str) -> Path:
        nonlocal mounted
        options = f"remount,size={text}" if mounted else f"size={text}"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True)
        if done.returncode:
            pytest.skip("mounting a small file system takes root")
        mounted = True
        return place

    yield size
    if mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_a_store_without_room_is_refused_at_once(call: Call, recipe: Write, small_disk: Any) -> None:
    line = call("run", recipe(), "--store", small_disk("1m")).at_once
    assert "store:" in line and "MiB free" in line and "200" in line


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_a_run_that_goes_on_when_there_is_room(
    call: Call, recipe: Write, small_disk: Any, monkeypatch: pytest.MonkeyPatch, finished: Finished
) -> None:
    monkeypatch.setattr(runs, "MIN_FREE_BYTES", 0)
    path, reached = recipe(), []
    for size in ("300k", "900k", "2500k", "3500k", "4200k"):
        store = small_disk(size)
        said = call("run", path, "--store", store, "--json")
        if said.code == 0:
            break
        assert "no space left" in said.error and str(store) in said.error and "same command again" in said.error
        reached.append(check_whole(store))
    assert [] in reached and len(reached[-1]) > 5, reached
    done = call("run", path, "--store", small_disk("100m"), "--json")
    assert done.json["parameter_sha256"] == finished.said.json["parameter_sha256"]
    check_whole(store)


# -- a store far away --------------------------------------------------------------------------------------------


def test_a_store_that_nobody_answers_for_is_said_in_seconds(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for command in (["ls"], ["show", "tiny"], ["stop", "tiny"], ["plan", str(ROOT / "recipes" / "quickstart.yaml")]):
        line = call(*command, "--store", "s3://nowhere/at-all").error
        assert "s3://nowhere at http://127.0.0.1:9: no good answer" in line and "AWS_ENDPOINT_URL" in line
