"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once.

The invariant: what the user can mend is one line on standard error, with exit code 1 (2 for a command that is
written wrongly); with --json a command that ends prints one object as its last line of standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

STOPPED = 130


def main() -> None:
    """The `raytrain` command."""
    from raytrain.cli.app import app

    run_as_command(lambda: app(standalone_mode=False))


def run_as_command(work: Callable[[], int | None]) -> None:
    """Does the work of a program and exits: with its code, or with one line and the code of what went wrong."""
    import typer

    from raytrain.errors import Superseded, UserError

    usage_error: type[Exception] = typer.BadParameter.__bases__[0]
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        code = work() or 0
        sys.stdout.flush()
        if code == STOPPED:  # typer makes an exit code of an interrupt
            raise KeyboardInterrupt
        sys.exit(code)
    except Superseded as error:
        _end(3, f"superseded: {error}")
    except UserError as error:
        _end(1, f"error: {error}")
    except (typer.Abort, KeyboardInterrupt):
        _end(STOPPED, "stopped: run the same command again to resume")
    except BrokenPipeError:  # `raytrain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except usage_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error)
            sys.exit(2)
        message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
        _end(2, f"error: {message}; see `{_command(error)} --help`")
    except Exception as error:
        if not _is_circumstance(error) or os.environ.get("RAYTRAIN_TRACEBACK"):
            raise
        _end(1, f"error: {type(error).__name__}: {error}; RAYTRAIN_TRACEBACK=1 shows where")
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(code: int, line: str) -> None:
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(code)


def _stop(number: int, frame: FrameType | None) -> None:
    """A scheduler's polite end is a person's Ctrl-C: leave the books in order, and hear it once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _is_circumstance(error: Exception) -> bool:
    """Files and networks fail for reasons outside this program; anything else is a defect and shows itself."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("botocore", "aiobotocore")


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context else "raytrain"


__all__ = ["main", "run_as_command"]
