"""One folder in which the services of a machine live: its ports, its secrets, and the environment that leads to it.

Pure but for reading and writing that folder. The invariant: the same folder always gives the same ports, keys and
names, so that a shell pointed at it yesterday still finds everything today.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import raytrain
from raytrain.errors import UserError
from raytrain.services import objectstore, programs
from raytrain.services.processes import Mark, Started

FOLDER = ".raytrain"
BASE_PORT = 7400
BUCKET = "raytrain"
HOST = "127.0.0.1"
LONGEST = 35  # bytes: below it Ray puts sockets whose paths may have 107

# Offsets from the base port; the first five are what people open.
PORTS: dict[str, tuple[str, ...]] = {
    "prefect": ("prefect",),
    "ray": ("dashboard",),
    "store": ("s3",),
    "prometheus": ("prometheus",),
    "exporter": ("exporter",),
    "ray-inside": (
        "gcs",
        "node-manager",
        "object-manager",
        "metrics",
        "agent",
        "agent-grpc",
        "runtime-env",
        "client",
        "autoscaler-metrics",
        "dashboard-metrics",
    ),
    "store-inside": tuple(f"store-{n}" for n in range(1, objectstore.PORTS)),
}
# By service: the variables that speak to it begin so, and these of them win over those that we set.
PREFIXES = {"store": "AWS_", "prefect": "PREFECT_", "ray": "RAY_"}
RIVALS = {
    "store": (
        "AWS_ENDPOINT_URL_S3",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_SESSION_TOKEN",
        "AWS_SECURITY_TOKEN",
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
    ),
    "prefect": (
        "PREFECT_API_KEY",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_CLIENT_CUSTOM_HEADERS",
        "PREFECT_PROFILE",
        "PREFECT_PROFILES_PATH",
    ),
    "ray": ("RAY_AUTH_TOKEN_PATH", "RAY_JOB_HEADERS"),
}
_OFFSETS = {name: n for n, name in enumerate(name for names in PORTS.values() for name in names)}
HIGHEST = 65535 - len(_OFFSETS)


@dataclass(frozen=True)
class Place:
    """What is remembered of the folder between commands."""

    folder: Path
    word: str
    base_port: int
    root: Path
    cpus: int
    without: tuple[str, ...] = ()
    deployed: str | None = None
    processes: dict[str, Started] = field(default_factory=dict)

    def port(self, name: str) -> int:
        return self.base_port + _OFFSETS[name]

    def url(self, name: str) -> str:
        return f"http://{HOST}:{self.port(name)}"

    def ports_of(self, service: str) -> list[int]:
        groups = [g for g in (service, f"{service}-inside") if g in PORTS]
        return [self.port(name) for group in groups for name in PORTS[group]]

    @property
    def mark(self) -> Mark:
        return Mark(self.word, self.folder)

    @property
    def short(self) -> Path:
        """The folder under a name short enough for sockets: itself, or a link that `link` makes."""
        if len(str(self.folder).encode()) <= LONGEST:
            return self.folder
        return Path("/tmp") / f"rt-{self.word[:8]}"

    def log(self, name: str) -> Path:
        return self.folder / "logs" / f"{name}.log"

    def identity(self) -> objectstore.Identity:
        return objectstore.Identity("raytrain", _secrets(self.folder)["store"])

    def environment(self) -> dict[str, str]:
        """What points a shell, a flow or a Ray driver at these services; secrets included."""
        found = {"DO_NOT_TRACK": "1", "RAYTRAIN_ROOT": str(self.root)} | _no_proxy()
        if "store" not in self.without:
            found |= objectstore.environment(self.url("s3"), self.identity()) | {"RAYTRAIN_STORE": f"s3://{BUCKET}"}
        if "prefect" not in self.without:
            found |= {"PREFECT_API_URL": f"{self.url('prefect')}/api", "PREFECT_HOME": str(self.folder / "prefect")}
        if "ray" not in self.without:
            found |= {
                "RAY_ADDRESS": f"{HOST}:{self.port('gcs')}",
                "RAY_API_SERVER_ADDRESS": self.url("dashboard"),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": _secrets(self.folder)["ray"],
                # Ray calls loopback by the machine's outward address, and listens there, unless it may not cluster.
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            }
        if "prometheus" not in self.without:
            found["RAYTRAIN_PROMETHEUS_URL"] = self.url("prometheus")
        return found

    def rivals(self) -> list[str]:
        """What the caller's environment holds that would win over `environment`, and must go from it."""
        names = (name for part, names in RIVALS.items() if part not in self.without for name in names)
        return sorted(name for name in names if name in os.environ)

    def services_environment(self) -> dict[str, str]:
        """The environment of a service: the caller's, without what might lead past those that are ours, and ours."""
        taken = tuple(prefix for part, prefix in PREFIXES.items() if part not in self.without)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(taken)}
        ours = {"PATH": programs.search_path(), "TMPDIR": str(self.short / "tmp"), "PYTHONUNBUFFERED": "1"}
        return kept | ours | self.environment()

    def link(self) -> None:
        """Makes the short name where one is needed."""
        if self.short == self.folder:
            return
        try:
            self.short.symlink_to(self.folder)
        except FileExistsError:
            if not self.short.is_symlink() or self.short.readlink() != self.folder:
                raise UserError(
                    f"{self.short}: taken by something else; remove it, or use a shorter --folder"
                ) from None

    def unlink(self) -> None:
        if self.short != self.folder and self.short.is_symlink():
            self.short.unlink()

    def saved(self, **changes: object) -> Place:
        """The place with changes, remembered."""
        changed = replace(self, **changes)  # type: ignore[arg-type]
        body = asdict(changed) | {"root": str(changed.root)}
        del body["folder"]
        fresh = self.folder / "services.json.new"
        fresh.write_text(json.dumps(body, indent=1))
        fresh.replace(self.folder / "services.json")
        return changed


