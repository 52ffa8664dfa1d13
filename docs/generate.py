"""Writes docs/recipes.md and docs/metrics.md from the code: `python docs/generate.py`. Tests hold them together."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from raytrain.model import section as model_section
from raytrain.observe import catalogue
from raytrain.recipe import Recipe
from raytrain.scaling import section as sweep_section
from raytrain.train import section as train_section

RULES = {
    model_section.ModelSection: model_section,
    train_section.TrainSection: train_section,
    sweep_section.SweepSection: sweep_section,
}
PAGE = Path(__file__).parent / "recipes.md"
METRICS = Path(__file__).parent / "metrics.md"
HEAD = """\
# Recipes: every key

A recipe is one YAML file. A key that is not known is refused, with the nearest known one named. Every key can be
given on the command line as well: `--set train.max_steps=200 --set sources.0.uri=s3://bucket/texts`. A secret is never
written into a recipe: `${env:NAME}` names an environment variable.

A run's name means one configuration for good. Of the keys below, `name`, `store`, `engine`, the sections `sweep`,
`cost` and `observe`, OPERATIONAL
and the `uri` and `usd` of a source do not count: change them as you like between one attempt and the next.
All others are part of the run's identity, and so is the content of the files that they name.

This page is made from the code by `python docs/generate.py`.
"""


def page() -> str:
    """The whole page."""
    fields = [f"`train.{name}`" for name in train_section.OPERATIONAL]
    parts = [HEAD.replace("OPERATIONAL", ", ".join(fields))]
    return "\n".join([*parts, *_section("The recipe itself", "", Recipe)])


def _section(title: str, path: str, model: type[BaseModel]) -> list[str]:
    about = inspect.cleandoc(model.__doc__ or "")
    if model in RULES:  # a dial's rules stand above its class
        about = inspect.cleandoc(RULES[model].__doc__ or "") + "\n\n" + about
    rows, below = [], []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        full = f"{path}{name}"
        if inner is None:
            rows.append(f"| `{full}` | {_type(field)} | {_default(field, model)} | {_cell(field.description or '')} |")
        elif isinstance(field.annotation, type):
            below += _section(f"`{full}`", f"{full}.", inner)
        elif get_origin(field.annotation) in (Union, UnionType):
            rows.append(
                f"| `{full}` | section | {_default(field, model)} | {_cell(field.description or 'see below')} |"
            )
            below += _section(f"`{full}`", f"{full}.", inner)
        elif get_origin(field.annotation) is dict:
            rows.append(f"| `{full}` | map | {_default(field, model)} | {_cell(field.description or 'see below')} |")
            below += _section(f"`{full}`, an entry of the map", f"{full}.NAME.", inner)
        else:
            rows.append(f"| `{full}` | list | {_default(field, model)} | {_cell(field.description or 'see below')} |")
            below += _section(f"`{full}`, an entry of the list", f"{full}.N.", inner)
    table = ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return [f"## {title}\n", about + "\n", "\n".join(table) + "\n", *below]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a)) is not None), None)


def _type(field: FieldInfo) -> str:
    signs = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
    found = {k: getattr(m, k) for m in field.metadata for k, _ in signs if getattr(m, k, None) is not None}
    bounds = ", ".join(f"{sign} {_number(found[k])}" for k, sign in signs if k in found)
    return _cell(_name(field.annotation) + (f", {bounds}" if bounds else ""))


def _number(value: float) -> str:
    return f"{value:,}".replace(",", "_") if isinstance(value, int) and abs(value) >= 100_000 else f"{value:g}"


def _name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_name(a) for a in arguments if a is not NoneType)
    if origin is tuple:
        return (
            f"list of {_name(arguments[0])}" if arguments[-1] is Ellipsis else f"[{', '.join(map(_name, arguments))}]"
        )
    if origin is dict:
        return f"map of {_name(arguments[1])}"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
    return plain.get(annotation, str(annotation))


def _default(field: FieldInfo, model: type[BaseModel]) -> str:
    if field.is_required():
        return "**required**"
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory() if field.default_factory else None  # type: ignore[call-arg]
    if value is None:
        return "by rule" if "None means: by the rules" in (model.__doc__ or "") else "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"`{_number(value)}`"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    for path, text in ((PAGE, page()), (METRICS, catalogue.page())):
        path.write_text(text, encoding="utf-8")
        print(f"{path} written")
