"""The commands that plan a run and sweep over sizes."""

from __future__ import annotations

from collections.abc import Callable
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
    from raytrain.observe.notation import significant

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


def plan(
    recipe: RecipeArgument,
    overrides: SetOption = None,
    usd: Annotated[float | None, typer.Option(help="A budget: what would it buy?")] = None,
    law: Annotated[str | None, typer.Option(help="The sweep whose law to use. [default: the newest]")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a recipe will read, need, take and cost before anything is spent. Starts and writes nothing."""
    from raytrain import recipe as recipes
    from raytrain.forecast import forecast

    found = forecast(recipes.load(recipe, overrides or [], store), usd=usd, law=law)
    if not as_json:
        print("\n".join(plan_lines(found)))
    print_json(as_json, found)


def plan_lines(found: dict[str, Any]) -> list[str]:
    """A plan as aligned lines."""
    data, model, training, machines = found["data"], found["model"], found["training"], found["machines"]
    needed = found["memory_bytes_a_rank"]
    parts = ", ".join(f"{k} {_size(needed[k])}" for k in ("parameters", "gradients", "optimizer", "activations"))
    mfu = f", MFU {machines['mfu']:.0%}" if machines["mfu"] else ""
    rows = [
        ("data", data["source"] + (f" (assumed: {data['assumed']})" if data["assumed"] else "")),
        ("  documents", _ranged(data["documents"], _count)),
        ("  text", _ranged(data["bytes"], _size)),
        ("  tokens", _ranged(data["tokens"], _count)),
        ("model", f"{_count(model['parameters'])} parameters ({_count(model['non_embedding_parameters'])} without "
         f"embeddings), depth {model['depth']}, width {model['width']}, context {model['context']}"),
        ("training", f"{training['steps']:,} steps of {training['batch_tokens']:,} tokens"),
        ("  tokens", f"{_count(training['tokens'])}, {training['tokens_per_parameter']:.3g} a parameter, "
         f"{_ranged(training['passes'], lambda v: f'{v:.3g}')} passes over the data"),
        ("  FLOPs", f"{training['flops']:.3e}"),
        ("memory", f"{_size(needed['total'])} a rank: {parts} ({needed['compute']})"),
        ("machines", f"{machines['workers']} workers on {machines['nodes']} x {machines['instance']}, "
         f"${machines['usd_per_node_hour']:,.4g} an hour each ({machines['price_source']})"),
        ("  speed", f"{_ranged(machines['flops_a_worker'], lambda v: f'{v / 1e9:,.3g}')} GFLOP/s a worker{mfu} "
         f"({machines['speed_source']})"),
        ("time", f"{_ranged(found['hours'], _hours)} of training"),
        ("cost", _ranged(found["usd"], _money)),
        ("energy", f"{_ranged(found['kwh'], lambda v: f'{v:,.3g}')} kWh"),
    ]  # fmt: skip
    if found["expected"]:
        expected = found["expected"]
        told = f"{_ranged(expected['loss'], lambda v: f'{v:.3f}')} nats a token by the law of {expected['law']}"
        rows.append(("loss", f"{told}, {expected['extrapolation']:,.3g} times its largest trial"))
    swept = found["sweep"]
    told = f"{swept['trials']} trials, {swept['flops']:.2e} FLOPs, {_ranged(swept['hours'], _hours)} on one node"
    rows.append(("its sweep", f"{told}, {_ranged(swept['usd'], _money)}"))
    lines = _named(rows)
    if found["budget"]:
        lines += ["", *_named(_budget_rows(found["budget"]))]
    return [*lines, *(f"warning: {one['sentence']}" for one in found["warnings"])]


def _budget_rows(budget: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (f"${budget['usd']:,.2f}", f"buys {budget['flops']['value']:.3e} FLOPs ({budget['flops']['low']:.2e} to "
         f"{budget['flops']['high']:.2e}); the recipe fits: {budget['recipe_fits']}"),
        ("  this model", f"{_count(budget['longest']['tokens'])} tokens, "
         f"{budget['longest']['tokens_per_parameter']:.3g} a parameter, {budget['longest']['passes']:.3g} passes"),
    ]  # fmt: skip
    if budget["balanced"]:
        even = budget["balanced"]
        told = f"depth {even['depth']}: {_count(even['parameters'])} parameters on {_count(even['tokens'])} tokens"
        rows.append(
            (
                "  balanced",
                f"{told}, {even['passes']:.3g} passes ({even['tokens_per_parameter']:.3g} tokens a parameter)",
            )
        )
    if budget["by_law"]:
        best = budget["by_law"]
        told = f"{_ranged(best['parameters'], _count)} parameters on {_ranged(best['tokens'], _count)} tokens"
        far = ", a guess" if best["far"] else ""
        loss = _ranged(best["loss"], lambda v: f"{v:.3f}")
        rows.append(("  by the law", f"{told}: loss {loss} ({best['law']}, {best['extrapolation']:,.3g} times{far})"))
    return rows


def _named(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {told}" for name, told in rows]


def _ranged(entry: dict[str, float], show: Callable[[float], str]) -> str:
    value = show(entry["value"])
    return value if entry["low"] == entry["high"] else f"{value} ({show(entry['low'])} to {show(entry['high'])})"


def _count(value: float) -> str:
    for power, unit in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if value >= 10**power:
            return f"{value / 10**power:.3g} {unit}"
    return f"{value:.0f}"


def _size(value: float) -> str:
    return f"{_count(value)}B"


def _hours(value: float) -> str:
    return f"{value:,.3g} h" if value >= 1 else f"{value * 60:.3g} min"


def _money(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.1 else f"${value:.3g}"
