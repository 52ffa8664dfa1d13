"""Whom the job server's client believes: the token that Ray itself would take, and no proxy to this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from raytrain.engine.jobs import JobServer, Unreachable
from raytrain.errors import UserError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and an environment that asks for a token and has none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return tmp_path


def test_the_token_is_looked_for_where_ray_looks_in_its_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("of-the-home\n")
    assert JobServer.from_environment().token == "of-the-home"
    (home / "file").write_text("of-the-file\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "file"))
    assert JobServer.from_environment().token == "of-the-file"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-the-environment")
    assert JobServer.from_environment().token == "of-the-environment"
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert JobServer.from_environment().token is None


def test_who_has_no_token_learns_of_all_three_places(home: Path) -> None:
    with pytest.raises(UserError, match=r"RAY_AUTH_TOKEN .*RAY_AUTH_TOKEN_PATH .*~/\.ray/auth_token"):
        JobServer.from_environment()


def test_a_file_that_is_named_and_not_there_is_said_and_not_passed_over(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "nothing"))
    with pytest.raises(UserError, match=r"RAY_AUTH_TOKEN_PATH: .*nothing cannot be read"):
        JobServer.from_environment()


@pytest.fixture
def server() -> Iterator[str]:
    """The host and port of what answers any GET with the name of a session."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"session_name": f"asked for {self.path}"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_asked_without_a_proxy(server: str, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    _proxy(monkeypatch, "http://127.0.0.1:1")  # nothing answers there
    address = f"http://{host}:{server.rpartition(':')[2]}"
    assert JobServer(address, None).session() == "asked for /api/version"


def test_another_machine_is_asked_through_the_proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _proxy(monkeypatch, f"http://{server}")
    assert JobServer("http://head.invalid:8265", None).session() == "asked for http://head.invalid:8265/api/version"
    _proxy(monkeypatch, "http://127.0.0.1:1")
    with pytest.raises(Unreachable):
        JobServer("http://head.invalid:8265", None).session()


def _proxy(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
