"""Kubernetes manifests and overlays: strict schemas of the core kinds, of KubeRay's and of Prometheus Operator's."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from checks.finding import (
    LOADER,
    Finding,
    Unreadable,
    against,
    documents,
    line_of,
    line_with,
    load_schema,
    program,
    run,
)

SCHEMAS = Path(__file__).parents[1] / "schemas"
KUBERNETES = "1.33"
EXTENSION_GROUPS = ("ray.io", "monitoring.coreos.com")
PRODUCTION = Path("infra/k8s/overlays/prod")
FLOW_PLACES = {"namespace": "Namespace", "service_account_name": "ServiceAccount", "environment": "ConfigMap"}


def manifest(path: Path) -> Iterator[Finding]:
    """A file of whole objects."""
    text = path.read_text()
    for n, document in enumerate(documents(path)):
        for line, what in objections(document, text, n):
            yield Finding(path, line, what)


def kustomization(path: Path) -> Iterator[Finding]:
    """A folder as `kubectl apply -k` would read it; every object of it, and the names that they call each other by."""
    out = _rendered(path.parent)
    rendered = [d for d in yaml.load_all(out, Loader=LOADER) if d]
    for n, document in enumerate(rendered):
        name = f"{document.get('kind')}/{document.get('metadata', {}).get('name')}"
        for _, what in objections(document, out, n):
            yield Finding(path, 1, f"{name}: {what}")
    present = {(d["kind"], d["metadata"]["name"]) for d in rendered}
    for document in rendered:
        for kind, name in _calls(document):
            if (kind, name) not in present:
                yield Finding(path, 1, f"{document['kind']}/{document['metadata']['name']}: no {kind} {name!r} is here")


def flow_pool(path: Path) -> Iterator[Finding]:
    """The template of flow runs' Jobs: where they go by default, and as whom, is in production's overlay."""
    text = path.read_text()
    properties = json.loads(text)["variables"]["properties"]
    for key, what in _absent(path.parents[1], {key: properties[key].get("default") for key in FLOW_PLACES}):
        yield Finding(path, line_of(text, ["variables", "properties", key, "default"]), what)


def flow_deployments(path: Path) -> Iterator[Finding]:
    """Deployments to a Kubernetes pool: the same of what they set themselves."""
    text = path.read_text()
    (config,) = documents(path)
    for deployment in config.get("deployments", []):
        variables = deployment.get("work_pool", {}).get("job_variables", {})
        if deployment.get("name") == "k8s":
            for key, what in _absent(path.parent, {k: v for k, v in variables.items() if k in FLOW_PLACES}):
                yield Finding(path, line_with(text, f" {key}: {variables[key]}"), what)


def _absent(root: Path, places: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Of the names that a flow run's Job has, those that are not made in the namespace that it goes to."""
    made = [d for d in yaml.load_all(_rendered(root / PRODUCTION), Loader=LOADER) if d]
    namespace = places.get("namespace")
    present = {(d["kind"], d["metadata"]["name"]) for d in made if d["metadata"].get("namespace") in (None, namespace)}
    for key, name in places.items():
        if (FLOW_PLACES[key], name) not in present:
            yield key, f"{key}: no {FLOW_PLACES[key]} {name!r} is in {PRODUCTION}, namespace {namespace!r}"


def _rendered(folder: Path) -> str:
    status, out, err = run([program("kubectl"), "kustomize", folder])
    if status:
        raise Unreadable(" ".join(err.split())[-300:] or f"kubectl ended with {status}")
    return out


def objections(document: Any, text: str, n: int) -> Iterator[tuple[int, str]]:
    """Lines and sentences for what a strict API server would refuse of one object."""
    if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
        raise Unreadable("not a Kubernetes object: apiVersion or kind is missing")
    group, _, version = document["apiVersion"].partition("/")
    if group in EXTENSION_GROUPS:
        schema = _extension(document["kind"], group, version)
        if schema is None:
            yield (
                line_of(text, ["kind"], n),
                f"no schema of {document['apiVersion']} {document['kind']} in infra/schemas",
            )
        else:
            yield from against(schema, document, text, n)
        return
    import kubernetes_validate

    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield line_of(text, list(error.path), n), f"{'.'.join(map(str, error.path)) or 'top'}: {error.message[:200]}"
    except Exception as error:  # a kind or version that its schemas do not have
        yield line_of(text, ["kind"], n), f"{document['apiVersion']} {document['kind']}: {error}"


@functools.cache
def _extension(kind: str, group: str, version: str) -> dict[str, Any] | None:
    path = SCHEMAS / f"{kind}.{group}.{version}.json"
    return load_schema(path) if path.exists() else None


def _calls(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The config maps and service accounts that a workload names. Secrets are made by hand, and not here."""
    pod = document.get("spec", {}).get("template", {}).get("spec", {}) if isinstance(document.get("spec"), dict) else {}
    if "serviceAccountName" in pod:
        yield "ServiceAccount", pod["serviceAccountName"]
    for container in pod.get("containers", []):
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
