"""All the services of a machine together: up, down, and how they are.

What each of them is stands in its own module; here is the order. The invariant: after `down`, and after an `up`
that failed, no process that it started lives and nothing of it lies outside its folder.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from raytrain.errors import UserError
from raytrain.services import metrics, objectstore, prefect, processes, programs, ray
from raytrain.services import place as places
from raytrain.services.place import BUCKET, HOST, Place
from raytrain.services.processes import Process, Started
from raytrain.services.service import Service

PARTS = ("store", "prefect", "ray", "worker", "exporter", "prometheus")
NEEDS = {"worker": "prefect", "exporter": "store"}
DEPLOYMENTS = "deployments"
START_SECONDS = 240  # a service that is not well by then is given up
PATIENCE_SECONDS = 60  # for one that lives but does not answer; Prefect was once found silent for half a minute
LEAVE_SECONDS = 10  # what a service has to leave when it is asked
SAVE_SECONDS = 25  # what a training in it has to save itself

Say = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """A service as it is found: `healthy`, `ill` (it lives and does not answer) or `down`."""

    service: str
    state: str
    port: int | None
    url: str
    since: float | None


def up(folder: Path, *, base_port: int | None, cpus: int | None, without: Sequence[str], say: Say) -> Place:
    """Starts what does not run and returns when all is well. Raises UserError, with everything it started ended."""
    began = time.monotonic()
    unknown = sorted(set(without) - set(PARTS))
    if unknown:
        raise UserError(f"--without {unknown[0]}: no such service; there are {', '.join(PARTS)}")
    place = places.found(folder, base_port, cpus)
    with _alone(place):
        if "prometheus" not in without and not programs.present("prometheus"):
            say("prometheus: not installed, so no metrics are collected; infra/get-prometheus.sh FOLDER fetches it")
            without = (*without, "prometheus")
        place = _settled(places.load(folder) or place, place, without)
        places.prepare(place)
        place.link()
        try:
            missing = [s for s in _services(place) if not _is_well(place, s)]
            digest = prefect.deployments_digest(place) if "prefect" not in place.without else None
            if not missing and digest == place.deployed:
                say(f"already up: {_figures(place)}")
                return place
            place = _start_all(place, missing, digest, say)
        finally:
            if not processes.marked(place.mark):
                places.clean(place)
    say(f"up in {time.monotonic() - began:.0f} s: {_figures(place)}")
    return place


def down(folder: Path, *, wipe: bool, say: Say) -> None:
    """Ends every process of the folder's services, and removes what lies outside it (with `wipe`, it as well)."""
    place = places.load(folder)
    if place is None:
        say(f"nothing is up: there are no services in {folder}")
        return
    with _alone(place):
        place = places.load(folder) or place
        living = processes.marked(place.mark)
        if living:
            jobs = ray.running_jobs(place.environment())
            if jobs:
                say(f"warning: Ray was at {', '.join(jobs)}; a run goes on from its last checkpoint when started again")
            _end(place, living)
        places.clean(place)
        place.saved(processes={})
        say(f"down: {len(living)} processes ended" if living else "already down")
    if wipe:
        shutil.rmtree(place.folder)
        say(f"{place.folder} deleted")


def states(place: Place) -> list[State]:
    """How each service is."""
    with ThreadPoolExecutor(len(PARTS)) as pool:
        return list(pool.map(lambda service: _state(place, service), _services(place)))


def _settled(known: Place, wanted: Place, without: Sequence[str]) -> Place:
    """What was asked for, if it does not contradict what runs."""
    asked = set(without) | {part for part, need in NEEDS.items() if need in without}
    lacking = tuple(part for part in PARTS if part in asked)
    runs = any(process.process() for process in known.processes.values())
    if runs and known.base_port != wanted.base_port:
        raise UserError(
            f"--base-port {wanted.base_port}: the services are up from {known.base_port} on; `raytrain down` first"
        )
    if runs and known.cpus != wanted.cpus:
        raise UserError(f"--cpus {wanted.cpus}: the services are up with {known.cpus}; `raytrain down` first")
    if runs and lacking and set(lacking) & {name for name, p in known.processes.items() if p.process()}:
        raise UserError(f"--without {lacking[0]}: it is up; `raytrain down` first")
    if runs and replace(known, without=lacking).environment() != known.environment():
        before = " ".join(f"--without {part}" for part in known.without) or "all of them"
        raise UserError(f"--without: what runs was started with {before}; repeat that, or `raytrain down` first")
    root = known.root if runs else wanted.root
    return known.saved(base_port=wanted.base_port, cpus=wanted.cpus, root=root, without=lacking)


