"""The one exception that a user is meant to read."""

from __future__ import annotations

import errno


class UserError(Exception):
    """A mistake or a circumstance that the user can mend.

    The message is one line: the field or place, the value found, the remedy. The command line prints it
    without a traceback and exits with 1.
    """


class Superseded(UserError):
    """A newer attempt owns the run; this writer must stop and has harmed nothing."""


class Busy(UserError):
    """Another live attempt owns the run."""


class Unreachable(OSError):
    """A store gave no good answer for as long as patience lasts; the same work may be tried again later."""


def disk_full(error: OSError, where: str) -> OSError | UserError:
    """The readable form of an out-of-space error; any other error is returned as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"{where}: no space left on the device; free some or point `store` elsewhere, then run the same "
            "command again: finished shards and checkpoints are kept"
        )
    return error
