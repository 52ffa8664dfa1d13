"""Jobs by name: whoever asks first submits, everybody else follows; what Ray has forgotten is done again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytrain.engine.jobs import Job, JobName, Unreachable, read_claims, state, stop_jobs, submit_or_attach
from raytrain.errors import UserError
from raytrain.store import Store

from .parts import Ground, wait_for

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}", fullmatch=True)
SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
NOTHING = [sys.executable, "-c", "pass"]


@given(NAMES, st.sampled_from(["select", "tokenize", "pretrain", "evaluate", "sweep"]), st.integers(1, 10**6))
def test_a_name_is_read_as_it_was_written(run: str, step: str, n: int) -> None:
    name = JobName(run, step, n)
    assert JobName.parse(str(name)) == name


@given(st.text(max_size=80))
def test_no_other_text_is_a_name(text: str) -> None:
    name = JobName.parse(text)
    assert name is None or str(name) == text


def test_a_run_is_not_taken_for_one_that_begins_like_it() -> None:
    for text in ("raytrain.a.b.c.1", "raytrain.a.pretrain.01", "raytrain.a.pretrain.0", "xraytrain.a.pretrain.1", ""):
        assert JobName.parse(text) is None


# -- a job server that does as it is told, for moments that the real one cannot be brought to ------------------------


class FakeServer:
    """Ray's REST interface over a table: name to status."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.session = "session_1"
        self.submitted = 0
        self.refuse: int | None = None
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("/")[3] if self.path.startswith("/api/jobs/") else ""
                if outer.refuse:
                    self.reply(outer.refuse, "no")
                elif self.path == "/api/version":
                    self.reply(200, {"session_name": outer.session})
                elif name in outer.jobs:
                    self.reply(200, {"status": outer.jobs[name], "message": "", "driver_exit_code": None})
                else:
                    self.reply(404, "does not exist")

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
                with lock:
                    if body.get("submission_id") in outer.jobs:
                        self.reply(
                            500, f"ValueError: Job with submission_id {body['submission_id']} already exists.\n.\n"
                        )
                        return
                    outer.jobs[body["submission_id"]] = "RUNNING"
                    outer.submitted += 1
                self.reply(200, {"submission_id": body["submission_id"]})

            def reply(self, code: int, body: Any) -> None:
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", fake.address)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    yield fake
    fake.http.shutdown()


@pytest.fixture
def place(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "jobs"))


def ask(store: Store, **changes: Any) -> Job:
    given: dict[str, Any] = {"recipe": "r", "listing": "l"} | changes
    return submit_or_attach(store, "small", "pretrain", NOTHING, **given)


def test_many_submitters_bring_one_job(server: FakeServer, place: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: ask(place), range(8)))
    assert {str(job.name) for job in found} == {"raytrain.small.pretrain.1"}
    assert server.submitted == 1
    assert [job.attached for job in found].count(False) == 1


@pytest.mark.parametrize(
    ("status", "n", "attached"),
    [("PENDING", 1, True), ("RUNNING", 1, True), ("SUCCEEDED", 1, True), ("FAILED", 2, False), ("STOPPED", 2, False)],
)
def test_the_newest_job_decides(server: FakeServer, place: Store, status: str, n: int, attached: bool) -> None:
    server.jobs[str(ask(place).name)] = status
    job = ask(place)
    assert (job.name.n, job.attached) == (n, attached)


def test_a_job_that_died_with_its_head_has_a_successor(server: FakeServer, place: Store) -> None:
    ask(place)
    server.jobs.clear()
    server.session = "session_2"
    job = ask(place)
    assert (job.name.n, job.attached) == (2, False)


def test_a_number_that_was_claimed_by_one_who_died_is_used(server: FakeServer, place: Store) -> None:
    ask(place)
    server.jobs.clear()  # as if the claimer had died before it could submit
    assert ask(place).name.n == 1
    assert [name.n for name, _ in read_claims(place, "small")] == [1]


def test_another_recipe_is_never_attached_to(server: FakeServer, place: Store) -> None:
    ask(place)
    other = ask(place, recipe="another")
    assert (other.name.n, other.attached) == (2, False)
    again = ask(place)
    assert (again.name.n, again.attached) == (1, True)


