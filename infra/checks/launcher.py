"""Ray launcher files: Ray's own validator, and what it leaves unread (provider and node_config); IAM policies.

A node_config is a cloud's launch request. AWS's is held against botocore's model of RunInstances, Google's against a
schema of ours of instances.insert (infra/schemas/gcp-instance.json).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from checks.finding import Finding, Unreadable, against, documents, line_of, line_with, load_schema

SCHEMAS = Path(__file__).parents[1] / "schemas"
PROVIDER_KEYS = {
    "aws": {"region", "availability_zone", "cache_stopped_nodes", "use_internal_ips", "security_group", "key_pair"},
    "gcp": {"region", "availability_zone", "cache_stopped_nodes", "use_internal_ips", "project_id"},
    "local": {"head_ip", "worker_ips", "external_head_ip", "coordinator_address"},
    "fake_multinode": {
        "use_node_id_as_ip",
        "disable_node_updaters",
        "disable_launch_config_check",
        "launch_multiple",
        "gcs_address",
    },
}
SECRETS = ("aws_credentials", "gcp_credentials", "AKIA", "PRIVATE KEY")


def launcher(path: Path) -> Iterator[Finding]:
    """A file for `ray up`."""
    text = path.read_text()
    (config,) = documents(path) or [{}]
    if not isinstance(config, dict):
        raise Unreadable("not a mapping")
    problem = _ray_says(config)
    if problem:
        quoted = re.search("['`](\\w+)['`]", problem)
        yield Finding(path, line_with(text, f"{quoted.group(1)}:") if quoted else 1, problem)
    for word in SECRETS:
        if word in text:
            yield Finding(path, line_with(text, word), f"{word}: keys do not belong into a file")
    provider = config.get("provider", {})
    kind = provider.get("type")
    if kind not in PROVIDER_KEYS:
        yield Finding(path, line_of(text, ["provider", "type"]), f"provider.type: {kind!r} is not one that we know")
        return
    for key in sorted(provider.keys() - PROVIDER_KEYS[kind] - {"type"}):
        yield Finding(path, line_of(text, ["provider", key]), f"provider.{key}: not known to provider {kind!r}")
    for name, node in config.get("available_node_types", {}).items():
        where = ["available_node_types", name, "node_config"]
        for keys, what in _node_config(kind, node.get("node_config", {})):
            yield Finding(path, line_of(text, [*where, *keys]), f"{name}.node_config: {what}")


def _ray_says(config: dict[str, Any]) -> str | None:
    """The first objection of Ray's validator."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            # The wheel lacks the defaults of the fake provider, so its files are complete.
            fake = config.get("provider", {}).get("type") == "fake_multinode"
            validate_config(config if fake else prepare_config(copy.deepcopy(config)))
    except KeyError as error:
        return f"{error} is missing"
    except (Exception, SystemExit) as error:
        return " ".join((str(error) or said.getvalue()).split())[:300] or type(error).__name__
    return None


def _node_config(kind: str, node: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    if kind == "aws":
        yield from _aws(node)
    elif kind == "gcp":
        for error_line, what in against(load_schema(SCHEMAS / "gcp-instance.json"), node, json.dumps(node, indent=1)):
            del error_line  # a line of the JSON, which nobody sees
            yield [what.split(":")[0].split(".")[0]], what
    elif node:
        yield [next(iter(node))], f"provider {kind!r} takes none"


@functools.cache
def _run_instances() -> Any:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel

    return ServiceModel(Loader().load_service_model("ec2", "service-2")).operation_model("RunInstances").input_shape


def _aws(node: dict[str, Any]) -> Iterator[tuple[list[str | int], str]]:
    from botocore.validate import ParamValidator

    request = {k: v for k, v in node.items() if k != "SubnetIds"}  # Ray's own key: it takes one of them
    report = ParamValidator().validate(request | {"MinCount": 1, "MaxCount": 1}, _run_instances())
    for line in report.generate_report().splitlines():
        quoted = line.split('"')
        yield [quoted[1]] if len(quoted) > 1 else [], line.strip()
    yield from _enums(request, _run_instances(), [])


def _enums(value: Any, shape: Any, path: list[str | int]) -> Iterator[tuple[list[str | int], str]]:
    """Botocore leaves the words of an enumeration to the service."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, inner in value.items():
            if key in shape.members:
                yield from _enums(inner, shape.members[key], [*path, key])
    elif shape.type_name == "list" and isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _enums(inner, shape.member, [*path, n])
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield path, f"{'.'.join(map(str, path))}: {value!r} is not one of AWS's {len(shape.enum)} values"


def iam(path: Path) -> Iterator[Finding]:
    """An instance profile's policy: a worker reads and writes a bucket, and nothing else."""
    text = path.read_text()
    try:
        policy = json.loads(text)
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from None
    for n, statement in enumerate(policy.get("Statement", [])):
        missing = {"Effect", "Action", "Resource"} - statement.keys()
        extra = statement.keys() - {"Sid", "Effect", "Action", "Resource", "Condition"}
        for key in sorted(missing | extra):
            yield Finding(path, 1, f"Statement {n}: {key} is {'missing' if key in missing else 'not a key'}")
        for action in statement.get("Action", []):
            if action == "*" or (path.stem == "worker" and not action.startswith("s3:")):
                yield Finding(path, line_with(text, f'"{action}"'), f"{action}: more than this node may do")
        if any(a.startswith("s3:") for a in statement.get("Action", [])) and "*" in (statement.get("Resource"), ""):
            yield Finding(path, line_with(text, '"Resource": "*"'), "every bucket: name one")
