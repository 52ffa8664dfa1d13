"""The commands about where text comes from: `raytrain source try`, and what there is of it: `raytrain data supply`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytrain.cli.data import data_app
from raytrain.cli.options import JsonOption, RunArgument, StoreOption, open_store, print_json

if TYPE_CHECKING:
    from raytrain.corpus.section import Source
    from raytrain.recipe import Recipe

source_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Judge sources of text.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(source_app, name="source")
    data_app.command("supply")(supply)


@source_app.callback()
def _group() -> None:
    """Judge sources of text."""


@source_app.command("try")
def try_source(
    uri: Annotated[str, typer.Argument(help="Where the text lies; or the name of a source of --recipe.")],
    recipe: Annotated[str | None, typer.Option("--recipe", help="Whose rules, languages and deduplication.")] = None,
    name: Annotated[str, typer.Option(help="What to call the source.")] = "candidate",
    form: Annotated[str, typer.Option("--format", help="As sources[].format.")] = "auto",
    text_field: Annotated[str, typer.Option("--text-field", help="As sources[].text_field.")] = "text",
    licence: Annotated[str, typer.Option(help="As sources[].licence.")] = "unknown",
    usd: Annotated[float | None, typer.Option(help="What the source costs, as sources[].usd.")] = None,
    against: Annotated[
        list[str] | None, typer.Option("--against", help="A run to compare with, repeatable. [default: all]")
    ] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value of --recipe.")] = None,
    store: StoreOption = None,
    engine: Annotated[str, typer.Option(help="ray or local.")] = "local",
    as_json: JsonOption = False,
) -> None:
    """Say what a source would add: what of it is new, what the rules keep, its languages, licences and price."""
    from raytrain.candidate import try_source as judge
    from raytrain.cli.live import Live

    given = {"name": name, "uri": uri, "format": form, "text_field": text_field, "licence": licence, "usd": usd}
    base, source = _candidate(recipe, given, overrides or [], store, engine)
    if usd is not None:
        source = source.model_copy(update={"usd": usd})
    found = judge(base, source, against=against, say=Live().say)
    if not as_json:
        print("\n".join(judgement(found)))
    print_json(as_json, found)


def _candidate(
    recipe: str | None, given: Mapping[str, Any], overrides: Sequence[str], store: str | None, engine: str
) -> tuple[Recipe, Source]:
    """The recipe that judges, and the source: the recipe's own of that name, or one made of the options."""
    from raytrain import recipe as recipes
    from raytrain.config import validate
    from raytrain.corpus.section import Source

    source = None
    if recipe is not None:
        base = recipes.load(recipe, [*overrides, f"engine={engine}"], store)
        source = next((one for one in base.sources if one.name == given["uri"]), None)
    if source is None:
        source = validate(Source, given, "source")
    if recipe is None:
        place = {"store": open_store(store).uri, "engine": engine, "name": "try", "sources": [source.model_dump()]}
        base = validate(recipes.Recipe, place, "options")
    return base, source


def judgement(found: Mapping[str, Any]) -> list[str]:
    """A judged source as lines."""
    whole = max(1, found["read"]["bytes"])

    def line(label: str, held: Mapping[str, int]) -> str:
        volume = f"{held['bytes'] / 1e6:>12,.2f} MB"
        return f"  {label:<24} {held['documents']:>11,} documents {volume} {held['bytes'] / whole:>7.1%}"

    quarantined = sum(found["read"]["quarantined"].values())
    compared = ", ".join(found["compared_with"]) or "nothing: the store holds no corpus"
    lines = ["", f"{found['source']}  {found['uri']}", f"  compared with {compared}"]
    lines += [f"  not compared with {run}: {why}" for run, why in found["passed_over"].items()]
    lines += ["", line("read", found["read"]), line("known already", found["known"])]
    lines += [f"    of {held['artifact']}: {held['documents']:,}" for held in found["known_by_corpus"]]
    lines += [
        line("repeated inside", found["repeated_inside"]),
        line("novel", found["novel"]),
        line("pass the rules", found["passes_rules"]),
        line("novel and pass", found["novel_and_passes"]),
    ]
    if quarantined:
        lines.append(f"  {quarantined:,} records could not be read or hold nothing")
    for name in ("languages", "licences", "origins"):
        lines.append(f"  {name:<11} " + ", ".join(f"{value} {share:.1%}" for value, share in found[name].items()))
    for row in found["reasons"]:
        lines.append(f"  {row['rule']}: fails {row['documents']:,} documents, alone {row['sole_documents']:,}")
    rate = f"{found['bytes_per_token']:.2f} bytes a token, {found['bytes_per_token_source']}"
    lines.append(f"  worth about {found['tokens']:,} novel tokens ({rate})")
    if found["usd_per_million_tokens"] is not None:
        price = f"${found['usd_per_million_tokens']:,.4g} a million novel tokens"
        lines.append(f"  {price} at ${found['usd']:,.2f} for the source")
    return lines


def supply(
    run: RunArgument,
    tokens: Annotated[float | None, typer.Option(help="Another horizon than the recipe's, in tokens.")] = None,
    quality: Annotated[
        str | None, typer.Option(help="Count by quarters of this column too: stage.column, as rules name it.")
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Account for a run's text: tokens by domain and licence, how often each is read, what repetition costs."""
    from raytrain.observe.supply import supply as count

    found = count(open_store(store), run, tokens=tokens, quality=quality)
    if not as_json:
        print("\n".join(account(found)))
    print_json(as_json, found)


def account(found: Mapping[str, Any]) -> list[str]:
    """A run's supply of text as lines."""
    lines = [f"{found['tokens']:,} training tokens, {found['seen']:,} read, worth {found['effective']:,} new ones", ""]
    lines.append(f"  {'domain':<20} {'tokens':>14} {'read':>16} {'passes':>8} {'worth':>16}")
    for row in found["domains"]:
        numbers = f"{row['tokens']:>14,} {row['seen']:>16,} {row['passes']:>8.2f} {row['effective']:>16,}"
        lines.append(f"  {row['domain']:<20} {numbers}")
    bins = [group for group in found["groups"] if any(other["bin"] for other in found["groups"])]
    for group in bins:
        lines.append(
            f"  {group['domain']}, bin {group['bin']}: {group['tokens']:,} tokens, {group['passes']:.2f} passes"
        )
    lines.append("")
    for row in found["kinds"]:
        kind = "  ".join(str(row[name]) for name in ("domain", "licence", "band") if name in row)
        lines.append(f"  {kind}: {row['documents']:,} documents, {row['tokens']:,} tokens")
    loss = found["loss"]
    far = ", fitted on far larger or smaller models: a guess" if loss["far"] else ""
    lines += ["", f"  repetition costs {loss['extra']:.4f} nats a token by {loss['law']}{far}"]
    return lines
