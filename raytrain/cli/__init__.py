"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once.

The invariant: a UserError is one line on standard error and exit code 1; with --json a command that ends prints
one object as its last line of standard output.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The `raytrain` command."""
    from raytrain.cli.app import app
    from raytrain.errors import Superseded, UserError

    try:
        app()
    except Superseded as error:
        print(f"superseded: {error}", file=sys.stderr)
        sys.exit(3)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped: run the same command again to resume", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `raytrain ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


__all__ = ["main"]
