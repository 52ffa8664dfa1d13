"""`raytrain plan`: what a recipe will read, need, take and cost, and what to expect of it, before anything is spent.

It reads the recipe, the sources' listings and what is in the store, and starts and writes nothing. A figure comes from
a finished artifact or a measured run where there is one; else it is estimated, with a range and the assumption in
words. The invariant: no assumption goes unnamed, and no limit is passed over in silence.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pydantic

from raytrain.corpus.inventory import format_of
from raytrain.errors import UserError
from raytrain.ledger import price_of, read_events
from raytrain.ledger.prices import Price, table
from raytrain.model.section import ModelSection
from raytrain.observe.collect import artifacts_of, run_names
from raytrain.recipe import Recipe
from raytrain.scaling.plan import (
    MFU,
    MOST_EPOCHS,
    NODE_OVER_GPUS,
    Machines,
    Range,
    assumed_flops,
    balanced,
    exactly,
    longest,
    memory,
    nearest,
)
from raytrain.scaling.section import grid
from raytrain.store import Artifact, Store
from raytrain.store.uri import walk_files
from raytrain.tokens.shards import read_definition, token_dtype
from raytrain.tokens.tokenizer import encoder
from raytrain.train.hardware import Accelerator, accelerator, cpu_flags
from raytrain.train.section import TrainSection

UNPACKED = {".gz": 3.0, ".zst": 3.5, ".parquet": 2.5}  # bytes of text a byte of file: English prose, within a third
KEPT = Range(0.7, 0.3, 1.0)  # of text, through filters and duplicates: web text 0.3, curated text nearly all
BYTES_PER_DOCUMENT = Range(3000.0, 1000.0, 10000.0)
BYTES_PER_TOKEN = {4096: 3.5, 50257: 4.4}  # measured on the quickstart's corpus; GPT-2's vocabulary on English
MEASURED_RUNS = 8  # looked at for their speed
_DATA_KEYS = ("sources", "corpus")


def forecast(recipe: Recipe, *, usd: float | None = None, law: str | None = None) -> dict[str, Any]:
    """The plan as docs/schemas/plan.json describes it. Raises UserError for what no plan can be made of."""
    if usd is not None and usd <= 0:
        raise UserError(f"--usd: {usd:g} buys nothing; give a sum above zero")
    price, store = price_of(recipe.cost), Store(recipe.store)
    store.reach()
    warnings: list[dict[str, str]] = []
    data, vocab_size, tokens_id = _data(recipe, store)
    try:
        train = recipe.train.resolved(recipe.model, vocab_size)
    except pydantic.ValidationError as error:
        raise UserError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    gpu_name, gpu, room = _node_of(recipe)
    machines, speed = _machines(recipe, store, price, gpu, room, vocab_size)
    training = _training(recipe.model, train, vocab_size, data)
    needed = memory(recipe.model, train, vocab_size, _bf16(train, gpu))
    if gpu is not None and needed.total > gpu.memory:
        _warn(warnings, "memory", f"A rank needs {needed.total / 1e9:.1f} GB; {gpu_name} has {gpu.memory / 1e9:.0f}.")
    if training["passes"]["value"] > MOST_EPOCHS:
        times = training["passes"]["value"]
        told = f"The text is read {times:.1f} times; beyond {MOST_EPOCHS:.0f} passes repetition costs loss"
        _warn(warnings, "epochs", f"{told} (Muennighoff et al. 2023).")
    spare = machines.nodes * room - machines.workers
    if gpu is not None and spare:
        _warn(warnings, "idle_devices", f"{spare} of {machines.nodes * room} GPUs are paid for and not used.")
    if price.stale_days:
        days = price.stale_days
        _warn(
            warnings, "stale_price", f"The price of {price.instance} is {days} days older than the 90 it is good for."
        )
    known = _law(store, law)
    if known is not None and known.body.get("data") != tokens_id:
        told = f"The law of sweep {known.name!r} was fitted on other tokens, or these are not made yet"
        _warn(warnings, "law_of_other_data", f"{told}: its loss holds for its own text and tokenizer.")
    flops = training["flops"]
    return {
        "recipe": recipe.name,
        "store": store.uri,
        "data": data,
        "model": _model(recipe.model, vocab_size),
        "training": training,
        "memory_bytes_a_rank": needed.as_dict() | {"compute": "bf16" if _bf16(train, gpu) else "fp32"},
        "machines": {
            "instance": price.instance,
            "market": price.market,
            "gpu": gpu_name,
            "nodes": machines.nodes,
            "workers": machines.workers,
            "usd_per_node_hour": price.usd_per_hour,
            "price_source": price.source,
            "watts_a_node": machines.watts,
            "flops_a_worker": machines.flops.as_dict(),
            "mfu": machines.flops.value / gpu.flops if gpu else None,
            "speed_source": speed,
        },
        "hours": machines.hours(flops).as_dict(),
        "usd": machines.usd(flops).as_dict(),
        "kwh": machines.kwh(flops).as_dict(),
        "expected": _expected(known, training, recipe.model.parameters(vocab_size), warnings),
        "sweep": _sweep(recipe, train, vocab_size, machines, room),
        "budget": _budget(recipe, usd, machines, vocab_size, training, data, known, warnings),
        "warnings": warnings,
    }


def _warn(warnings: list[dict[str, str]], code: str, sentence: str) -> None:
    warnings.append({"code": code, "sentence": sentence})


# -- what will be read ----------------------------------------------------------------------------------------------


def _data(recipe: Recipe, store: Store) -> tuple[dict[str, Any], int, str | None]:
    """(documents, bytes and tokens to train on with their source; vocabulary; id of the tokens where they are made)."""
    run, made = _made(recipe, store)
    vocab_size = _vocab_size(recipe, made)
    if recipe.sources_are_tokens and "tokenize" not in made:
        return _token_files(recipe, vocab_size), vocab_size, None
    if "select" in made:
        part = made["select"].facts["split"]["train"]
        documents, volume = exactly(part["documents"]), exactly(part["bytes"])
        source, assumed = f"artifacts of run {run!r}", ""
    else:
        listed, files = _listing(recipe)
        volume = Range(listed * KEPT.value, listed * KEPT.low, listed * KEPT.high)
        documents = _documents_in(volume)
        source = f"estimated from the listing: {files:,} files, about {listed / 1e6:,.1f} MB of text"
        packed = ", ".join(f"{times:g} ({ending})" for ending, times in UNPACKED.items())
        assumed = (
            f"packed files hold {packed} times their size; {KEPT.value:.0%} of the text is kept ({KEPT.low:.0%} to "
            f"{KEPT.high:.0%}); {BYTES_PER_DOCUMENT.value:,.0f} bytes a document"
        )
    if "tokenize" in made:
        tokens = exactly(made["tokenize"].facts["train_tokens"])
    else:
        per = bytes_per_token(vocab_size)
        tokens = Range(volume.value / per, volume.low / per / 1.2, volume.high / per * 1.2)
        assumed += f"{'; ' if assumed else ''}{per:.1f} bytes a token, within a fifth"
    body = {
        "documents": documents.as_dict(),
        "bytes": volume.as_dict(),
        "tokens": tokens.as_dict(),
        "source": source,
        "assumed": assumed or None,
    }
    return body, vocab_size, made["tokenize"].id if "tokenize" in made else None


def _documents_in(text: Range) -> Range:
    """How many documents so many bytes of text are."""
    per = BYTES_PER_DOCUMENT
    return Range(text.value / per.value, max(1.0, text.low / per.high), text.high / per.low)


def _token_files(recipe: Recipe, vocab_size: int) -> dict[str, Any]:
    """What token files hold by their size: indices and what is held out are at most a tenth of it."""
    listed, files = _listing(recipe)
    width, per = token_dtype(vocab_size).itemsize, bytes_per_token(vocab_size)
    tokens = Range(listed / width, 0.9 * listed / width, listed / width)
    text = Range(tokens.value * per, tokens.low * per / 1.2, tokens.high * per * 1.2)
    documents = _documents_in(text)
    return {
        "documents": documents.as_dict(),
        "bytes": text.as_dict(),
        "tokens": tokens.as_dict(),
        "source": f"estimated from the listing: {files:,} files, {listed / 1e6:,.1f} MB of tokens",
        "assumed": f"{width} bytes a token as stored; {per:.1f} bytes of text a token, within a fifth",
    }


def _made(recipe: Recipe, store: Store) -> tuple[str | None, dict[str, Artifact]]:
    """The finished data artifacts of a run with the same sources, corpus and tokenizer sections, its own name first."""
    identity = json.loads(json.dumps(recipe.identity()))
    names = sorted(run_names(store), key=lambda name: name != recipe.name)
    partly: tuple[str | None, dict[str, Artifact]] = (None, {})
    for name in names:
        known = json.loads(store.get(f"runs/{name}/recipe.json"))["identity"]
        if any(known.get(key) != identity[key] for key in _DATA_KEYS):
            continue
        made = artifacts_of(store, name)
        if known.get("tokenizer") == identity["tokenizer"]:
            if "tokenize" in made:
                return name, made
        else:
            made = {k: a for k, a in made.items() if k not in ("tokenizer", "tokenize")}
        if "select" in made and not partly[1]:
            partly = name, made
    return partly


def _vocab_size(recipe: Recipe, made: Mapping[str, Artifact]) -> int:
    if "tokenizer" in made:
        return int(made["tokenizer"].facts["vocab_size"])
    if recipe.tokenizer.file is not None:
        return int(encoder(read_definition(recipe.tokenizer.file), recipe.tokenizer.end_of_text).vocab_size)
    return recipe.tokenizer.vocab_size


def _listing(recipe: Recipe) -> tuple[float, int]:
    """(bytes of text by the assumption of UNPACKED, files) of all sources."""
    total, files = 0.0, 0
    for i, source in enumerate(recipe.sources):
        try:
            found = [row for row in walk_files(source.uri) if source.format != "auto" or format_of(row[1])]
        except (UserError, ImportError, ValueError) as error:
            raise UserError(f"sources[{i}] ({source.name}): {error}; correct its uri") from None
        if not found:
            raise UserError(f"sources[{i}] ({source.name}): {source.uri} holds no file of a known format")
        files += len(found)
        total += sum(
            size * next((x for e, x in UNPACKED.items() if path.endswith(e)), 1.0) for _, path, size, _ in found
        )
    return total, files


def bytes_per_token(vocab_size: int) -> float:
    """An estimate: linear in the logarithm of the vocabulary between the two that are known, and beyond."""
    (small, few), (large, many) = BYTES_PER_TOKEN.items()
    return few + (many - few) * math.log(vocab_size / small) / math.log(large / small)


# -- what will be done ----------------------------------------------------------------------------------------------


def _model(model: ModelSection, vocab_size: int) -> dict[str, Any]:
    counts = model.parameter_counts(vocab_size)
    return {
        "parameters": sum(counts.values()),
        "non_embedding_parameters": sum(counts.values()) - counts["embedding"],
        "depth": model.depth,
        "width": model.resolved().width,
        "context": model.context,
        "vocab_size": vocab_size,
    }


def _training(model: ModelSection, train: TrainSection, vocab_size: int, data: Mapping[str, Any]) -> dict[str, Any]:
    assert train.max_steps and train.batch_sequences
    batch = train.batch_sequences * model.context
    tokens = train.max_steps * batch
    there = data["tokens"]
    return {
        "steps": train.max_steps,
        "batch_tokens": batch,
        "tokens": tokens,
        "tokens_per_parameter": tokens / model.parameters(vocab_size),
        "flops": tokens * model.flops_per_token(vocab_size),
        "learning_rate": train.learning_rate,
        "passes": {"value": tokens / there["value"], "low": tokens / there["high"], "high": tokens / there["low"]},
    }


def _node_of(recipe: Recipe) -> tuple[str | None, Accelerator | None, int]:
    """(GPU's name, its data sheet, workers that a node holds) of the recipe's instance."""
    row = table()["instances"].get(recipe.cost.instance)
    if row is None:
        return None, None, max(1, (os.cpu_count() or 1) // recipe.train.threads)
    return row["gpu"], accelerator(row["gpu"]), int(row["gpus"])


def _machines(
    recipe: Recipe, store: Store, price: Price, gpu: Accelerator | None, room: int, vocab_size: int
) -> tuple[Machines, str]:
    measured = _measured(recipe, store)
    if measured is not None:
        flops, source = measured
    else:
        flops = assumed_flops(gpu, recipe.train.threads)
        share = f"{MFU[1]:.0%} of the peak ({MFU[0]:.0%} to {MFU[2]:.0%})" if gpu else "a guess for CPU threads"
        source = f"no run on {price.instance} in the store to measure: {share}"
    watts = gpu.watts * room * NODE_OVER_GPUS if gpu is not None else recipe.cost.watts
    return Machines(recipe.train.workers_max, room, flops, price.usd_per_hour, watts), source


def _measured(recipe: Recipe, store: Store) -> tuple[Range, str] | None:
    """FLOP/s a worker in the store's runs on the same instance, weighted by their time, with the runs' range."""
    speeds: dict[str, tuple[float, float]] = {}
    for name in run_names(store):
        known = json.loads(store.get(f"runs/{name}/recipe.json"))["recipe"]
        if known["cost"]["instance"] != recipe.cost.instance or len(speeds) == MEASURED_RUNS:
            continue
        made = artifacts_of(store, name)
        steps = [e["value"] for e in read_events(store, name) if e["kind"] == "step" and e["value"].get("tokens")]
        seconds = sum(v["seconds"] * v.get("workers", 1) for v in steps)
        if seconds and "tokenizer" in made:
            each = ModelSection.model_validate(known["model"]).flops_per_token(made["tokenizer"].facts["vocab_size"])
            speeds[name] = (sum(v["tokens"] for v in steps) * each, seconds)
    if not speeds:
        return None
    rates = [flops / seconds for flops, seconds in speeds.values()]
    value = sum(f for f, _ in speeds.values()) / sum(s for _, s in speeds.values())
    low, high = min(*rates, value * 0.8), max(*rates, value * 1.2)
    listed = ", ".join(sorted(speeds))
    return Range(value, low, high), f"measured in {listed}; at least a fifth either way"


def _bf16(train: TrainSection, gpu: Accelerator | None) -> bool:
    if train.precision != "auto":
        return train.precision == "bf16"
    return gpu is not None or bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def _sweep(recipe: Recipe, train: TrainSection, vocab_size: int, machines: Machines, room: int) -> dict[str, Any]:
    """The recipe's scaling sweep on one node."""
    cells = grid(recipe.sweep, recipe.model, recipe.train, vocab_size)
    flops = sum(cell.flops(vocab_size) for cell in cells)
    at_once = min(recipe.sweep.concurrency or room, room, len(cells))
    longest_trial = max(cell.flops(vocab_size) for cell in cells)
    at_once = max(1, min(at_once, round(flops / longest_trial)))  # it cannot end before its longest trial
    alone = Machines(at_once, room, machines.flops, machines.usd_per_hour, machines.watts)
    return {
        "trials": len(cells),
        "flops": flops,
        "hours": alone.hours(flops).as_dict(),
        "usd": alone.usd(flops).as_dict(),
    }


# -- what to expect -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A stored law."""

    name: str
    body: dict[str, Any]
    draws: bytes


def _law(store: Store, wanted: str | None) -> Known | None:
    """The law of a sweep by name, or the newest one. UserError for a name without a law."""
    laws: dict[str, dict[str, Any]] = {}
    for name in store.folders("sweeps"):
        try:
            laws[name] = json.loads(store.get(f"sweeps/{name}/law.json"))
        except FileNotFoundError:
            continue
    if wanted is not None and wanted not in laws:
        there = f"there are {', '.join(sorted(laws))}" if laws else "it holds no law"
        raise UserError(f"--law: sweep {wanted!r} has no law in {store.uri}: {there}; run `raytrain sweep` first")
    if not laws:
        return None
    name = wanted or max(laws, key=lambda n: float(laws[n]["at"]))
    return Known(name, laws[name], store.get(f"sweeps/{name}/{laws[name]['draws']['object']}"))


def _expected(
    known: Known | None, training: Mapping[str, Any], parameters: int, warnings: list[dict[str, str]]
) -> dict[str, Any] | None:
    if known is None:
        return None
    from raytrain.scaling.study import expect

    found = expect(known.body, known.draws, parameters, training["tokens"])
    if found["far"]:
        told = f"The expected loss lies {found['extrapolation']:,.0f} times beyond sweep {known.name!r}'s largest trial"
        _warn(warnings, "far_extrapolation", f"{told}: a guess.")
    if known.body["not_identified"]:
        _warn(warnings, "law_not_identified", f"Sweep {known.name!r}: {known.body['sentence']}")
    return {"law": known.name, **found}


def _budget(
    recipe: Recipe,
    usd: float | None,
    machines: Machines,
    vocab_size: int,
    training: Mapping[str, Any],
    data: Mapping[str, Any],
    known: Known | None,
    warnings: list[dict[str, str]],
) -> dict[str, Any] | None:
    """What a sum buys: the longest horizon of this model, the dial's balanced size, the law's best split."""
    if usd is None:
        return None
    if machines.usd_per_hour <= 0:
        raise UserError("--usd: a node of this recipe costs nothing, so any sum buys anything; set cost.usd_per_hour")
    flops, cost = machines.affordable(usd), machines.usd(training["flops"])
    fits = "yes" if cost.high <= usd else "perhaps" if cost.low <= usd else "no"
    if fits != "yes":
        told = f"The recipe costs ${cost.value:,.4g} (${cost.low:,.4g} to ${cost.high:,.4g}), the budget is ${usd:,.4g}"
        _warn(warnings, "over_budget", f"{told}.")
    own, even = longest(recipe.model, vocab_size, flops.value), balanced(recipe.model, vocab_size, flops.value)
    if even is None:
        _warn(warnings, "budget_too_small", "The budget trains no size of the dial on 20 tokens a parameter.")

    even_passes = even.tokens / data["tokens"]["value"] if even else 0.0
    if even_passes > MOST_EPOCHS:
        told = f"The balanced size would read the text {even_passes:,.0f} times: there is more money than text"
        _warn(warnings, "budget_beyond_data", f"{told}.")

    def body(depth: int, parameters: float, tokens: float) -> dict[str, Any]:
        return {
            "depth": depth,
            "parameters": parameters,
            "tokens": tokens,
            "tokens_per_parameter": tokens / parameters,
            "passes": tokens / data["tokens"]["value"],
        }

    best = None
    if known is not None:
        from raytrain.scaling.study import best_split

        # The law counts C = 6 N D, the trainer also attention and the head: scaled by the dial's shape of that size.
        budget = flops.value
        for _ in range(3):
            split = best_split(known.body, known.draws, budget)
            size = nearest(recipe.model, vocab_size, split["parameters"]["value"])
            budget = flops.value * 6 * size.parameters(vocab_size) / size.flops_per_token(vocab_size)
        best = {"law": known.name, **split, "flops": flops.value}
    return {
        "usd": usd,
        "flops": flops.as_dict(),
        "recipe_fits": fits,
        "longest": body(own.depth, own.parameters, own.tokens),
        "balanced": body(even.depth, even.parameters, even.tokens) if even else None,
        "by_law": best,
    }