def _services(place: Place) -> list[Service]:
    made: dict[str, Callable[[Place], Service]] = {
        "store": _store,
        "prefect": prefect.server,
        "ray": ray.service,
        "worker": prefect.worker,
        "exporter": metrics.exporter,
        "prometheus": metrics.prometheus,
    }
    return [made[part](place) for part in PARTS if part not in place.without]


def _store(place: Place) -> Service:
    ports = place.ports_of("store")
    folder = place.folder / "store"
    return Service(
        name="store",
        argv=objectstore.command(programs.find("weed"), ports),
        environment=place.services_environment() | objectstore.ENVIRONMENT | {"HOME": str(place.folder / "home")},
        folder=folder,
        ports=ports,
        url=objectstore.endpoint(ports),
        healthy=lambda _: objectstore.ready(ports),
        before=lambda: objectstore.configure(folder, [place.identity()]),
        then=lambda: objectstore.make_bucket(objectstore.endpoint(ports), BUCKET, place.identity()),
    )


def _start_all(place: Place, missing: Sequence[Service], digest: str | None, say: Say) -> Place:
    """Starts the services beside each other, each as soon as what it needs is well."""
    for service in missing:
        _end_remains(place, service)
    _check_ports(missing)
    started: dict[str, Started] = {}
    stop = threading.Event()
    wells = {service.name: threading.Event() for service in missing}
    tasks: list[Future[None]] = []
    pool = ThreadPoolExecutor(len(missing) + 1)
    try:
        with _interruptible():
            for service in missing:
                needs = [wells[name] for name in service.after if name in wells]
                tasks.append(pool.submit(_bring_up, place, service, started, needs, wells[service.name], stop, say))
            if digest is not None and digest != place.deployed:
                needs = [wells["prefect"]] if "prefect" in wells else []
                tasks.append(pool.submit(_deploy, place, started, needs, stop, say))
            for task in wait(tasks, return_when=FIRST_EXCEPTION).done:
                task.result()
    except BaseException:
        stop.set()
        pool.shutdown()
        for service in missing:
            processes.end_marked(place.mark, service.name)
        processes.end_marked(place.mark, DEPLOYMENTS)
        raise
    finally:
        stop.set()
        pool.shutdown()
    started.pop(DEPLOYMENTS, None)
    return place.saved(processes=place.processes | started, deployed=digest)


def _end_remains(place: Place, service: Service) -> None:
    """What is left of a service that is to be started again; not the work that outlived a worker."""
    if not service.keeps_orphans:
        processes.end_marked(place.mark, service.name)
        return
    words = list(service.argv)
    same = [p for p in processes.marked(place.mark, service.name) if processes.command_line(p)[-len(words) :] == words]
    processes.end(same, LEAVE_SECONDS)


def _bring_up(
    place: Place,
    service: Service,
    started: dict[str, Started],
    needs: Sequence[threading.Event],
    well: threading.Event,
    stop: threading.Event,
    say: Say,
) -> None:
    if not _all_set(needs, stop):
        return
    began = time.monotonic()
    service.before()
    process = _start(place, service.name, service.argv, service.environment, service.folder)
    started[service.name] = process
    while not service.healthy(process):
        code = processes.exit_code(process)
        if code is not None:
            raise _failure(place, service.name, f"ended with code {code}", say)
        if time.monotonic() - began > START_SECONDS:
            raise _failure(place, service.name, f"was not well after {START_SECONDS} s", say)
        if stop.wait(0.2):
            return
    service.then()
    well.set()
    say(f"{service.name:<11} well after {time.monotonic() - began:4.1f} s  {service.url}")


