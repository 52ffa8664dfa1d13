"""Processes that outlive the command that starts them, and how exactly these are found and ended again.

Every process is started in a session of its own with two variables in its environment, which its children inherit
whatever becomes of their parents: the mark of the folder and the part it plays. Some of Ray's overwrite their
environment with their title; these are known by their session. The invariant: only a process that was started here,
or descends from one that was, is ever sent a signal.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raytrain.errors import UserError

MARK = "RAYTRAIN_SERVICES"
PART = "RAYTRAIN_SERVICE"
SESSIONS = "sessions"

try:
    import psutil  # type: ignore[import-untyped]
    from psutil import Process as Process
except ModuleNotFoundError:  # raytrain without its services
    raise UserError("psutil: not installed; pip install 'raytrain[services]'") from None


@dataclass(frozen=True)
class Started:
    """A process as it is remembered: numbers are used again, so its birth (seconds since 1970) stands beside it."""

    pid: int
    born: float

    def process(self) -> Process | None:
        """The process if it is this very one and lives."""
        try:
            process = Process(self.pid)
            same = abs(process.create_time() - self.born) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same else None


@dataclass(frozen=True)
class Mark:
    """What a folder's processes carry; `folder` keeps the list of sessions begun, and what they have open."""

    word: str
    folder: Path

    def begun(self, part: str | None) -> set[int]:
        """The sessions begun (for a part). Numbers are used again: alone they prove nothing."""
        try:
            lines = [line.split() for line in (self.folder / SESSIONS).read_text().splitlines()]
        except FileNotFoundError:
            return set()
        return {int(session) for session, of in lines if part in (None, of)}

    def begin(self, session: int, part: str) -> None:
        with (self.folder / SESSIONS).open("a") as file:
            file.write(f"{session} {part}\n")

    def forget(self) -> None:
        (self.folder / SESSIONS).unlink(missing_ok=True)


def start(
    argv: Sequence[str], *, mark: Mark, part: str, environment: Mapping[str, str], folder: Path, log: Path
) -> Started:
    """Starts a program in `folder`, its output in `log`; the log of the time before is kept as `<log>.1`."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as out:
        child = subprocess.Popen(
            argv,
            cwd=folder,
            env={**environment, MARK: mark.word, PART: part},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    mark.begin(child.pid, part)
    return Started(child.pid, Process(child.pid).create_time())


def exit_code(started: Started) -> int | None:
    """The code a child of ours has ended with; None while it runs, or when it is nobody's child any more."""
    try:
        pid, status = os.waitpid(started.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


def marked(mark: Mark, part: str | None = None) -> list[Process]:
    """The living processes that carry the mark (and play the part), share a session with one, or descend from one.

    One that is left alone in its session and has lost its mark is known by both: we began the session, and it has
    a file of the folder's open.
    """
    wanted = {MARK: mark.word} if part is None else {MARK: mark.word, PART: part}
    living = [(process, session) for process in psutil.process_iter() if (session := _session(process))]
    sure = [(process, session) for process, session in living if not wanted.items() - _environment(process).items()]
    sessions, begun = {session for _, session in sure}, mark.begun(part)
    found = {process.pid: process for process, _ in sure}
    for process, session in living:
        if session in sessions or (session in begun and _holds(process, mark.folder)):
            found[process.pid] = process
            found |= {child.pid: child for child in _descendants(process)}
    found.pop(os.getpid(), None)
    return list(found.values())


def end(processes: Iterable[Process], grace_seconds: float) -> None:
    """Asks politely, waits, then kills. Without grace it kills at once; returns when all are gone."""
    left = list(processes)
    if grace_seconds > 0:
        for process in left:
            _signal(process, kill=False)
        _, left = psutil.wait_procs(left, timeout=grace_seconds)
    for process in left:
        _signal(process, kill=True)
    psutil.wait_procs(left, timeout=10)


def end_marked(mark: Mark, part: str | None = None) -> None:
    """Kills whatever carries the mark until nothing does: a process may start another while it is looked for."""
    deadline = time.monotonic() + 20
    while (left := marked(mark, part)) and time.monotonic() < deadline:
        end(left, 0)


def command_line(process: Process) -> list[str]:
    """The words it was started with; none when it has ended or will not say."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def listener(port: int) -> str | None:
    """Who listens on a port of loopback, as far as one may know."""
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return None


def _session(process: Process) -> int:
    """Its session; 0 for one that ended, or shares ours."""
    try:
        session = os.getsid(process.pid)
        return session if session != os.getsid(0) and process.status() != psutil.STATUS_ZOMBIE else 0
    except (psutil.Error, OSError):
        return 0


def _environment(process: Process) -> dict[str, str]:
    try:
        return dict(process.environ())
    except (psutil.Error, OSError):  # it ended meanwhile, or belongs to somebody else
        return {}


def _holds(process: Process, folder: Path) -> bool:
    """Whether it has a file open below a folder."""
    try:
        return any(Path(file.path).is_relative_to(folder) for file in process.open_files())
    except (psutil.Error, OSError):
        return False


def _descendants(process: Process) -> list[Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _signal(process: Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        pass
