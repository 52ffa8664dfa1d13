"""Strict configuration: the base of every recipe section, YAML with overrides, secrets by reference.

Knows nothing of any particular section. The invariant: a key that no section declares never passes unnoticed,
and a secret's value never enters a document that is written anywhere.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, get_args

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict

from raytrain.errors import UserError

SECRET = re.compile(r"^\$\{env:([A-Za-z_][A-Za-z0-9_]*)\}$")
_LOOKS_SECRET = re.compile(r"(secret|password|passwd|token|api_?key|access_?key|credential)$", re.IGNORECASE)


class Section(BaseModel):
    """A frozen part of a recipe; an unknown key is an error, and so is a number that is not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


S = TypeVar("S", bound=Section)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:length]


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """A YAML mapping, or a UserError with line and column."""
    try:
        value = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1} column {mark.column + 1}" if mark else ""
        raise UserError(f"{where}:{place} is not valid YAML: {getattr(error, 'problem', error)}") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: a recipe is a mapping of sections, this is a {type(value).__name__}")
    return value


class _UniqueKeys(yaml.SafeLoader):
    """YAML 1.1 keeps the last of two equal keys without a word; a recipe must not."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)
# YAML 1.1 reads 3e-4 as text; people write learning rates so.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def apply_overrides(document: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of `document` with each `a.b.0.c=value` applied; values are read as YAML."""
    result: dict[str, Any] = json.loads(json.dumps(document, default=str))
    for item in overrides:
        path, eq, text = item.partition("=")
        keys = path.strip().split(".")
        if not eq or not all(keys):
            raise UserError(f"--set {item!r}: write it as section.key=value, for example --set train.max_steps=200")
        try:
            value = yaml.load(text, Loader=_UniqueKeys)
        except yaml.YAMLError:
            raise UserError(f"--set {item!r}: the value {text!r} is not valid YAML; quote it") from None
        node: Any = result
        for depth, key in enumerate(keys):
            last = depth == len(keys) - 1
            at = ".".join(keys[: depth + 1])
            if isinstance(node, list):
                if not key.isdigit() or int(key) >= len(node):
                    raise UserError(f"--set {item!r}: {at} is not an index of a list of {len(node)}")
                index: Any = int(key)
            elif isinstance(node, dict):
                index = key
            else:
                raise UserError(f"--set {item!r}: {'.'.join(keys[:depth])} is a {type(node).__name__}, it has no keys")
            if last:
                node[index] = value
            else:
                if isinstance(node, dict) and node.get(index) is None:
                    node[index] = {}
                node = node[index]
    return result


def validate(model: type[S], document: Mapping[str, Any], where: str) -> S:
    """Builds `model`, or raises a UserError that names the field, the value and the nearest known key."""
    _refuse_plain_secrets(document, where, ())
    try:
        return model.model_validate(document)
    except pydantic.ValidationError as error:
        # A list whose only item is wrong counts as too short as well: that second line would be no help.
        found = error.errors()
        shown = [item for item in found if item["type"] != "too_short"] or found
        lines = [_explain(item, model) for item in shown]
        more = f" (and {len(lines) - 1} more: {'; '.join(lines[1:4])})" if len(lines) > 1 else ""
        raise UserError(f"{where}: {lines[0]}{more}") from None


def secret(value: str) -> str:
    """The value behind `${env:NAME}`; any other text is returned as it is."""
    match = SECRET.match(value)
    if not match:
        return value
    name = match.group(1)
    if name not in os.environ:
        raise UserError(f"${{env:{name}}}: the environment variable {name} is not set")
    return os.environ[name]


def _explain(error: Any, model: type[BaseModel]) -> str:
    path = [part for part in error["loc"] if not (isinstance(part, str) and part.startswith(("function-", "tagged-")))]
    name = ".".join(str(part) for part in path) or "recipe"
    if error["type"] == "extra_forbidden":
        owner = _model_at(model, path[:-1])
        known = list(owner.model_fields) if owner else []
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
        return f"{name}: unknown key; {hint}"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    value = error.get("input")
    if error["type"] == "missing":
        return f"{name}: required, and not given"
    if error["type"] == "tuple_type":
        return f"{name}: a list is wanted, such as [{value}], not {value!r}"
    if error["type"] == "too_short":
        return f"{name}: at least one is wanted, and none is given"
    if isinstance(value, (dict, BaseModel)):
        return f"{name}: {message}"
    return f"{name}: {message[0].lower() + message[1:]}, not {value!r}"


def _model_at(model: type[BaseModel], path: list[Any]) -> type[BaseModel] | None:
    current: Any = model
    for part in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return None
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part)
        if field is None:
            return None
        current = _section_in(field.annotation)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _section_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _section_in(argument)
        if found is not None:
            return found
    return None


def _refuse_plain_secrets(node: Any, where: str, path: tuple[str, ...]) -> None:
    if isinstance(node, Mapping):
        for key, value in node.items():
            here = (*path, str(key))
            if isinstance(value, str) and _LOOKS_SECRET.search(str(key)) and not SECRET.match(value):
                raise UserError(
                    f"{where}: {'.'.join(here)}: a secret is given by reference, for example ${{env:NAME}}; "
                    "its value must not stand in a recipe"
                )
            _refuse_plain_secrets(value, where, here)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _refuse_plain_secrets(value, where, (*path, str(index)))
