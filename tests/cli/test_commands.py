"""Every command on a finished run: what it prints for a person, and its one JSON object for a program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from raytrain.observe.data_at import data_at
from raytrain.store import Store
from raytrain.tokens.loader import Tokens

from .conftest import BATCH, COMMAND, RECIPE, ROOT, STEPS, Call, Finished, check_whole, environment, listing, raytrain

pytestmark = pytest.mark.slow  # each runs the command or a browser

SCHEMAS = {p.stem: json.loads(p.read_text()) for p in sorted((ROOT / "docs" / "schemas").glob("*.json"))}
CONTEXT = RECIPE["model"]["context"]


def valid(name: str, value: dict[str, Any]) -> dict[str, Any]:
    jsonschema.Draft202012Validator(SCHEMAS[name]).validate(value)
    return value


def test_every_command_has_a_schema_and_each_is_a_valid_one() -> None:
    run = {"run", "ls", "show", "data-at", "generate", "export", "report", "doctor"}
    assert set(SCHEMAS) == run | {"plan", "status", "sweep", "what-if", "diff", "trace", "forget"} | {
        "data-supply",
        "source-try",
    }
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


# -- run ---------------------------------------------------------------------------------------------------------


def test_run_prints_its_steps_on_stderr_and_one_object_on_stdout(finished: Finished) -> None:
    said = finished.said
    facts = valid("run", said.json)
    assert len(said.out.splitlines()) == 1
    assert facts["state"] == "succeeded"
    assert Path(facts["report"]).is_file()
    assert (Path(facts["export"]) / "config.json").is_file()
    steps = [line[1:-1] for line in said.err.splitlines() if line.startswith("[")]
    assert steps == list(facts["artifacts"])
    assert "bits per byte" in said.err
    assert len(check_whole(finished.store)) == len(steps)


def test_a_second_run_does_nothing_and_says_so(finished: Finished) -> None:
    before = listing(finished.store)
    again = raytrain("run", finished.recipe, "--store", finished.store, "--json")
    assert again.json == finished.said.json
    assert "nothing to do" in again.err
    assert listing(finished.store) == before


def test_a_second_run_imports_neither_torch_nor_ray(finished: Finished) -> None:
    arguments = ["raytrain", "run", str(finished.recipe), "--store", str(finished.store)]
    assert imported(arguments).isdisjoint({"torch", "ray", "prefect"})


def test_help_imports_nothing_heavy() -> None:
    for arguments in (["--help"], ["run", "--help"], ["data", "at", "--help"]):
        assert imported(["raytrain", *arguments]).isdisjoint({"torch", "ray", "pyarrow", "numba", "prefect"})


def imported(arguments: list[str]) -> set[str]:
    """The packages that a command has imported at its end."""
    code = f"import sys; sys.argv = {arguments!r}\nfrom raytrain.cli import main\ntry:\n    main()\nfinally:\n"
    code += "    print('\\n', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.slow
def test_until_stops_after_a_step_and_the_run_goes_on_from_there(
    call: Call, recipe: Any, tmp_path: Path, finished: Finished
) -> None:
    path, store = recipe(), tmp_path / "s"
    first = call("run", path, "--store", store, "--until", "select", "--json")
    assert list(valid("run", first.json)["artifacts"])[-1] == "select"
    assert call("show", "tiny", "--store", store, "--json").json["state"] == "partial"
    again = call("run", path, "--store", store, "--until", "select", "--json")
    assert "nothing to do" in again.err
    assert valid("run", again.json)["artifacts"] == first.json["artifacts"]
    whole = call("run", path, "--store", store, "--json")
    assert valid("run", whole.json)["parameter_sha256"] == finished.said.json["parameter_sha256"]
    assert "[select]" not in whole.err and "[tokenize]" in whole.err


# -- looking -----------------------------------------------------------------------------------------------------


def test_ls_lists_runs_and_their_states(call: Call, finished: Finished, tmp_path: Path) -> None:
    assert call("ls", "--store", finished.store).out.split() == ["tiny", "succeeded"]
    listed = valid("ls", call("ls", "--store", finished.store, "--json").json)
    assert listed["runs"] == [{"run": "tiny", "state": "succeeded"}]
    assert "no run" in call("ls", "--store", tmp_path).out


def test_show_says_how_far_how_good_and_how_dear(call: Call, finished: Finished) -> None:
    facts = valid("show", call("show", "tiny", "--store", finished.store, "--json").json)
    assert facts["step"] == facts["max_steps"] == STEPS
    assert facts["tokens"] == STEPS * BATCH * CONTEXT
    assert sum(facts["phases"].values()) == pytest.approx(facts["elapsed_seconds"])
    assert facts["goodput"] == pytest.approx(facts["phases"]["step"] / facts["elapsed_seconds"])
    assert facts["cost_usd"] == pytest.approx(sum(facts["cost"].values()))
    assert facts["cost_usd"] > 0
    text = call("show", "tiny", "--store", finished.store).out
    for part in ("tiny (succeeded)", f"{STEPS} of {STEPS} steps", facts["parameter_sha256"][:16], "goodput", "$0.0"):
        assert part in text


def test_the_store_is_the_option_else_the_environment_else_a_folder_here(finished: Finished, tmp_path: Path) -> None:
    assert raytrain("ls", "--json", env={"RAYTRAIN_STORE": str(finished.store)}).json["runs"]
    elsewhere = raytrain("ls", "--store", tmp_path, "--json", env={"RAYTRAIN_STORE": str(finished.store)})
    assert elsewhere.json == {"store": f"file://{tmp_path}", "runs": []}
    os.symlink(finished.store, tmp_path / "store")
    assert raytrain("ls", "--json", cwd=tmp_path).json["runs"]


def test_a_recipe_takes_its_store_from_the_option_then_itself_then_the_environment(
    recipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raytrain.recipe import load

    monkeypatch.setenv("RAYTRAIN_STORE", "/env")
    assert load(str(recipe()), store="/option").store == "/option"
    assert load(str(recipe())).store == "/env"
    assert load(str(recipe(store="/own"))).store == "/own"
    monkeypatch.delenv("RAYTRAIN_STORE")
    assert load(str(recipe())).store == "./store"


def test_relative_paths_in_a_recipe_count_from_its_folder_and_do_not_decide_the_result(tmp_path: Path) -> None:
    from raytrain.recipe import load

    found = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "own.yaml").write_text("splitter: whitespace\nrules: {long: word_count >= 9}\n")
        (folder / "t.json").write_text('{"model": {}}')
        (folder / "r.yaml").write_text(
            "name: r\nsources: [{name: s, uri: texts}]\n"
            "corpus: {rules: [gopher, own.yaml]}\ntokenizer: {file: t.json}\n"
        )
        found.append(load(str(folder / "r.yaml")))
    assert [r.sources[0].uri for r in found] == [str(tmp_path / n / "texts") for n in "ab"]
    assert [r.corpus.rules[1] for r in found] == [str(tmp_path / n / "own.yaml") for n in "ab"]
    assert [r.tokenizer.file for r in found] == [str(tmp_path / n / "t.json") for n in "ab"]
    assert found[0].identity() == found[1].identity()
    (tmp_path / "b" / "own.yaml").write_text("splitter: whitespace\nrules: {long: word_count >= 10}\n")
    assert found[0].identity() != found[1].identity()


def test_data_at_names_each_planned_sequence_once(finished: Finished) -> None:
    store = Store(str(finished.store))
    seen = [s["sequence"] for step in range(1, STEPS + 1) for s in data_at(store, "tiny", step)["sequences"]]
    assert sorted(seen) == list(range(STEPS * BATCH))


def test_data_at_names_the_documents_whose_tokens_the_loader_gives(finished: Finished) -> None:
    from raytrain.observe.collect import artifacts_of
    from raytrain.store.artifact import read_table

    store = Store(str(finished.store))
    made = artifacts_of(store, "tiny")
    tokens = Tokens(made["tokenize"])
    where = {}
    for shard in range(len(made["tokenize"].shards)):
        for row in read_table(made["tokenize"], shard, "documents.parquet").to_pylist():
            where[row["record_id"]] = (shard, row)
    for step in (1, STEPS // 2, STEPS):
        for sequence in data_at(store, "tiny", step)["sequences"]:
            group = tokens.groups.index((sequence["domain"], sequence["bin"]))
            parts = []
            for document in sequence["documents"]:
                shard, row = where[document["record_id"]]
                assert (row["domain"], row["split"]) == (sequence["domain"], "train")
                assert 0 <= document["first_token"] < document["first_token"] + document["tokens"] <= row["tokens"]
                raw = np.frombuffer(made["tokenize"].get(shard, f"train-{group}.bin"), tokens.facts["dtype"])
                start = row["position"] + document["first_token"]
                parts.append(raw[start : start + document["tokens"]])
            window = tokens.window(group, sequence["window"], CONTEXT)
            assert np.array_equal(np.concatenate(parts), window)


def test_data_at_prints_and_refuses_steps_that_are_not_there(call: Call, finished: Finished) -> None:
    at = ("data", "at", "--run", "tiny", "--store", finished.store, "--step")
    found = valid("data-at", call(*at, 3, "--json").json)
    text = call(*at, 3).out
    assert all(d["doc_id"] in text for s in found["sequences"] for d in s["documents"])
    for step in (0, -1, STEPS + 1):
        line = call(*at, step).at_once
        assert f"--step {step}" in line and str(STEPS) in line


def test_a_document_is_traced_from_its_file_to_the_steps_that_saw_it(call: Call, finished: Finished) -> None:
    store = Store(str(finished.store))
    seen: dict[str, set[int]] = {}
    for step in range(1, STEPS + 1):
        for sequence in data_at(store, "tiny", step)["sequences"]:
            for document in sequence["documents"]:
                seen.setdefault(document["record_id"], set()).add(step)
    for record_id in (max(seen, key=lambda name: len(seen[name])), min(seen)):
        found = valid("trace", call("data", "trace", record_id, "--store", finished.store, "--json").json)
        (record,) = found["records"]
        (corpus,) = record["corpora"]
        (tokens,) = corpus["tokens"]
        assert corpus["keep"] and corpus["failed"] == [] and corpus["runs"] == ["tiny"]
        assert tokens["steps"] == {"tiny": sorted(seen[record_id])}
        assert record["numbers"]["text"]["characters"] > 0
    text = call("data", "trace", record_id, "--store", finished.store).out
    assert f"{record_id}  (doc_id {record['doc_id']})" in text
    assert "kept for train" in text and "run tiny trained on them at step" in text


def test_a_trace_tells_which_rules_a_document_fails_and_whom_it_duplicates(call: Call, finished: Finished) -> None:
    from raytrain.observe.collect import artifacts_of
    from raytrain.store.artifact import read_table

    made = artifacts_of(Store(str(finished.store)), "tiny")
    of = {}
    for shard in range(len(made["select"].shards)):
        verdicts = read_table(made["select"], shard, "verdicts.parquet").to_pylist()
        names = read_table(made["ingest"], shard, "index.parquet", ["record_id"])["record_id"].to_pylist()
        for name, verdict in zip(names, verdicts, strict=True):
            for key in ("near duplicates", "gopher.min_words"):
                if verdict[key]:
                    of.setdefault(key, name)
    found = {key: call("data", "trace", name, "--store", finished.store, "--json").json for key, name in of.items()}
    short = valid("trace", found["gopher.min_words"])["records"][0]["corpora"][0]
    failed = next(one for one in short["failed"] if one["rule"] == "gopher.min_words")
    assert not short["keep"] and failed["value"] < failed["threshold"] == 50
    near = valid("trace", found["near duplicates"])["records"][0]["corpora"][0]
    assert near["duplicate_of"]["jaccard"] >= 0.8
    assert near["duplicate_of"]["doc_id"] in {pair["doc_id"] for pair in near["compared"] if pair["accepted"]}
    assert "no document" in call("data", "trace", "devil/nothing/1", "--store", finished.store).error


# -- deciding ----------------------------------------------------------------------------------------------------


def test_what_if_answers_without_a_change_to_the_store(call: Call, finished: Finished) -> None:
    before = listing(finished.store)
    asked = ("curate", finished.recipe, "--store", finished.store, "--what-if")
    found = valid("what-if", call(*asked, "gopher.min_words=30", "--json").json)
    assert found["added"]["documents"] > 0
    assert found["removed"]["documents"] == 0
    text = call(*asked, "gopher.min_words=30").out
    assert re.search(r"gopher\.min_words +\d+ -> \d+", text)
    assert call(*asked, "languages.allowed=[de]").out.rstrip().splitlines()[-1].startswith("removed: ")
    assert "did you mean 'gopher.min_words'" in call(*asked, "gopher.min_wrds=30").at_once
    assert "is no number" in call(*asked, "gopher.min_words=many").at_once
    assert "changes the step dedup" in call(*asked, "dedup.jaccard=0.7").at_once
    assert "raytrain corpus diff" in call(*asked, "dedup.ngram=7").at_once
    assert listing(finished.store) == before


def test_another_threshold_is_another_corpus_and_diff_tells_how(call: Call, finished: Finished, tmp_path: Path) -> None:
    """And what is to be forgotten is in no corpus from then on, while the run that has it is named and stays."""
    store = tmp_path / "store"
    shutil.copytree(finished.store, store)
    overrides = '--set=corpus.overrides={gopher.min_words: {threshold: 30, reason: "short entries"}}'
    made = call("curate", finished.recipe, "--set", "name=looser", overrides, "--store", store, "--json").json
    assert list(made["artifacts"])[-1] == "select"
    found = valid("diff", call("corpus", "diff", "tiny", "looser", "--store", store, "--json").json)
    assert found["settings"] == [{"name": "gopher.min_words", "a": "word_count >= 50", "b": "word_count >= 30"}]
    assert found["added"]["by_reason"]["gopher.min_words"]["documents"] == found["added"]["documents"] > 0
    assert (
        "gopher.min_words: word_count >= 50 -> word_count >= 30"
        in call("corpus", "diff", "tiny", made["artifacts"]["select"]["id"], "--store", store).out
    )
    assert "neither a run nor a corpus" in call("corpus", "diff", "tiny", "none", "--store", store).at_once

    document = data_at(Store(str(store)), "tiny", 1)["sequences"][0]["documents"][0]
    forget = ("data", "forget", document["record_id"], "--store", store, "--reason", "asked by its author")
    touched = valid("forget", call(*forget, "--json").json)
    assert touched["runs"] == ["looser", "tiny"]
    assert [len(touched[kind]) for kind in ("corpora", "tokens", "models")] == [2, 1, 1]
    assert call("data", "forgotten", "--store", store).out == f"{document['record_id']}  asked by its author\n"
    again = call("run", finished.recipe, "--store", store)
    assert "1 of its documents were to be forgotten" in again.error and "choose another name" in again.error
    call("curate", finished.recipe, "--set", "name=without", "--store", store, "--json")
    found = call("corpus", "diff", "tiny", "without", "--store", store, "--json").json
    assert found["removed"]["by_reason"]["forgotten"]["documents"] == 1
    assert {row["record_id"]: row["text"] for row in found["samples"]["removed"]}[document["record_id"]] == ""
    assert "no document" in call(*forget[:2], "devil/nothing/1", *forget[3:]).at_once


# -- taking out --------------------------------------------------------------------------------------------------


def test_generate_continues_a_prompt_and_repeats_itself_with_the_same_seed(call: Call, finished: Finished) -> None:
    arguments = ("generate", "tiny", "The", "--max-tokens", 12, "--store", finished.store)
    first = valid("generate", call(*arguments, "--json").json)
    assert first["prompt"] == "The" and first["text"]
    assert call(*arguments).out == "The" + first["text"] + "\n"
    assert call(*arguments, "--seed", 1, "--json").json["text"] != first["text"]
    assert call("generate", "tiny", "--max-tokens", 3, "--store", finished.store, "--temperature", 0).code == 0
    long = call("generate", "tiny", "word " * 200, "--max-tokens", 3, "--store", finished.store, "--json")
    assert long.json["text"]


def test_an_exported_model_gives_the_same_logits_and_ids_in_transformers(
    call: Call, finished: Finished, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raytrain.observe.collect import artifacts_of
    from raytrain.train.finish import load_model

    folder = tmp_path / "model"
    said = valid("export", call("export", "tiny", "--to", folder, "--store", finished.store, "--json").json)
    assert said["path"] == str(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours, reference, end_id = load_model(artifacts_of(Store(str(finished.store)), "tiny")["pretrain"])
    text = "The Debian FAQ says: naïve users,\n\n  read the manual — 42 times!"
    ids = reference.encode(text, add_special_tokens=False).ids
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.eos_token_id == end_id == theirs.config.eos_token_id
    with torch.no_grad():
        batch = torch.tensor([ids[:CONTEXT]])
        expected = ours.logits(batch)
        found = theirs(batch).logits[..., : expected.shape[-1]]
    assert torch.allclose(found, expected, atol=1e-5, rtol=0)
    card = (folder / "README.md").read_text()
    assert "public-domain" in card and finished.said.json["parameter_sha256"] in card
    assert call("export", "tiny", "--to", folder, "--store", finished.store).code == 0  # again, over itself


def test_run_leaves_the_same_model_folder_as_export(call: Call, finished: Finished, tmp_path: Path) -> None:
    call("export", "tiny", "--to", tmp_path / "m", "--store", finished.store)
    kept = Path(finished.said.json["export"])
    assert {p.name for p in kept.iterdir()} == {p.name for p in (tmp_path / "m").iterdir()}
    for path in kept.iterdir():
        assert path.read_bytes() == (tmp_path / "m" / path.name).read_bytes()


def test_a_report_opens_in_a_browser_without_a_complaint(call: Call, finished: Finished, tmp_path: Path) -> None:
    path = tmp_path / "sub" / "r.html"
    said = valid("report", call("report", "tiny", "--to", path, "--store", finished.store, "--json").json)
    assert said["path"] == str(path)
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip(f"{chromium} is not there (apt-get install chromium)")
    complaints: list[str] = []
    fetched: list[str] = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=str(chromium), args=["--headless", "--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(path.as_uri())
        text = page.inner_text("body")
        browser.close()
    assert complaints == []
    assert fetched == [path.as_uri()]
    assert "tiny" in text and "faq" in text


def test_doctor_finds_this_machine_fit(call: Call, tmp_path: Path) -> None:
    found = valid("doctor", call("doctor", "--store", tmp_path, "--json").json)
    assert found["ok"]
    assert {f["check"] for f in found["findings"]} >= {"python", "packages", "store", "disk", "memory", "clock"}
    assert "ok   store" in call("doctor", "--store", tmp_path).out
    assert list(tmp_path.rglob("*")) in ([], [tmp_path / ".probe"])


def test_doctor_names_a_store_that_cannot_be_written(call: Call) -> None:
    said = call("doctor", "--store", "/proc/x", "--json")
    assert said.code == 1
    found = valid("doctor", json.loads(said.out.splitlines()[-1]))
    assert not found["ok"]
    bad = {f["check"]: f["text"] for f in found["findings"] if not f["ok"]}
    assert "/proc/x" in bad["store"]
    assert set(bad) <= {"store", "clock"}


def test_a_command_that_is_written_wrongly_is_answered_in_one_line(call: Call) -> None:
    for arguments in (("nosuch",), ("show",), ("show", "x", "--nope"), ("generate", "x", "--max-tokens", "0")):
        said = call(*arguments)
        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert said.err.startswith("error:") and "--help" in said.err
    assert "Commands:" in call().out


def test_a_pipe_that_closes_early_is_no_error(finished: Finished) -> None:
    line = " ".join(map(str, ["data", "at", "--run", "tiny", "--step", "1", "--store", finished.store]))
    shell = f"'{COMMAND[0]}' -c '{COMMAND[2]}' {line} | head -1"
    done = subprocess.run(shell, shell=True, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.startswith("sequence ")
