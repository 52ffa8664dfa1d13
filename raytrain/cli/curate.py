"""`raytrain curate`: the data half of a recipe by itself, and what another threshold would keep."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytrain.cli.options import JsonOption, StoreOption, print_json

if TYPE_CHECKING:
    from raytrain.corpus.section import CorpusSection
    from raytrain.pipeline import Step
    from raytrain.recipe import Recipe


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(curate)


def curate(
    recipe: Annotated[str, typer.Argument(help="The recipe: a path or URI of a YAML file.")],
    what_if: Annotated[
        list[str] | None,
        typer.Option("--what-if", help="set.rule=number (null drops it) or section.key=value, repeatable."),
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, repeatable.")] = None,
    store: StoreOption = None,
    engine: Annotated[str | None, typer.Option(help="ray or local; overrides the recipe.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Carry out a recipe as far as its corpus; with --what-if only say what other thresholds would keep."""
    from raytrain import recipe as recipes

    extra = [f"engine={engine}"] if engine else []
    loaded = recipes.load(recipe, [*(overrides or []), *extra], store)
    if what_if:
        found = answer(loaded, what_if)
        if not as_json:
            _print(found)
    else:
        from raytrain import runs
        from raytrain.cli.live import Live, give_way, stop_here

        say = Live().say
        found = runs.execute(loaded, say=say, until="select", on_superseded=give_way, on_stop=stop_here)
    print_json(as_json, found)


def answer(recipe: Recipe, changes: Sequence[str]) -> dict[str, Any]:
    """What `changes` would make of a recipe's corpus. Raises a UserError for what stored numbers cannot answer."""
    from raytrain import pipeline
    from raytrain.corpus.what_if import what_if as compare
    from raytrain.errors import UserError
    from raytrain.store import Store

    changed = recipe.model_copy(update={"corpus": changed_corpus(recipe.corpus, changes)})
    store = Store(recipe.store)
    files, made = pipeline.look(recipe, store, lambda line: None)
    for step in _before_select(recipe):
        if step.name not in made:
            raise UserError(
                f"--what-if: step {step.name} of this recipe is not in {store.uri}; `raytrain curate` first"
            )
    for step in _before_select(changed):  # it may need fewer of them
        if step.name not in made or pipeline.prefix_of(step, changed, files, made) != made[step.name].prefix:
            raise UserError(
                f"--what-if {' '.join(changes)}: changes the step {step.name}, whose numbers are not stored; "
                "curate the changed recipe under another name and compare them with `raytrain corpus diff`"
            )
    asked = []
    for one in (recipe, changed):
        select = pipeline.find(one, "select")
        asked.append(({role: made[name] for role, name in select.parents.items()}, select.config(one, made)))
    found = compare(*asked)
    return {"recipe": recipe.name, "what_if": list(changes), "documents": made["ingest"].id, **found}


def _before_select(recipe: Recipe) -> Iterator[Step]:
    from raytrain import pipeline

    return itertools.takewhile(lambda step: step.name != "select", pipeline.steps_of(recipe))


def changed_corpus(corpus: CorpusSection, changes: Sequence[str]) -> CorpusSection:
    """The section with `set.rule=number` as overrides, and `key=value` of its own keys as they are."""
    import yaml

    from raytrain.config import apply_overrides, validate
    from raytrain.errors import UserError

    document = corpus.model_dump(mode="json")
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or "." not in name:
            raise UserError(f"--what-if {change!r}: write it as fineweb.terminal_punct=0.10 or languages.min_score=0.5")
        if name.split(".")[0] in type(corpus).model_fields:
            document = apply_overrides(document, [change])
        else:
            threshold = yaml.safe_load(value)
            if not (threshold is None or isinstance(threshold, (int, float))):
                raise UserError(f"--what-if {change!r}: {value!r} is no number; null drops the rule")
            document["overrides"][name] = {"threshold": threshold, "reason": "what if"}
    return validate(type(corpus), document, "--what-if")


def _print(found: Mapping[str, Any]) -> None:
    before, after = found["before"], found["after"]
    print(f"{'':<34}{'documents':>24}{'megabytes':>24}")
    funnels = [{one["step"]: one for one in held["funnel"]} for held in (before, after)]
    for step in _merged(*funnels):
        print(_row(f"after {step}", *(funnel.get(step) for funnel in funnels)))
    print("rejected by")
    for key in dict.fromkeys([*before["reasons"], *after["reasons"]]):
        old, new = (held["reasons"].get(key, {"documents": 0, "bytes": 0}) for held in (before, after))
        if any(old[name] != new[name] for name in ("documents", "bytes")):
            print(_row(f"  {key}", old, new))
    print("kept by source")
    for source in after["groups"]["source"]:
        old, new = (held["groups"]["source"][source] for held in (before, after))
        print(_row(f"  {source}", old, new))
    for name in ("added", "removed"):
        held = found[name]
        some = f", such as {', '.join(held['records'])}" if held["records"] else ""
        print(f"{name}: {held['documents']:,} documents, {held['bytes'] / 1e6:.2f} MB{some}")


def _merged(before: Iterable[str], after: Iterable[str]) -> list[str]:
    """The steps of both funnels in order: one that only the second has stands behind that which it follows there."""
    names = list(before)
    place = 0
    for name in after:
        if name not in names:
            names.insert(place, name)
        place = names.index(name) + 1
    return names


def _row(name: str, old: Mapping[str, int] | None, new: Mapping[str, int] | None) -> str:
    """A line of the table; a step that there is on one side only has a dash on the other."""
    documents, size = (
        " -> ".join(show(held[column]) if held else "-" for held in (old, new))
        for column, show in (("documents", "{:,}".format), ("bytes", lambda size: f"{size / 1e6:.4g}"))
    )
    return f"{name:<34}{documents:>24}{size:>24}"
