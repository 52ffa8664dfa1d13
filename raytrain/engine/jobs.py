"""Ray jobs under deterministic names: submit or attach, ask how it is, stop. A dead flow never kills a training.

A job is called `raytrain.<run>.<step>.<n>`. The store says which n there were, by put-if-absent, and Ray's job server
says how each is; neither is believed about the other's part, since Ray's table dies with its head. Spoken to over
Ray's documented REST interface, so that whoever submits, follows or stops need not import Ray. The invariant: of
any number of submitters of one step of one run, one job comes and all of them follow it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shlex
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from raytrain.errors import UserError
from raytrain.store import Store

ANSWER_SECONDS = 60.0  # Ray's own wait for its agent is 60 in the worst case
STOP_SECONDS = 30  # a driver closes its books and its cluster's actors; Ray's default of 3 cuts that short
UNKNOWN = "UNKNOWN"  # Ray's table does not know it: another head, or not handed over yet
_NAME = re.compile(r"raytrain\.([A-Za-z0-9][A-Za-z0-9_-]{0,79})\.([a-z]+)\.([1-9][0-9]*)")


class Unreachable(UserError):
    """The job server does not answer now; what runs there may well go on."""


@dataclass(frozen=True, order=True)
class JobName:
    """The name of the n-th job of a step of a run, n from 1."""

    run: str
    step: str
    n: int

    def __str__(self) -> str:
        return f"raytrain.{self.run}.{self.step}.{self.n}"

    @staticmethod
    def parse(text: str) -> JobName | None:
        """Exactly what `str` gives, or None: a prefix of another run's name is not taken for it."""
        match = _NAME.fullmatch(text)
        return JobName(match[1], match[2], int(match[3])) if match else None

    @property
    def key(self) -> str:
        return f"{_folder(self.run)}/{self.step}/{self.n:05d}.json"


@dataclass(frozen=True)
class Claim:
    """What the store knows of a job: whose n it is, and what it was to do."""

    command: list[str]
    recipe: str
    """The digest of the recipe's identity: another recipe's job is never attached to."""
    listing: str
    """The digest of the sources' listing: a finished job answers only for the objects that there were."""
    session: str
    """The life of Ray's head in which n was claimed."""
    at: float


@dataclass(frozen=True)
class JobState:
    """How a job is: one of Ray's words PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED, or UNKNOWN."""

    status: str
    message: str = ""
    exit_code: int | None = None

    @property
    def live(self) -> bool:
        return self.status in ("PENDING", "RUNNING")


@dataclass(frozen=True)
class Job:
    """A job that is followed: submitted by this call, or found."""

    name: JobName
    state: JobState
    attached: bool


def submit_or_attach(
    store: Store,
    run: str,
    step: str,
    command: Sequence[str],
    *,
    recipe: str,
    listing: str,
    present: Callable[[], bool] = lambda: True,
) -> Job:
    """The job that does a step of a run: the live one, the one that has done it, or a new one.

    The newest n of this recipe decides. Live: attach. Succeeded, over the same objects, and `present` finds its
    results: attach. Failed, stopped, or lost with its head: the next n. Raises UserError where the job server's
    address or token is missing or wrong, Unreachable where it does not answer.
    """
    server = JobServer.from_environment()
    session = server.session()
    while True:
        claims = read_claims(store, run, step)
        mine = [(name, claim) for name, claim in claims if claim.recipe == recipe]
        if mine:
            name, claim = mine[-1]
            state = server.state(name)
            same = claim.listing == listing
            if state.live or (state.status == "SUCCEEDED" and same and present()):
                return Job(name, state, attached=True)
            if state.status == UNKNOWN and claim.session == session and same:  # claimed, not handed over yet
                return _hand_over(server, name, claim)
        name = JobName(run, step, claims[-1][0].n + 1 if claims else 1)
        claim = Claim(list(command), recipe, listing, session, time.time())
        if store.put_if_absent(name.key, json.dumps(asdict(claim)).encode()):
            return _hand_over(server, name, claim)


def stop_jobs(store: Store, run: str) -> list[JobName]:
    """Stops every live job of a run and waits for their ends; the names of those that it stopped.

    A driver is told by SIGTERM and killed after STOP_SECONDS. A run without jobs asks nothing of Ray.
    """
    claims = read_claims(store, run)
    if not claims:
        return []
    server = JobServer.from_environment()
    live = [name for name, _ in claims if server.state(name).live]
    for name in live:
        server.stop(name)
    deadline = time.monotonic() + 2 * STOP_SECONDS
    while any(server.state(name).live for name in live):
        if time.monotonic() > deadline:
            raise Unreachable(f"run {run!r}: its job does not end; look at it with `ray job list`")
        time.sleep(0.5)
    return live


def state(name: JobName) -> JobState:
    """How a job is, by Ray."""
    return JobServer.from_environment().state(name)


def last_lines(name: JobName, count: int) -> list[str]:
    """The last lines that a job's driver wrote, for one that left no journal."""
    return JobServer.from_environment().logs(name).splitlines()[-count:]


