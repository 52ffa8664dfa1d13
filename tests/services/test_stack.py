"""The services of a machine, for real: up, used, killed, up again, down; nothing stays.

The tests follow one set of services through its life, in the order in which they stand here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import jsonschema
import pytest

from raytrain.observe.dashboards import panel_queries
from raytrain.services import processes, programs, stack
from raytrain.services.web import ask, well
from raytrain.store import Store
from tests.parts.stack import COMMAND, ROOT, Stack, free_base_port

pytestmark = pytest.mark.slow

CONTRACT = {
    "PREFECT_API_URL",
    "PREFECT_HOME",
    "RAY_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
    "RAYTRAIN_STORE",
    "RAYTRAIN_ROOT",
    "DO_NOT_TRACK",
}
FLOW = """
import os
from prefect import flow

@flow(log_prints=True)
def look() -> None:
    absent = CONTRACT - os.environ.keys()
    assert not absent, absent
    assert os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    print("all is there")
""".replace("CONTRACT", repr(CONTRACT))
DEPLOYMENTS = """
name: services
pull:
  - prefect.deployments.steps.set_working_directory: {directory: "{{ $RAYTRAIN_ROOT }}"}
deployments:
  - name: local
    entrypoint: flows/look.py:look
    work_pool: {name: raytrain-local}
    schedules: [{cron: "0 2 * * *", timezone: UTC}]
  - name: elsewhere
    entrypoint: flows/look.py:look
    work_pool: {name: a-pool-of-another-cluster}
"""


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started once; with a root that holds one flow, and a home of its own."""
    folder = tmp_path_factory.mktemp("services")
    (folder / "root" / "flows").mkdir(parents=True)
    (folder / "root" / "flows" / "look.py").write_text(FLOW)
    (folder / "root" / "prefect.yaml").write_text(DEPLOYMENTS)
    (folder / "home").mkdir()
    made = Stack(folder / "services", free_base_port(), folder / "root", folder / "home")
    try:
        print(made.up().stdout)
        yield made
    finally:
        made.run("down", ok=False)


def wait_until(true: object, seconds: float = 120) -> None:
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


def kill_everything(services: Stack) -> None:
    for process in processes.marked(services.place().mark):
        try:
            process.kill()
        except processes.psutil.NoSuchProcess:
            pass


def of_these(services: Stack) -> list[str]:
    """Every process on the machine that has to do with these services, by environment, words or open files."""
    place, found = services.place(), []
    signs = [sign.encode() for sign in (place.word, str(place.folder), str(place.short))]
    for proc in (Path(f"/proc/{pid}") for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()):
        try:
            words = (proc / "cmdline").read_bytes()
            told = (proc / "environ").read_bytes() + words + b"".join(opened(proc))
        except OSError:
            continue
        if any(sign in told for sign in signs):
            found.append(f"{proc.name} {words[:80]!r}")
    return found


def opened(proc: Path) -> Iterator[bytes]:
    for link in [proc / "cwd", *(proc / "fd").iterdir()]:
        try:
            yield os.readlink(link).encode()
        except OSError:
            continue


def outside(services: Stack) -> list[str]:
    """Files outside the folder that the services left."""
    place = services.place()
    ports = [str(port) for part in stack.PARTS for port in place.ports_of(part)]
    ours = [place.word[:8], *ports, "plasma"]
    left = [p for f in ("/tmp", "/dev/shm", "/var/tmp") for p in Path(f).iterdir() if any(o in p.name for o in ours)]
    assert services.home is not None
    return [str(p) for p in [*left, *services.home.rglob("*")]]


def test_every_service_answers(services: Stack) -> None:
    status = json.loads(services.run("status", "--json").stdout.splitlines()[-1])
    jsonschema.validate(status, json.loads((ROOT / "docs" / "schemas" / "status.json").read_text()))
    expected = [p for p in stack.PARTS if p != "prometheus" or programs.present("prometheus")]
    assert [(s["service"], s["state"]) for s in status["services"]] == [(name, "healthy") for name in expected]


