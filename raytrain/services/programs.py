"""Where the programs of the services are found. Starts nothing.

The invariant: a program installed beside this Python wins over one on the PATH, so that server, worker and client
come from one environment and have one version.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from raytrain.errors import UserError

_REMEDIES = {
    "prometheus": "install Debian's `prometheus`, or run infra/get-prometheus.sh FOLDER with a folder on the PATH",
    "promtool": "it comes with prometheus: run infra/get-prometheus.sh FOLDER with a folder on the PATH",
    "prometheus-alertmanager": "install Debian's `prometheus-alertmanager`, or run infra/get-prometheus.sh FOLDER",
    "amtool": "it comes with prometheus-alertmanager: run infra/get-prometheus.sh FOLDER",
}


def find(name: str) -> Path:
    """The program's path. Raises UserError with the remedy where it is absent."""
    found = _beside_python(name) or shutil.which(name)
    if found is None:
        remedy = _REMEDIES.get(name, "pip install 'raytrain[services]'")
        raise UserError(f"{name}: program not found; {remedy}")
    return Path(found)


def present(name: str) -> bool:
    return (_beside_python(name) or shutil.which(name)) is not None


def search_path() -> str:
    """A PATH on which this environment's programs come first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _beside_python(name: str) -> str | None:
    return shutil.which(name, path=str(Path(sys.executable).parent))