def read_claims(store: Store, run: str, step: str | None = None) -> list[tuple[JobName, Claim]]:
    """What jobs there were of a run (of one of its steps), in order of n within a step."""
    found = []
    for key in store.keys(f"{_folder(run)}/{step}" if step else _folder(run)):
        of, number = key.removesuffix(".json").rsplit("/", 2)[1:]
        found.append((JobName(run, of, int(number)), Claim(**json.loads(store.get(key)))))
    return sorted(found, key=lambda pair: pair[0])


@dataclass(frozen=True)
class JobServer:
    """Ray's job server over its REST interface."""

    address: str
    token: str | None

    @staticmethod
    def from_environment() -> JobServer:
        """By RAY_API_SERVER_ADDRESS; if RAY_AUTH_MODE=token, with the token that Ray's own tools would take."""
        address = os.environ.get("RAY_API_SERVER_ADDRESS", "").rstrip("/")
        if not address:
            raise UserError(
                "RAY_API_SERVER_ADDRESS: not set, so there is no Ray to submit jobs to; set it to the head's "
                'http://HOST:8265, or start everything here: raytrain up; eval "$(raytrain status --env)"'
            )
        if not address.startswith(("http://", "https://")):
            raise UserError(f"RAY_API_SERVER_ADDRESS: {address!r} is not an http address; write http://HOST:8265")
        return JobServer(address, _token())

    def session(self) -> str:
        """Which life of the head this is."""
        return str(self._ask("GET", "/api/version")[1]["session_name"])

    def state(self, name: JobName) -> JobState:
        code, body = self._ask("GET", f"/api/jobs/{name}")
        if code == 404:
            return JobState(UNKNOWN)
        return JobState(body["status"], body.get("message") or "", body.get("driver_exit_code"))

    def submit(self, name: JobName, command: Sequence[str]) -> bool:
        """True if this call brought the job, False if the name was taken."""
        request = {
            "submission_id": str(name),
            # `exec`: no shell stands between Ray's signals and the driver, or between its exit code and Ray.
            "entrypoint": f"exec {shlex.join(command)}",
            "entrypoint_num_cpus": 0,  # a driver waits; on the head, which outlives spot workers
            "metadata": {"run": name.run, "step": name.step},
            "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}},
        }
        code, body = self._ask("POST", "/api/jobs/", request)
        if code != 200 and "already exists" in body:
            return False
        if code != 200:
            raise Unreachable(f"RAY_API_SERVER_ADDRESS: {self.address} refused job {name}: {_last_line(str(body))}")
        return True

    def stop(self, name: JobName) -> None:
        self._ask("POST", f"/api/jobs/{name}/stop")

    def logs(self, name: JobName) -> str:
        code, body = self._ask("GET", f"/api/jobs/{name}/logs")
        return str(body["logs"]) if code == 200 else ""

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.address + path, data=data, headers=headers, method=method)
        try:
            with _opener(self.address).open(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, self._refusal(error.code, error.read().decode(errors="replace"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise Unreachable(
                f"RAY_API_SERVER_ADDRESS: nothing that is Ray answers at {self.address} ({reason}); "
                "is the cluster up? `raytrain status` knows about the one of `raytrain up`"
            ) from None

    def _refusal(self, code: int, text: str) -> str:
        if code == 401:
            raise UserError(
                f"RAY_AUTH_TOKEN: {self.address} asks for a token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
                "to the cluster's"
            )
        if code == 403:
            raise UserError(f"RAY_AUTH_TOKEN: {self.address} refuses this token; it is another cluster's")
        if code in (400, 404) or "already exists" in text:  # Ray 2.60 answers 500 to a name that is taken
            return text
        raise Unreachable(f"RAY_API_SERVER_ADDRESS: {self.address} answered {code}: {_last_line(text)}")


def _hand_over(server: JobServer, name: JobName, claim: Claim) -> Job:
    attached = not server.submit(name, claim.command)
    return Job(name, server.state(name), attached)


def _folder(run: str) -> str:
    return f"runs/{run}/jobs"


def _opener(address: str) -> urllib.request.OpenerDirector:
    """By the environment's proxy, except to this machine itself, which no proxy can reach."""
    host = urllib.parse.urlsplit(address).hostname or ""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        here = host == "localhost"
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if here else []))


def _token() -> str | None:
    """The cluster's token, looked for where Ray looks: RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH, ~/.ray/auth_token."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    given = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    if not given and (named or path.exists()):
        try:
            given = path.read_text(encoding="utf-8").strip()
        except OSError as error:
            name = "RAY_AUTH_TOKEN_PATH" if named else "RAY_AUTH_TOKEN"
            raise UserError(f"{name}: {path} cannot be read: {error.strerror}; mend it or set RAY_AUTH_TOKEN") from None
    if not given:
        raise UserError(
            "RAY_AUTH_TOKEN: RAY_AUTH_MODE is token, but there is none; set RAY_AUTH_TOKEN to the cluster's, "
            "RAY_AUTH_TOKEN_PATH to a file that holds it, or put it into ~/.ray/auth_token"
        )
    return given


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no reason given"