def test_the_printed_environment_points_a_shell_at_them(services: Stack) -> None:
    names = "PREFECT_API_URL RAY_API_SERVER_ADDRESS RAY_AUTH_TOKEN AWS_ENDPOINT_URL"
    printed = services.run("status", "--env").stdout
    script = f'{printed}\nfor n in {names}; do eval "printf \'%s\\n\' \\"\\$$n\\""; done'
    prefect, ray, token, s3 = subprocess.check_output(["sh", "-c", script], text=True).split()
    wait_until(lambda: well(f"{prefect}/health") and well(f"{s3}/healthz"))
    assert well(f"{ray}/api/version", {"Authorization": f"Bearer {token}"}) and not well(f"{ray}/api/version")
    assert services.environment().keys() >= CONTRACT


def test_nothing_listens_beyond_loopback(services: Stack) -> None:
    for process in processes.marked(services.place().mark):
        for connection in process.net_connections("inet"):
            if connection.status == processes.psutil.CONN_LISTEN:
                assert connection.laddr.ip in ("127.0.0.1", "::ffff:127.0.0.1", "::1"), process.cmdline()


def test_a_second_up_changes_nothing(services: Stack) -> None:
    before = services.place()
    assert "already up" in services.up().stdout
    assert services.place() == before
    moved = services.run("up", "--base-port", str(services.base_port + 1), ok=False)
    assert moved.returncode == 1 and "`raytrain down` first" in moved.stderr


def test_a_schedule_gets_its_runs(services: Stack) -> None:
    url = f"{services.environment()['PREFECT_API_URL']}/flow_runs/filter"
    wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    wait_until(lambda: json.loads((ask(url, body=wanted) or (0, b"[]"))[1]))


def test_only_this_machines_deployments_are_registered(services: Stack) -> None:
    answer = ask(f"{services.environment()['PREFECT_API_URL']}/deployments/filter", body={})
    assert answer is not None and [d["name"] for d in json.loads(answer[1])] == ["local"]


