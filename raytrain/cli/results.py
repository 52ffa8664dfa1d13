"""Bringing a run's results to where people look: a table, a report page, a model folder, generated text."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raytrain.errors import UserError
from raytrain.store import Artifact, Store


def deliver(store: Store, run: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Writes the report and the exported model of a finished run below runs/RUN, and says how it went.

    They can be remade at any time from the artifacts, so they are replaced, not committed.
    """
    from raytrain.observe.collect import collect, show

    facts = collect(store, run)
    report_key, export_prefix = f"runs/{run}/report.html", f"runs/{run}/export"
    if not store.exists(report_key):
        from raytrain.observe.report import render

        store.replace(report_key, render(facts).encode())
    if not store.exists(f"{export_prefix}/config.json"):
        from raytrain.evaluate.export import hugging_face_files

        files = hugging_face_files(model_of(store, run), facts)
        for name in sorted(files, key=lambda n: n == "config.json"):  # last: it says that the folder is whole
            store.replace(f"{export_prefix}/{name}", files[name])
    short = show(facts)
    say("")
    say(table(short))
    say("")
    say(f"report  {store.where(report_key)}")
    say(f"model   {store.where(export_prefix)}   (transformers.AutoModelForCausalLM.from_pretrained)")
    say(f'try it  raytrain generate {run} "Once upon a time" --store {store.uri}')
    return short | {"report": store.where(report_key), "export": store.where(export_prefix)}


def model_of(store: Store, run: str) -> Artifact:
    """A run's finished model. UserError while there is none."""
    from raytrain.observe.collect import artifacts_of, known, state_of

    made = artifacts_of(store, run)
    if "pretrain" not in made:
        known(store, run)  # names an unknown run as such
        state = state_of(store, run)
        raise UserError(f"run {run!r} has no finished model yet ({state}); run its recipe to the end first")
    return made["pretrain"]


def export_model(store: Store, run: str, to: str) -> Path:
    """Writes the Hugging Face folder; an existing folder that is not such a model is not touched."""
    from raytrain.evaluate.export import hugging_face_files
    from raytrain.observe.collect import collect

    artifact = model_of(store, run)
    folder = Path(to)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "config.json").exists())):
        raise UserError(f"--to {to!r} exists and is not an exported model; name another folder")
    files = hugging_face_files(artifact, collect(store, run))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(files, key=lambda n: n == "config.json"):
            (folder / name).write_bytes(files[name])
    except OSError as error:
        raise _cannot_write(to, error) from None
    return folder


def export_data(store: Store, run: str, form: str, to: str) -> dict[str, Any]:
    """Writes a run's tokens or texts as another trainer reads them.

    UserError while the run has none, and where they hold what is to be forgotten since they were made.
    """
    from raytrain.corpus.forgotten import held
    from raytrain.observe.collect import artifacts_of, known, state_of
    from raytrain.tokens.export import export_megatron, export_nanogpt, export_parquet

    formats = {"megatron": export_megatron, "nanogpt": export_nanogpt}
    if form != "parquet" and form not in formats:
        raise UserError(f"--format {form!r}: there are megatron, nanogpt and parquet")
    made = artifacts_of(store, run)
    needed = "select" if form == "parquet" else "tokenize"
    if needed not in made:
        known(store, run)  # names an unknown run as such
        state = state_of(store, run)
        raise UserError(f"run {run!r} has no result of the step {needed} ({state}); run its recipe up to there first")
    if "select" in made and (many := held(made["ingest"], made["select"])):
        raise UserError(
            f"run {run!r} holds {many} record(s) that are to be forgotten since it was made; make the corpus anew: run "
            "its recipe under another name, and export that"
        )
    if form == "parquet":
        return export_parquet(made["select"], to)
    return formats[form](made["tokenize"], made["tokenizer"], to)


def write_report(store: Store, run: str, to: str) -> Path:
    """Renders a run's report as it stands now."""
    from raytrain.observe.collect import collect
    from raytrain.observe.report import render

    path = Path(to)
    page = render(collect(store, run))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise _cannot_write(to, error) from None
    return path


def _cannot_write(to: str, error: OSError) -> UserError:
    return UserError(f"--to {to!r} cannot be written: {error.strerror}; name another place")


def continue_text(
    store: Store, run: str, prompt: str, max_tokens: int, temperature: float, top_p: float, seed: int
) -> str:
    """Text that the run's model puts after a prompt; an empty prompt is the start of a document."""
    from raytrain.model.generate import generate
    from raytrain.train.finish import load_model

    model, tokenizer, end_id = load_model(model_of(store, run))
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids or [end_id]
    more = generate(model, ids, max_tokens=max_tokens, end_id=end_id, temperature=temperature, top_p=top_p, seed=seed)
    return str(tokenizer.decode(more))


def table(facts: dict[str, Any]) -> str:
    """The short facts as aligned lines."""
    rows: list[tuple[str, str]] = [("run", f"{facts['run']} ({facts['state']})")]
    if facts["step"]:
        of = f" of {facts['max_steps']:,}" if facts["max_steps"] else ""
        rows.append(("trained", f"{facts['step']:,}{of} steps, {facts['tokens']:,} tokens"))
    if facts["parameters"]:
        rows.append(("parameters", f"{facts['parameters']:,}  sha256 {facts['parameter_sha256'][:16]}"))
    bits = {"model": "val", "xz -9e": "xz", "PPMd": "ppmd", "xz after training text": "xz_given_train"}
    shown = [f"{name} {facts[f'{k}_bits_per_byte']:.3f}" for name, k in bits.items() if facts[f"{k}_bits_per_byte"]]
    if shown:
        rows.append(("bits per byte", ", ".join(shown) + " (held-out documents, lower is better)"))
    if facts["tokens_per_second"]:
        rows.append(("speed", f"{facts['tokens_per_second']:,.0f} tokens/s, MFU {facts['mfu']:.0%}"))
    if facts["elapsed_seconds"]:
        phases = sorted(((s, p) for p, s in facts["phases"].items() if s >= 0.05), reverse=True)
        rows.append(("time", ", ".join(f"{p} {s:.0f} s" for s, p in phases)))
        rows.append(("goodput", f"{facts['goodput']:.0%} of {facts['elapsed_seconds']:.0f} node seconds"))
    rows.append(("cost", f"{_money(facts['cost_usd'])} (training {_money(facts['cost']['training_usd'])})"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _money(usd: float) -> str:
    """Dollars with the digits that tell something: a laptop's run costs a fraction of a cent."""
    digits = 2 if not 0 < usd < 1 else 1 - math.floor(math.log10(usd))
    return f"${usd:,.{max(2, digits)}f}"