def test_a_finished_job_answers_for_the_objects_that_there_were(server: FakeServer, place: Store) -> None:
    server.jobs[str(ask(place).name)] = "SUCCEEDED"
    assert ask(place, listing="more").name.n == 2


def test_a_live_job_is_followed_though_objects_arrive(server: FakeServer, place: Store) -> None:
    ask(place)
    assert ask(place, listing="more").attached


def test_a_finished_job_whose_results_are_gone_is_done_again(server: FakeServer, place: Store) -> None:
    server.jobs[str(ask(place).name)] = "SUCCEEDED"
    assert ask(place, present=lambda: False).name.n == 2


def test_a_run_without_jobs_stops_without_ray(place: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    assert stop_jobs(place, "small") == []


@pytest.mark.parametrize(
    ("environment", "refuse", "says"),
    [
        ({"RAY_API_SERVER_ADDRESS": ""}, None, "RAY_API_SERVER_ADDRESS: not set"),
        ({"RAY_API_SERVER_ADDRESS": "head:8265"}, None, "is not an http address"),
        ({"RAY_API_SERVER_ADDRESS": "http://127.0.0.1:9"}, None, "nothing that is Ray answers"),
        ({}, 401, "asks for a token"),
        ({}, 403, "refuses this token"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": ""}, None, "there is none"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "RAY_AUTH_TOKEN_PATH": "/no/file"}, None, "cannot be read"),
        ({}, 500, "answered 500"),
    ],
)
def test_what_is_wrong_with_the_job_server_is_said_in_a_line(
    server: FakeServer,
    place: Store,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    refuse: int | None,
    says: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server.refuse = refuse
    with pytest.raises(UserError, match=says) as raised:
        ask(place)
    assert "\n" not in str(raised.value)
    assert read_claims(place, "small") == []


# -- Ray's own job server ----------------------------------------------------------------------------------------------


def of(store: Store, command: list[str], run: str) -> Callable[[], Job]:
    return lambda: submit_or_attach(store, run, "pretrain", command, recipe="r", listing="l")


@pytest.mark.slow
def test_ray_takes_one_of_many_and_ends_it_when_told(ground: Ground, place: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = [f.result() for f in [pool.submit(of(place, SLEEP, "race")) for _ in range(4)]]
    name = JobName("race", "pretrain", 1)
    assert {job.name for job in found} == {name}
    assert [job.attached for job in found].count(False) == 1
    wait_for(lambda: state(name).status == "RUNNING", "the job does not begin")
    assert stop_jobs(place, "race") == [name]
    assert state(name).status == "STOPPED"
    assert stop_jobs(place, "race") == []
    assert of(place, NOTHING, "race")().name.n == 2


@pytest.mark.slow
def test_an_exit_code_and_the_last_words_come_back(ground: Ground, place: Store) -> None:
    words = [sys.executable, "-c", "import sys; print('error: mend this', file=sys.stderr); sys.exit(75)"]
    name = of(place, words, "words")().name
    wait_for(lambda: not state(name).live, "the job does not end")
    found = state(name)
    assert (found.status, found.exit_code) == ("FAILED", 75)
    assert found.message.strip().splitlines()[-1] == "error: mend this"


@pytest.mark.slow
def test_the_real_server_refuses_without_its_token(
    ground: Ground, place: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    with pytest.raises(UserError, match="refuses this token"):
        of(place, NOTHING, "token")()
    monkeypatch.delenv("RAY_AUTH_MODE")
    with pytest.raises(UserError, match="asks for a token"):
        of(place, NOTHING, "token")()


@pytest.mark.slow
def test_a_new_head_knows_nothing_and_the_next_job_comes(ground: Ground, place: Store) -> None:
    first = of(place, SLEEP, "head")()
    ground.kill("ray")
    with pytest.raises(Unreachable):
        state(first.name)
    ground.stack.up()
    assert state(first.name).status == "UNKNOWN"
    assert of(place, NOTHING, "head")().name.n == 2
