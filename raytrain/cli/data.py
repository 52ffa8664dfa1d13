"""The commands that look at the data of runs: `raytrain data ...`."""

from __future__ import annotations

import textwrap
import time
from typing import Annotated, Any

import typer

from raytrain.cli.options import JsonOption, StoreOption, open_store, print_json

data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at the data of a run.")


corpus_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Compare corpora.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(data_app, name="data")
    app.add_typer(corpus_app, name="corpus")


@data_app.command("at")
def data_at(
    run: Annotated[str, typer.Option("--run", help="The run's name.")],
    step: Annotated[int, typer.Option("--step", help="The optimizer step, from 1.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the sequences and documents that a step trained on."""
    from raytrain.observe.data_at import data_at as find

    found = find(open_store(store), run, step)
    if not as_json:
        for s in found["sequences"]:
            print(f"sequence {s['sequence']} (microbatch {s['microbatch']}): {s['domain']}, pass {s['pass']}")
            for d in s["documents"]:
                print(f"  {d['doc_id']}  {d['source']}/{d['file']}#{d['record']}  {d['tokens']} tokens  {d['licence']}")
    print_json(as_json, found)


@data_app.command("export")
def export(
    run: Annotated[str, typer.Argument(help="The run's name.")],
    to: Annotated[str, typer.Option("--to", help="The folder to write: a path or URI, new or empty.")],
    form: Annotated[str, typer.Option("--format", help="megatron, nanogpt (tokens) or parquet (texts).")] = "parquet",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a run's data for another trainer."""
    from raytrain.cli.results import export_data

    done = export_data(open_store(store), run, form, to)
    if not as_json:
        print(f"{done['files']} files written to {done['path']}")
    print_json(as_json, {"run": run, "format": form, **done})


@data_app.command("trace")
def trace(
    id: Annotated[str, typer.Argument(help="A doc_id (32 hex digits) or a record id: source/file/record.")],
    run: Annotated[str | None, typer.Option("--run", help="Only in this run's documents.")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what happened to a document and why: from its file to the steps that trained on it."""
    from raytrain.observe.trace import trace as find

    found = find(open_store(store), id, run)
    if not as_json:
        for record in found["records"]:
            _print_record(record)
    print_json(as_json, found)


@data_app.command("forget")
def forget(
    ids: Annotated[list[str], typer.Argument(help="doc_ids (a text wherever it stands) or record ids (one record).")],
    reason: Annotated[str, typer.Option("--reason", help="Why; kept with the list.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Leave documents out of every corpus made from now on, and say what was made of them already."""
    from raytrain.corpus.forgotten import forget as put
    from raytrain.observe.trace import find, touched

    place = open_store(store)
    places = find(place, ids)
    new, known = put(place, ids, reason)
    told = {"forgotten": [vars(entry) for entry in new], "already": [vars(entry) for entry in known]}
    found = {**told, **touched(place, places)}
    if not as_json:
        _print_touched(found)
    print_json(as_json, found)


@data_app.command("forgotten")
def forgotten(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """List what is to be forgotten, with the reasons."""
    from raytrain.corpus.forgotten import listed

    entries = listed(open_store(store))
    if not as_json:
        for entry in entries:
            print(f"{entry.id}  {entry.reason}")
    print_json(as_json, {"forgotten": [vars(entry) for entry in entries]})


@corpus_app.command("diff")
def diff(
    a: Annotated[str, typer.Argument(help="A run's name or a corpus id.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed between two corpora: what came, what went, and for what reasons."""
    from raytrain.corpus.diff import diff as compare
    from raytrain.observe.trace import corpus_of

    place = open_store(store)
    found = compare(corpus_of(place, a), corpus_of(place, b))
    if not as_json:
        _print_diff(found)
    print_json(as_json, found)


def _print_record(record: dict[str, Any]) -> None:
    print(f"{record['record_id']}  (doc_id {record['doc_id']})")
    told = ("file", "record", "licence", "origin", "verification", "date", "url")
    print("  " + ", ".join(f"{name} {record[name]}" for name in told if record[name] is not None))
    print(f"  row {record['row']} of shard {record['shard']} of {record['documents']}, {record['bytes']} bytes")
    for stage, numbers in record["numbers"].items():
        values = (f"{name} {v:.4g}" if isinstance(v, float) else f"{name} {v}" for name, v in numbers.items())
        print(textwrap.fill(f"{stage}: {', '.join(values)}", 118, initial_indent="  ", subsequent_indent="    "))
    for corpus in record["corpora"]:
        _print_corpus(corpus)


def _print_corpus(corpus: dict[str, Any]) -> None:
    from raytrain.observe.samples import named

    runs = f" (runs {', '.join(corpus['runs'])})" if corpus["runs"] else ""
    how = f"kept for {corpus['split']}" if corpus["keep"] else "not kept"
    print(f"  {corpus['corpus']}{runs}: {how}")
    for one in corpus["failed"]:
        number = f": {one['column']} is {one['value']}, asked {one['op']} {one['threshold']}" if "column" in one else ""
        print(f"    fails {one['rule']}{number}")
    if other := corpus["duplicate_of"]:
        similar = "".join(f", {name} {v:.3f}" for name in ("jaccard", "containment") if (v := other[name]) is not None)
        print(f"    duplicate of {named(other)}{similar}")
    for one in corpus["matches"]:
        words = " ".join(one["text"].split())
        print(f'    holds {one["set"]}, item {one["item"]}, overlap {one["overlap"]:.2f}: "{words}"')
    for pair in corpus["compared"]:
        found = "the same" if pair["accepted"] else "another text"
        print(f"    compared with {pair['doc_id']}: jaccard {pair['jaccard']:.3f}, {found}")
    for cut in corpus.get("cuts", ()):
        print(f"    bytes {cut['start']} to {cut['end']} are cut: {cut['reason']}")
    for held in corpus.get("tokens", ()):
        place = f"shard {held['shard']}, {held['domain']}, position {held['position']}"
        print(f"    {held['tokens']} tokens in {held['artifact']}: {held['split']}, {place}")
        for run, steps in held["steps"].items():
            print(f"      run {run} trained on them at {_steps(steps)}")
        for run, why in held["unordered"].items():
            print(f"      order of run {run} cannot be computed: {why}")


def _steps(steps: list[int]) -> str:
    shown = ", ".join(str(step) for step in steps[:10])
    more = f" and {len(steps) - 10} more" if len(steps) > 10 else ""
    return f"step {shown}{more}" if steps else "no step yet"


def _print_touched(found: dict[str, Any]) -> None:
    for entry in found["already"]:
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(entry["at"]))
        print(f"{entry['id']}: already forgotten since {since}, reason: {entry['reason']}")
    if found["forgotten"]:
        print(f"{found['records']} record(s) will not be in any corpus made from now on")
    for kind in ("corpora", "tokens"):
        for prefix, held in found[kind].items():
            many = f"{held['tokens']} tokens" if "tokens" in held else f"{held['records']} of them"
            shards = f" in shard {', '.join(map(str, held['shards']))}" if "shards" in held else ""
            runs = f" (runs {', '.join(held['runs'])})" if held["runs"] else ""
            print(f"{prefix} holds {many}{shards}{runs}")
    for prefix in found["models"]:
        print(f"{prefix} was trained on them")
    if found["similar"]:
        print(f"near-duplicates that stay: {', '.join(found['similar'])}")
    if found["runs"]:
        print(
            f"runs touched: {', '.join(found['runs'])}; make them again under another name, then delete what is above"
        )


def _print_diff(found: dict[str, Any]) -> None:
    for side in "ab":
        print(f"{side}: corpora/{found[side]['corpus']}, {_volume(found[side])}")
    for one in found["settings"]:
        print(f"  {one['name']}: {one['a']} -> {one['b']}")
    for name in ("added", "removed"):
        print(f"{name}: {_volume(found[name])}")
        for kind in ("source", "reason"):
            for value, held in found[name][f"by_{kind}"].items():
                print(f"  {kind} {value}: {_volume(held)}")
        for row in found["samples"][name]:
            print(f"  {row['record_id']}: {' '.join(row['text'].split())[:80]}")
    print(f"still out, for another reason: {found['changed_reason']['documents']} documents")
    for change, many in found["changed_reason"]["by"].items():
        print(f"  {change}: {many}")
    if many := found["changed_text"]["documents"]:
        print(f"kept by both with another text: {many} documents")


def _volume(held: dict[str, Any]) -> str:
    return f"{held['documents']:,} documents, {held['bytes'] / 1e6:.2f} MB"