def _deploy(
    place: Place, started: dict[str, Started], needs: Sequence[threading.Event], stop: threading.Event, say: Say
) -> None:
    if not _all_set(needs, stop):
        return
    began = time.monotonic()
    argv, environment = prefect.deploy_command(place), prefect.deploy_environment(place)
    process = started[DEPLOYMENTS] = _start(place, DEPLOYMENTS, argv, environment, place.root)
    while (code := processes.exit_code(process)) is None:
        if time.monotonic() - began > START_SECONDS:
            raise _failure(place, DEPLOYMENTS, f"were not registered after {START_SECONDS} s", say)
        if stop.wait(0.2):
            return
    if code:
        raise _failure(place, DEPLOYMENTS, f"could not be registered (`prefect deploy` ended with {code})", say)
    say(f"{DEPLOYMENTS:<11} made after {time.monotonic() - began:4.1f} s  {place.root / 'prefect.yaml'}")


def _start(place: Place, part: str, argv: Sequence[str], environment: object, folder: Path) -> Started:
    return processes.start(
        argv,
        mark=place.mark,
        part=part,
        environment=environment,  # type: ignore[arg-type]
        folder=folder,
        log=place.log(part),
    )


def _all_set(needs: Sequence[threading.Event], stop: threading.Event) -> bool:
    while not all(need.is_set() for need in needs):
        if stop.wait(0.1):
            return False
    return True


def _end(place: Place, living: Sequence[Process]) -> None:
    """Who hands out work first, then the work, then who looks on, then what it all stands on."""
    _end_parts(place, "worker")
    processes.end_marked(place.mark, "worker")  # its flows: none may start again what is ended next
    processes.end([p for p in living if "raytrain.step" in processes.command_line(p)], SAVE_SECONDS)
    _end_parts(place, "exporter", "prometheus", "prefect", "ray")
    processes.end(living, 0)  # the store among them: it would take 16 s to leave, and loses nothing by this
    processes.end_marked(place.mark)


def _end_parts(place: Place, *names: str) -> None:
    remembered = [process for name, process in place.processes.items() if name in names]
    processes.end([living for one in remembered if (living := one.process())], LEAVE_SECONDS)


def _is_well(place: Place, service: Service) -> bool:
    """Whether it runs and answers; one that lives is given time, for a busy machine is no reason for a restart."""
    process = place.processes.get(service.name)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process is not None and process.process():
        if service.healthy(process):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return False


def _state(place: Place, service: Service) -> State:
    process = place.processes.get(service.name)
    port = service.ports[0] if service.ports else None
    if process is None or not process.process():
        return State(service.name, "down", port, service.url, None)
    return State(service.name, "healthy" if service.healthy(process) else "ill", port, service.url, process.born)


def _check_ports(services: Sequence[Service]) -> None:
    """Before anything starts: every port must be free. Raises UserError for the first that is not."""
    for service in services:
        for port in service.ports:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except OSError:
                    holder = processes.listener(port)
                    by = f" by {holder}" if holder else ""
                    raise UserError(
                        f"{service.name}: port {port} is in use{by}; choose others with --base-port"
                    ) from None


def _failure(place: Place, part: str, what: str, say: Say) -> UserError:
    log = place.log(part)
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-40:]
    for line in lines:
        say(f"  {part} | {line[:1000]}")
    return UserError(f"{part}: {what}; its last lines stand above, all of them in {log}")


def _figures(place: Place) -> str:
    named = {"prefect": ("Prefect", "prefect"), "ray": ("Ray", "dashboard"), "store": ("S3", "s3")}
    shown = [f"{name} {place.url(port)}" for part, (name, port) in named.items() if part not in place.without]
    return (
        ", ".join(shown or ["none of Prefect, Ray and S3"])
        + '; eval "$(raytrain status --env)" points this shell at them'
    )


@contextmanager
def _alone(place: Place) -> Iterator[None]:
    """One `up` or `down` at a time in a folder."""
    with (place.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"--folder {place.folder}: another `raytrain up` or `down` is at work in it; wait"
            ) from None
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """A shell starts `raytrain up &` deaf to Ctrl-C, and children would inherit it: Prefect then never stops."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
    else:
        yield