def load(folder: Path) -> Place | None:
    """The place a folder holds, if it holds one."""
    folder = folder.resolve()
    try:
        body = json.loads((folder / "services.json").read_text())
    except FileNotFoundError:
        return None
    except (ValueError, NotADirectoryError):
        raise UserError(f"--folder {folder}: services.json cannot be read; move the folder away") from None
    body["processes"] = {name: Started(**one) for name, one in body["processes"].items()}
    return Place(**(body | {"folder": folder, "root": Path(body["root"]), "without": tuple(body["without"])}))


def found(folder: Path, base_port: int | None = None, cpus: int | None = None) -> Place:
    """The folder's place, founded where there is none. Raises UserError for a folder that holds something else."""
    if base_port is not None and not 1024 <= base_port <= HIGHEST:
        raise UserError(f"--base-port {base_port}: {len(_OFFSETS)} ports from it on are used; take 1024 to {HIGHEST}")
    known = load(folder)
    if known is not None:
        return replace(known, base_port=base_port or known.base_port, cpus=cpus or known.cpus, root=find_root())
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--folder {folder}: exists and is not a folder of services; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # keys, and Prefect's database, are nobody else's
    return Place(
        folder, secrets.token_hex(16), base_port or BASE_PORT, find_root(), cpus or os.cpu_count() or 1
    ).saved()


def prepare(place: Place) -> None:
    """The folders and secrets that the services need."""
    for name in ("logs", "tmp", "prefect", "ray", "store", "prometheus", "home"):
        (place.folder / name).mkdir(exist_ok=True)
    path = place.folder / "secrets.json"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"ray": secrets.token_hex(32), "store": secrets.token_hex(20)}))


def clean(place: Place) -> None:
    """What is of no use once nothing runs: sockets, sessions, temporary files, the short name."""
    place.unlink()
    place.mark.forget()
    for socket in objectstore.leftovers(place.ports_of("store")):
        socket.unlink(missing_ok=True)
    shutil.rmtree(place.folder / "tmp", ignore_errors=True)


def find_root() -> Path:
    """The folder that holds prefect.yaml and flows/: RAYTRAIN_ROOT, this one, or the one raytrain is installed from."""
    named = os.environ.get("RAYTRAIN_ROOT")
    if named:
        root = Path(named).resolve()
        if not root.is_dir():
            raise UserError(f"RAYTRAIN_ROOT={named}: not a folder; name the one that holds prefect.yaml and flows/")
        return root
    here, installed = Path.cwd(), Path(raytrain.__file__).resolve().parent.parent
    return next((p for p in (here, installed) if (p / "prefect.yaml").exists()), here)


def _no_proxy() -> dict[str, str]:
    """Loopback without a proxy, beside what the caller excepts already; programs differ in which spelling they read."""
    spelled = (os.environ.get("no_proxy", ""), os.environ.get("NO_PROXY", ""))
    given = [name.strip() for names in spelled for name in names.split(",") if name.strip()]
    value = "*" if "*" in given else ",".join(dict.fromkeys([*given, HOST, "localhost"]))  # alone, `*` means all
    return {"no_proxy": value, "NO_PROXY": value}


def _secrets(folder: Path) -> dict[str, str]:
    body: dict[str, str] = json.loads((folder / "secrets.json").read_text())
    return body
