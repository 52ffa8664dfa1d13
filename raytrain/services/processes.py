"""Processes that outlive the command that starts them, and how exactly these are found and ended again.

Every process is started in a session of its own with two variables in its environment, which its children inherit
whatever becomes of their parents: the mark of the folder and the part it plays. The invariant: only a process
that carries the mark, or descends from one that does, is ever sent a signal.
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

try:
    import psutil  # type: ignore[import-untyped]
except ModuleNotFoundError:  # raytrain without its services
    raise UserError("psutil: not installed; pip install 'raytrain[services]'") from None


@dataclass(frozen=True)
class Started:
    """A process as it is remembered: numbers are used again, so its birth (seconds since 1970) stands beside it."""

    pid: int
    born: float

    def process(self) -> psutil.Process | None:
        """The process if it is this very one and lives."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.born) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
        return process if same else None


def start(
    argv: Sequence[str], *, mark: str, part: str, environment: Mapping[str, str], folder: Path, log: Path
) -> Started:
    """Starts a program in `folder`, its output in `log`; the log of the time before is kept as `<log>.1`."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    with log.open("wb") as out:
        child = subprocess.Popen(
            argv,
            cwd=folder,
            env={**environment, MARK: mark, PART: part},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(child.pid, psutil.Process(child.pid).create_time())


def exit_code(started: Started) -> int | None:
    """The code a child of ours has ended with; None while it runs, or when it is nobody's child any more."""
    try:
        pid, status = os.waitpid(started.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


def marked(mark: str, part: str | None = None) -> list[psutil.Process]:
    """The living processes that carry the mark (and play the part), and their descendants."""
    found: dict[int, psutil.Process] = {}
    wanted = {MARK: mark} if part is None else {MARK: mark, PART: part}
    own = os.getpid()
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if process.pid == own or wanted.items() - environment.items():
                continue
            if process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process
                found.update((child.pid, child) for child in process.children(recursive=True) if child.pid != own)
        except (psutil.Error, OSError):
            continue  # it ended meanwhile, or belongs to somebody else
    return list(found.values())


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> None:
    """Asks politely, waits, then kills. Without grace it kills at once; returns when all are gone."""
    left = list(processes)
    if grace_seconds > 0:
        for process in left:
            _signal(process, kill=False)
        _, left = psutil.wait_procs(left, timeout=grace_seconds)
    for process in left:
        _signal(process, kill=True)
    psutil.wait_procs(left, timeout=10)


def end_marked(mark: str, part: str | None = None) -> None:
    """Kills whatever carries the mark until nothing does: a process may start another while it is looked for."""
    deadline = time.monotonic() + 20
    while (left := marked(mark, part)) and time.monotonic() < deadline:
        end(left, 0)


def command_line(process: psutil.Process) -> list[str]:
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
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return None


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.Error:
        pass
