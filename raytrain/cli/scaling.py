"""The commands that plan a run and sweep over sizes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from raytrain.cli.options import JsonOption, StoreOption, print_json

RecipeArgument = Annotated[str, typer.Argument(help="The recipe: a path or URI of a YAML file.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, repeatable.")]


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(plan)
    app.command()(sweep)


def sweep(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    name: Annotated[str | None, typer.Option(help="The sweep's name. [default: the recipe's, with -sweep]")] = None,
    store: StoreOption = None,
    engine: Annotated[str | None, typer.Option(help="ray or local; overrides the recipe.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="Take the sweep over from a live attempt.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a grid of sizes and token counts and fit a scaling law to them. Resumes; never repeats a trial."""
    from raytrain import recipe as recipes
    from raytrain import sweep as sweeps
    from raytrain.cli.live import Live, give_way, stop_here

    extra = [f"engine={engine}"] if engine else []
    loaded = recipes.load(recipe, [*(overrides or []), *extra], store)
    live = Live()
    result = sweeps.execute(
        loaded, say=live.say, name=name, take_over=take_over, on_superseded=give_way, on_stop=stop_here
    )
    for line in sweep_lines(result):
        live.say(line)
    print_json(as_json, result)


def sweep_lines(result: dict[str, Any]) -> list[str]:
    """A finished sweep as aligned lines: its points, its law, what the grid leaves open."""
    from raytrain.observe.charts import significant

    heads = ("trial", "N", "D", "D/N", "loss", "bits/byte", "rate", "batch", "steps", "time", "cost")
    rows = [
        (
            row["run"].removeprefix(f"{result['sweep']}-"),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['tokens'] / 1e6:.3f} M",
            f"{row['tokens'] / row['parameters']:.3g}",
            f"{row['loss']:.4f}",
            f"{row['bits_per_byte']:.4f}",
            f"{row['learning_rate']:.1e}",
            f"{row['batch_tokens']:,}",
            f"{row['steps']:,}",
            f"{row['seconds']:.0f} s",
            f"${row['cost_usd']:.6f}",
        )
        for row in result["points"]
    ]
    lines = ["", *aligned([heads, *rows])]
    law = result["law"]
    if law is not None:
        lines += ["", law["form"]]
        for name, entry in law["parameters"].items():
            sure = "" if entry["identified"] else "   not identified"
            ends = f"{significant(entry['low'])} to {significant(entry['high'])}"
            lines.append(f"  {name:<6} {significant(entry['value'], 4):>9}   {ends} (95%){sure}")
        lines += ["", law["sentence"], *(f"  - {finding['sentence']}" for finding in law["findings"])]
    return [*lines, "", f"report  {result['paths']['report.html']}"]


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as columns, the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(v.ljust(w) if k == 0 else v.rjust(w) for k, (v, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]


def plan() -> None:
    pass