def test_a_flow_finds_its_environment_in_the_worker(services: Stack) -> None:
    argv = [str(programs.find("prefect")), "deployment", "run", "look/local", "--watch"]
    done = subprocess.run(argv, env=os.environ | services.environment(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is there" in done.stdout


def test_prometheus_collects_from_all(services: Stack) -> None:
    if not programs.present("prometheus"):
        pytest.skip("no prometheus")
    url = f"{services.place().url('prometheus')}/api/v1/targets"

    def all_up() -> bool:
        answer = ask(url)
        assert answer is not None
        targets = json.loads(answer[1])["data"]["activeTargets"]
        return {t["labels"]["job"] for t in targets if t["health"] == "up"} >= {"raytrain", "ray", "prefect"}

    wait_until(all_up)


@pytest.mark.parametrize("query", [q for q in panel_queries() if q[2] != "raytrain"], ids=lambda q: q[1])
def test_panels_of_ray_and_prefect_have_data(services: Stack, query: tuple[str, str, str, str]) -> None:
    if not programs.present("prometheus"):
        pytest.skip("no prometheus")
    expr = query[3].replace("$cluster", ".*").replace("running|failed|crashed", ".*")  # what may be, here

    def has_data() -> bool:
        url = f"{services.place().url('prometheus')}/api/v1/query?{urlencode({'query': expr})}"
        answer = ask(url)
        assert answer is not None
        return bool(json.loads(answer[1])["data"]["result"])

    wait_until(has_data)


def test_what_died_is_started_again_and_the_rest_left_alone(services: Stack) -> None:
    before = services.place()
    dead = before.processes["exporter"].process()
    assert dead is not None
    dead.kill()
    wait_until(lambda: before.processes["exporter"].process() is None)
    down = services.run("status", ok=False)
    assert down.returncode == 1 and "exporter is down; `raytrain up`" in down.stderr
    services.up()
    after = services.place()
    assert {n for n in after.processes if after.processes[n] != before.processes[n]} == {"exporter"}


def test_all_comes_back_after_kill_9_with_its_data(services: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    before = services.environment()
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    Store(before["RAYTRAIN_STORE"]).put("kept", b"data")
    kill_everything(services)
    wait_until(lambda: not of_these(services))
    services.up()
    assert services.environment() == before
    assert Store(before["RAYTRAIN_STORE"]).get("kept") == b"data"
    answer = ask(
        f"{before['PREFECT_API_URL']}/flow_runs/count", body={"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    )
    assert answer is not None and int(answer[1]) == 1


def test_down_names_what_is_at_work_and_ends_it_with_its_orphans(services: Stack) -> None:
    environment = services.environment()
    headers = {"Authorization": f"Bearer {environment['RAY_AUTH_TOKEN']}"}
    url = f"{environment['RAY_API_SERVER_ADDRESS']}/api/jobs/"
    job = {"submission_id": "raytrain.some-run.pretrain.1", "entrypoint": "(setsid sleep 1000 &) ; sleep 1000"}
    assert (ask(url, headers=headers, body=job, timeout_seconds=60) or (0,))[0] == 200
    wait_until(lambda: sum("sleep" in line for line in of_these(services)) >= 2)
    said = services.run("down").stdout
    assert "raytrain.some-run.pretrain.1" in said
    assert of_these(services) == [] and outside(services) == []


def test_down_twice_says_so(services: Stack) -> None:
    assert "already down" in services.run("down").stdout


def test_up_and_down_once_more_leave_nothing(services: Stack) -> None:
    services.up()
    services.run("status")
    services.run("down")
    assert of_these(services) == [] and outside(services) == []


def test_kill_9_then_down_leaves_nothing(services: Stack) -> None:
    services.up("--without", "prefect", "--without", "ray")
    kill_everything(services)
    services.run("down")
    assert of_these(services) == [] and outside(services) == []


def test_wipe_deletes_the_folder(services: Stack) -> None:
    services.run("down", "--wipe")
    assert not services.folder.exists()


def small(folder: Path) -> tuple[Stack, list[str]]:
    """Services of their own without the two large ones."""
    for name in ("root", "home"):
        (folder / name).mkdir()
    made = Stack(folder / "services", free_base_port(), folder / "root", folder / "home")
    return made, ["--without", "prefect", "--without", "ray"]


def test_one_that_does_not_start_is_quoted_and_the_others_are_ended(tmp_path: Path) -> None:
    if not programs.present("prometheus"):
        pytest.skip("no prometheus")
    services, options = small(tmp_path)
    (services.root / "dashboards").mkdir()
    (services.root / "dashboards" / "rules.yml").write_text("groups: [{name: broken, rules: [{alert: A, expr: '('}]}]")
    done = services.up(*options, ok=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: prometheus: ended with code") and len(done.stderr.splitlines()) == 1
    assert "prometheus | " in done.stdout and "parse error" in done.stdout
    assert of_these(services) == [] and outside(services) == []


def test_an_interrupted_up_leaves_nothing(tmp_path: Path) -> None:
    services, options = small(tmp_path)
    argv = [*COMMAND, "up", "--folder", str(services.folder), "--base-port", str(services.base_port), *options]
    environment = os.environ | {"HOME": str(services.home), "RAYTRAIN_ROOT": str(services.root)}
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and "well after" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert of_these(services) == [] and outside(services) == []


def test_a_callers_proxy_and_profile_do_not_stand_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # nobody is there
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "elsewhere")
    services, options = small(tmp_path)
    try:
        said = services.up(*options).stdout
        assert services.place().url("s3") in said and services.place().url("dashboard") not in said
        assert json.loads(services.run("status", "--json").stdout.splitlines()[-1])["runs"] == []
        another = services.up(ok=False)
        assert another.returncode == 1 and "`raytrain down` first" in another.stderr
        assert "already up" in services.up(*options).stdout
    finally:
        services.run("down")
    assert of_these(services) == [] and outside(services) == []
