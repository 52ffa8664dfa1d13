"""`raytrain source try`: what a candidate source would add to a store, before anything is bought or trained.

The candidate is carried as far as the search for duplicates, as a run of its own, against the corpora that the store
holds: of these only stored signatures are read, and the texts of candidate pairs. The invariant: the counts are those
that a recipe with this source and these earlier corpora would give.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain import pipeline, runs
from raytrain.config import digest
from raytrain.corpus import ingest
from raytrain.corpus import verdict as verdicts
from raytrain.corpus.dedup import exchange
from raytrain.corpus.dedup import step as dedup
from raytrain.corpus.judge import Judged, company, settle
from raytrain.corpus.section import Source
from raytrain.corpus.select import judge_tasks
from raytrain.corpus.stages import minhash
from raytrain.forecast import bytes_per_token
from raytrain.observe.collect import artifacts_of, known, run_names
from raytrain.recipe import Recipe
from raytrain.store import Artifact, Store

WORST = 5  # reasons shown


@dataclass(frozen=True)
class Earlier:
    """The corpora that a candidate is compared with, and runs that it cannot be compared with, each with why."""

    names: tuple[str, ...]
    passed_over: dict[str, str]


def try_source(
    base: Recipe, source: Source, *, against: Sequence[str] | None, say: Callable[[str], None]
) -> dict[str, Any]:
    """Judges `source` by the `corpus` section of `base`, in its store, against the corpora of the runs `against`.

    None given: every run of the store that has a corpus, but those that read a source of this name already. Raises a
    UserError for what a run of the source would, and for an unknown run.
    """
    store = Store(base.store)
    store.reach()
    earlier = _earlier(base, source, store, against)
    section = base.corpus.dedup.model_copy(update={"against": earlier.names, "max_source_loss": 1.0})
    recipe = base.model_copy(update={"sources": (source,), "corpus": base.corpus.model_copy(update={"dedup": section})})
    recipe = recipe.model_copy(update={"name": f"try-{source.name[:40].replace('.', '-')}-{_digest(recipe, store)}"})
    runs.execute(recipe, say=say, until=dedup.NAME)
    _, made = pipeline.look(recipe, store, lambda line: None)
    counts, novelty = _judge(recipe, made)
    worth = _worth(novelty, store, base)
    return {
        "source": source.name,
        "uri": source.uri,
        "run": recipe.name,
        "store": store.uri,
        "read": _read(made[ingest.NAME]),
        "compared_with": list(earlier.names),
        "passed_over": earlier.passed_over,
        **novelty,
        "reasons": _reasons(counts),
        "languages": _shares(counts, "language"),
        "licences": _shares(counts, "licence"),
        "origins": _shares(counts, "origin"),
        **worth,
        "usd": source.usd,
        "usd_per_million_tokens": 1e6 * source.usd / worth["tokens"] if source.usd and worth["tokens"] else None,
    }


def _digest(recipe: Recipe, store: Store) -> str:
    """Part of the run's name: another recipe, other earlier corpora or another place are another trial."""
    against = dedup.config_of(recipe.corpus, store)["against"]
    return digest([recipe.identity(), against, recipe.sources[0].uri], 8)


def _earlier(base: Recipe, source: Source, store: Store, against: Sequence[str] | None) -> Earlier:
    if against is not None:
        return Earlier(tuple(against), {})
    wanted = minhash.STAGE.config(base.corpus)
    held: dict[str, str] = {}
    passed_over: dict[str, str] = {}
    for name in run_names(store):
        made = artifacts_of(store, name)
        if "select" not in made:
            continue
        sources = known(store, name)["recipe"]["sources"]
        signatures = made[minhash.STAGE.step].manifest
        if source.name in [one["name"] for one in sources]:
            passed_over[name] = f"reads source {source.name} already"
        elif (signatures["version"], signatures["config"]) != (minhash.STAGE.version, wanted):
            passed_over[name] = "its signatures are of another kind (corpus.dedup)"
        else:
            held.setdefault(made["select"].prefix, name)  # two runs may share a corpus
    return Earlier(tuple(held.values()), passed_over)


def _judge(recipe: Recipe, made: dict[str, Artifact]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(select's counts, what is new, known or repeated): nothing but small columns is read."""
    step = pipeline.find(recipe, "select")
    parents = {role: made[name] for role, name in step.parents.items()}
    config = step.config(recipe, made)
    shards = [Judged(made[ingest.NAME].store, task) for task in judge_tasks(parents, config)]
    passed, grouped = zip(*(company(shard) for shard in shards), strict=True)
    settled = settle(passed, grouped, parents["dedup"], config)
    for shard in shards:
        first = shard.first
        own = exchange.slice_of(settled.decisions["doc"], first, first + len(shard.columns.bytes))
        shard.decide(settled.decisions[slice(*own)], settled.over)
    size = np.concatenate([shard.columns.bytes for shard in shards])
    of = np.concatenate([shard.of for shard in shards])
    keep = np.concatenate([shard.verdict.keep for shard in shards])
    passes = np.concatenate([shard.verdict.passes for shard in shards])
    known = of >= len(size)  # earlier corpora are numbered behind the candidate's own documents
    by_corpus = [
        {"artifact": held["artifact"], **_volume((of >= held["first"]) & (of < held["first"] + held["rows"]), size)}
        for held in parents["dedup"].facts["earlier"]
    ]
    novelty = {
        "known": _volume(known, size),
        "known_by_corpus": by_corpus,
        "repeated_inside": _volume((of >= 0) & ~known, size),
        "novel": _volume(of < 0, size),
        "passes_rules": _volume(passes, size),
        "novel_and_passes": _volume(keep, size),
    }
    return verdicts.add(shard.tally() for shard in shards), novelty


def _volume(which: NDArray[np.bool_], size: NDArray[np.int64]) -> dict[str, int]:
    return {"documents": int(which.sum()), "bytes": int(size[which].sum())}


def _read(documents: Artifact) -> dict[str, Any]:
    return {name: documents.facts[name] for name in ("files", "documents", "bytes", "quarantined")}


def _worth(novelty: dict[str, Any], store: Store, base: Recipe) -> dict[str, Any]:
    """Tokens of what is novel and passes, by bytes a token: of a run with as large a vocabulary, or estimated."""
    for name in run_names(store):
        facts = artifacts_of(store, name)
        if "tokenize" in facts and facts["tokenizer"].facts["vocab_size"] == base.tokenizer.vocab_size:
            held = facts["tokenize"].facts
            rate, source = held["train_bytes"] / held["train_tokens"], f"measured in run {name}"
            break
    else:
        rate, source = bytes_per_token(base.tokenizer.vocab_size), "estimated, within a fifth"
    tokens = round(novelty["novel_and_passes"]["bytes"] / rate)
    return {"tokens": tokens, "bytes_per_token": rate, "bytes_per_token_source": source}


def _reasons(counts: dict[str, Any]) -> list[dict[str, Any]]:
    """What most documents fail, worst first; a document may fail several."""
    held = sorted(counts["reasons"].items(), key=lambda item: (-item[1]["documents"], item[0]))
    return [{"rule": key, **row} for key, row in held[:WORST] if row["documents"]]


def _shares(counts: dict[str, Any], group: str) -> dict[str, float]:
    """Shares of the bytes that were read, largest first."""
    rows = counts["groups"][group]
    whole = sum(row["bytes_before"] for row in rows.values()) or 1
    return {name: row["bytes_before"] / whole for name, row in itertools.islice(rows.items(), WORST)}
