"""Makes the small JSON schemas here from Kubernetes CRDs: `python infra/schemas/strip.py CRD.yaml...`.

Descriptions go, equal parts are written once, and an object with named properties admits no others: what the API
server would prune without a word is an error here.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
SHARED_BYTES = 200  # a part longer than this is written once and referred to
KEPT = {"type", "enum", "pattern", "required", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}


def strict(schema: Schema) -> Schema:
    """An openAPIV3Schema as a JSON schema that refuses what it does not name."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    out: Schema = {k: v for k, v in schema.items() if k in KEPT}
    if schema.get("nullable") and "type" in out:
        out["type"] = [out["type"], "null"]
    if "properties" in schema:
        out["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = strict(schema["items"])
    return out


def shared(schema: Schema) -> Schema:
    """The same schema with repeated parts under $defs."""
    times: Counter[str] = Counter()
    keys: dict[int, str] = {}

    def count(part: Schema) -> None:
        text = json.dumps(part, sort_keys=True)
        keys[id(part)] = hashlib.sha256(text.encode()).hexdigest()[:8] if len(text) > SHARED_BYTES else ""
        times[keys[id(part)]] += 1
        if times[keys[id(part)]] == 1 or not keys[id(part)]:
            for inner in children(part):
                count(inner)

    definitions: Schema = {}

    def refer(part: Schema, top: bool = False) -> Schema:
        key = keys.get(id(part)) or hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:8]
        if not top and times[key] > 1:
            if key not in definitions:
                definitions[key] = {}
                definitions[key] = rewritten(part)
            return {"$ref": f"#/$defs/{key}"}
        return rewritten(part)

    def rewritten(part: Schema) -> Schema:
        out = dict(part)
        if "properties" in part:
            out["properties"] = {name: refer(inner) for name, inner in part["properties"].items()}
        for key in ("items", "additionalProperties"):
            if isinstance(part.get(key), dict):
                out[key] = refer(part[key])
        return out

    count(schema)
    body = refer(schema, top=True)
    return body | {"$defs": dict(sorted(definitions.items()))}


def children(part: Schema) -> list[Schema]:
    inner = [part[k] for k in ("items", "additionalProperties") if isinstance(part.get(k), dict)]
    return [*part.get("properties", {}).values(), *inner]


def main() -> None:
    for path in sys.argv[1:]:
        crd = yaml.load(Path(path).read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]
        for version in crd["versions"]:
            if not version["storage"]:
                continue
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
            schema["properties"].pop("status", None)
            schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
            name = f"{crd['names']['kind']}.{crd['group']}.{version['name']}.json"
            text = json.dumps(
                {"$schema": "https://json-schema.org/draft/2020-12/schema"} | shared(schema), sort_keys=True
            )
            (Path(__file__).parent / name).write_text(text + "\n")
            print(name, len(text))


if __name__ == "__main__":
    main()
