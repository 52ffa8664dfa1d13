"""The S3 store of a machine of one's own: how SeaweedFS' `weed` is started, when it is ready, and its buckets.

It says how and starts nothing: processes belong to whoever calls. Everything that the program writes lies in the
folder it runs in, and it listens on loopback alone. The invariant: the same folder and ports give the same store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from raytrain.services.web import ask, well

PORTS = 8  # S3, master, volume and filer, each with its gRPC port
CONFIGURATION = "s3.json"
# Go's collector is told to stay small: without it, large uploads take the program to 1 GB. Every bucket is a collection
# of volumes: two each, where seven are usual, leave room for hundreds of buckets.
ENVIRONMENT = {"GOMEMLIMIT": "400MiB", "GOGC": "50", "WEED_MASTER_VOLUME_GROWTH_COPY_1": "2"}
ALL = ("Admin", "Read", "Write", "List", "Tagging")
READ_ONLY = ("Read", "List")


@dataclass(frozen=True)
class Identity:
    """Who may do what in the store."""

    key: str
    secret: str
    actions: Sequence[str] = ALL


def configure(folder: Path, identities: Iterable[Identity]) -> None:
    """Prepares the folder: the data's place, and the identities in a file that only its owner reads."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    body = {
        "identities": [
            {
                "name": one.key,
                "credentials": [{"accessKey": one.key, "secretKey": one.secret}],
                "actions": list(one.actions),
            }
            for one in identities
        ]
    }
    path = folder / CONFIGURATION
    path.touch(mode=0o600)
    path.write_text(json.dumps(body))


def command(program: Path, ports: Sequence[int]) -> list[str]:
    """The command line, to be run inside the configured folder with ENVIRONMENT added to the environment.

    `ports` are PORTS free ones on loopback; the first is S3's. Paths are relative: a socket's may not exceed 108
    bytes. SIGTERM ends it in about 16 s, for it drains; SIGKILL loses nothing that it had acknowledged.
    """
    s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports
    options = {
        "dir": "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": master,
        "master.port.grpc": master_grpc,
        "master.volumeSizeLimitMB": 256,
        "master.electionTimeout": "1s",
        "master.telemetry": "false",
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": 500,  # 125 GB at 256 MB each, taken as it is needed
        "volume.preStopSeconds": 0,
        "volume.minFreeSpace": "200MiB",
        "filer": "true",
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "filer.localSocket": "filer.sock",
        "filer.concurrentUploadLimitMB": 128,
        "s3": "true",
        "s3.port": s3,
        "s3.port.grpc": s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": CONFIGURATION,
        "s3.localSocket": "s3.sock",
        "s3.iam": "false",
        "s3.cacheCapacityMB": 0,
        "s3.readerCacheSizeMB": 32,
        "s3.concurrentUploadLimitMB": 128,
        "s3.autoCreateBucket": "false",
        "iam": "false",
        "webdav": "false",
    }
    return [str(program), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]


def endpoint(ports: Sequence[int]) -> str:
    return f"http://127.0.0.1:{ports[0]}"


def leftovers(ports: Sequence[int]) -> list[Path]:
    """Sockets that `weed` puts outside its folder and leaves there; whoever has ended it removes them."""
    served = zip(("s3", "master", "volume", "filer"), ports[1::2], strict=True)
    return [Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part, port in served]


def ready(ports: Sequence[int]) -> bool:
    """Whether S3 answers and a volume can be written: the first alone is true too early."""
    if not well(f"{endpoint(ports)}/healthz"):
        return False
    assigned = ask(f"http://127.0.0.1:{ports[2]}/dir/assign")
    return assigned is not None and b'"fid"' in assigned[1]


def make_bucket(endpoint: str, bucket: str, identity: Identity) -> None:
    """Makes a bucket unless it is there, by the identity alone. Raises botocore's ClientError when refused."""
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    session = Session({"profile": (None, None, None, None)})  # a profile of the caller's need not even exist
    client = session.create_client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=identity.key,
        aws_secret_access_key=identity.secret,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": 8},
            proxies={},  # nor the caller's
        ),
    )
    try:
        client.create_bucket(Bucket=bucket)
    except (client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        pass


def environment(endpoint: str, identity: Identity) -> dict[str, str]:
    """The variables by which any S3 client finds this store."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": identity.key,
        "AWS_SECRET_ACCESS_KEY": identity.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
