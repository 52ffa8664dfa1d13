"""The commands. Thin: options in, one call, figures out."""

from __future__ import annotations

from typing import Annotated

import typer

from raytrain.cli import cluster, control, curate, data, metrics, scaling, source
from raytrain.cli.options import JsonOption, RunArgument, StoreOption, open_store, print_json

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turn a bucket of text into a language model on your own cluster, and know what it costs.",
)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="The recipe: a path or URI of a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, repeatable.")] = None,
    store: StoreOption = None,
    engine: Annotated[str | None, typer.Option(help="ray or local; overrides the recipe.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this step.")] = None,
    take_over: Annotated[bool, typer.Option("--take-over", help="Take the run over from a live attempt.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Carry out a recipe: ingest, curate, tokenize, train, evaluate, export, report. Resumes; never repeats."""
    from raytrain import recipe as recipes
    from raytrain import runs
    from raytrain.cli.live import Live, give_way, stop_here

    extra = [f"engine={engine}"] if engine else []
    loaded = recipes.load(recipe, [*(overrides or []), *extra], store)
    live = Live()
    result = runs.execute(
        loaded,
        say=live.say,
        take_over=take_over,
        until=until,
        training=live.training,
        on_superseded=give_way,
        on_stop=stop_here,
    )
    if result["state"] == "succeeded":
        from raytrain.cli.results import deliver

        result = deliver(open_store(loaded.store), loaded.name, live.say)
    print_json(as_json, result)


@app.command()
def ls(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List the runs of a store."""
    from raytrain.observe.collect import run_names, state_of

    place = open_store(store)
    rows = [{"run": name, "state": state_of(place, name)} for name in run_names(place)]
    if not as_json:
        for row in rows:
            print(f"{row['run']:<32} {row['state']}")
        if not rows:
            print(f"no run in {place.uri}")
    print_json(as_json, {"store": place.uri, "runs": rows})


@app.command()
def show(run: RunArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show what a run has done, how good it is and what it cost."""
    from raytrain.cli.results import table
    from raytrain.observe.collect import collect
    from raytrain.observe.collect import show as short

    facts = short(collect(open_store(store), run))
    if not as_json:
        print(table(facts))
    print_json(as_json, facts)


@app.command()
def generate(
    run: RunArgument,
    prompt: Annotated[str, typer.Argument(help="The text to continue.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1)] = 200,
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.8,
    top_p: Annotated[float, typer.Option(min=0.001, max=1.0)] = 0.95,
    seed: int = 0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Continue a prompt with a run's model."""
    from raytrain.cli.results import continue_text

    text = continue_text(open_store(store), run, prompt, max_tokens, temperature, top_p, seed)
    if not as_json:
        print(prompt + text)
    print_json(as_json, {"run": run, "prompt": prompt, "text": text})


@app.command()
def export(
    run: RunArgument,
    to: Annotated[str | None, typer.Option("--to", help="The folder to write. [default: ./RUN-model]")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's model as a Hugging Face folder that transformers loads."""
    from raytrain.cli.results import export_model

    folder = export_model(open_store(store), run, to or f"./{run}-model")
    if not as_json:
        print(f"model written to {folder}; transformers.AutoModelForCausalLM.from_pretrained({str(folder)!r})")
    print_json(as_json, {"run": run, "path": str(folder)})


@app.command()
def report(
    run: RunArgument,
    to: Annotated[str | None, typer.Option("--to", help="The HTML file to write. [default: ./RUN-report.html]")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's report: one HTML page that needs nothing else."""
    from raytrain.cli.results import write_report

    path = write_report(open_store(store), run, to or f"./{run}-report.html")
    if not as_json:
        print(f"report written to {path}")
    print_json(as_json, {"run": run, "path": str(path)})


@app.command()
def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Check this machine and the store before anything is spent."""
    from raytrain.observe.doctor import examine

    findings = examine(open_store(store))
    if not as_json:
        for f in findings:
            print(f"{'ok  ' if f['ok'] else 'BAD '} {f['check']:<10} {f['text']}")
    print_json(as_json, {"ok": all(f["ok"] for f in findings), "findings": findings})
    if not all(f["ok"] for f in findings):
        raise typer.Exit(1)


for module in (curate, control, data, source, cluster, metrics, scaling):
    module.register(app)
