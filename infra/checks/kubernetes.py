"""Kubernetes manifests and overlays: strict schemas of the core kinds, of KubeRay's and of Prometheus Operator's."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from checks.finding import LOADER, Finding, Unreadable, against, documents, line_of, load_schema, program, run

SCHEMAS = Path(__file__).parents[1] / "schemas"
KUBERNETES = "1.33"
EXTENSION_GROUPS = ("ray.io", "monitoring.coreos.com")


def manifest(path: Path) -> Iterator[Finding]:
    """A file of whole objects."""
    text = path.read_text()
    for n, document in enumerate(documents(path)):
        for line, what in objections(document, text, n):
            yield Finding(path, line, what)


def kustomization(path: Path) -> Iterator[Finding]:
    """A folder as `kubectl apply -k` would read it; every object of it, and the names that they call each other by."""
    status, out, err = run([program("kubectl"), "kustomize", path.parent])
    if status:
        yield Finding(path, 1, " ".join(err.split())[-300:] or f"kubectl ended with {status}")
        return
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
