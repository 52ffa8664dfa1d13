"""What became of a document, from its file to the steps that trained on it; and what is touched when one must go.

Looked up in the store's artifacts, whoever made them. The invariant: nothing here is computed anew that a step has
written down, but for the order of training, which is a pure function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from raytrain.corpus import cuts, select
from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup.survivors import PAIRS
from raytrain.corpus.ingest import INDEX
from raytrain.corpus.rules import Rule
from raytrain.corpus.verdict import DUPLICATES, LANGUAGE, label
from raytrain.errors import UserError
from raytrain.observe import samples
from raytrain.observe.collect import artifacts_of, prefixes_of, run_names
from raytrain.observe.data_at import Training
from raytrain.store import Artifact, Store, open_artifact

MOST_PAIRS = 20  # compared pairs that are shown of a document
PAIR = ("jaccard", "containment", "rule", "accepted")
RECORD = (
    "record_id doc_id source file record bytes domain licence origin verification date url id declared_language".split()
)

Lineage = Mapping[str, set[str]]
"""The prefixes of artifacts by run."""


@dataclass(frozen=True)
class Place:
    """Where a record stands: its documents artifact, shard, row, and number through all shards."""

    documents: Artifact
    shard: int
    row: int
    number: int


def find(store: Store, ids: Sequence[str], run: str | None = None) -> list[Place]:
    """Every place of these document ids (32 hex digits) and record ids, in the store or in one run's documents.

    Raises a UserError that names an id that is nowhere.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if run is None:
        held = _all(store, "documents")
    else:
        found = artifacts_of(store, run)
        if "ingest" not in found:
            raise UserError(f"run {run!r} has no documents in {store.uri}; run its recipe first, or name another run")
        held = iter([found["ingest"]])
    wanted, known, places = pa.array(list(ids), pa.string()), set(), []
    for documents in held:
        first = 0
        for shard, record in enumerate(documents.shards):
            table = shard_table(store, record, INDEX, ["doc_id", "record_id"])
            columns = [pc.is_in(table.column(name), value_set=wanted) for name in ("doc_id", "record_id")]
            for row in np.flatnonzero(pc.or_(*columns).to_numpy()):
                known |= {table.column(name)[int(row)].as_py() for name in ("doc_id", "record_id")}
                places.append(Place(documents, shard, int(row), first + int(row)))
            first += record["rows"]
    for name in ids:
        if name not in known:
            where = f"run {run!r}" if run else store.uri
            raise UserError(f"{name!r}: no document of {where}; give a doc_id (32 hex digits) or source/file/record")
    return places


def corpus_of(store: Store, name: str) -> Artifact:
    """The corpus of a run, or the one with this id. Raises a UserError where there is none."""
    if name in run_names(store):
        found = artifacts_of(store, name).get(select.NAME)
        if found is None:
            raise UserError(f"run {name!r} has no corpus yet; run its recipe up to the step select")
        return found
    made = open_artifact(store, f"{select.KIND}/{name.removeprefix(f'{select.KIND}/')}")
    if made is None:
        raise UserError(f"{name!r} is neither a run nor a corpus id in {store.uri}; `raytrain ls` lists the runs")
    return made


def trace(store: Store, id: str, run: str | None = None) -> dict[str, Any]:
    """What happened to a document and why, in every run or in one. Raises a UserError for one that is nowhere."""
    lineage = _lineage(store, run)
    return {"id": id, "records": [_record(store, place, lineage, run is None) for place in find(store, [id], run)]}


def touched(store: Store, places: Iterable[Place]) -> dict[str, Any]:
    """What was made of these records: corpora that keep them, token shards that hold them, models, runs.

    `similar`: near-duplicates, verified, that are not among the records themselves.
    """
    lineage = _lineage(store)
    corpora: dict[str, dict[str, Any]] = {}
    tokens: dict[str, dict[str, Any]] = {}
    models: set[str] = set()
    similar: set[str] = set()
    gone: set[str] = set()
    places = list(places)
    for place in places:
        own = _one(place, place.documents.shards[place.shard], INDEX)["doc_id"]
        gone.add(own)
        for corpus in _made_from(store, "corpora", "documents", place.documents):
            similar |= {pair["doc_id"] for pair in _pairs(store, corpus, own) if pair["accepted"]}
            if not _verdict(place, corpus)["keep"]:
                continue
            known = corpora.setdefault(corpus.prefix, {"records": 0, "runs": _runs(lineage, corpus)})
            known["records"] += 1
            for made in _made_from(store, "tokens", "corpus", corpus):
                at = _tokens(place, made)
                held = tokens.setdefault(made.prefix, {"shards": [], "tokens": 0, "runs": _runs(lineage, made)})
                held["shards"] = sorted({*held["shards"], place.shard})
                held["tokens"] += at["tokens"]
                models |= {model.prefix for model in _made_from(store, "models", "tokens", made)}
    runs = {name for held in (*corpora.values(), *tokens.values()) for name in held["runs"]}
    return {
        "records": len(places),
        "documents": sorted({place.documents.prefix for place in places}),
        "corpora": corpora,
        "tokens": tokens,
        "models": sorted(models),
        "runs": sorted(runs),
        "similar": sorted(similar - gone),
    }


def _record(store: Store, place: Place, lineage: Lineage, every: bool) -> dict[str, Any]:
    """`every`: what no run of `lineage` has is told, too."""
    index = _one(place, place.documents.shards[place.shard], INDEX)
    numbers = {}
    for stage in store.folders("attributes"):
        for made in _all(store, f"attributes/{stage}"):
            if made.facts.get("documents") == place.documents.id and (every or _runs(lineage, made)):
                row = _one(place, made.shards[place.shard], f"{stage}.parquet")
                numbers[stage] = {name: value for name, value in row.items() if not isinstance(value, bytes)}
    return {
        **{name: index.get(name) for name in RECORD},
        "documents": place.documents.prefix,
        "shard": place.shard,
        "row": place.row,
        "numbers": numbers,
        "corpora": [
            _in_corpus(store, place, index["doc_id"], corpus, numbers, lineage)
            for corpus in _made_from(store, "corpora", "documents", place.documents)
            if every or _runs(lineage, corpus)
        ],
    }


def _in_corpus(
    store: Store, place: Place, doc_id: str, corpus: Artifact, numbers: Mapping[str, Any], lineage: Lineage
) -> dict[str, Any]:
    """What a corpus made of a record: kept or not and why, its duplicates, what is cut, where its tokens stand."""
    verdict = _verdict(place, corpus)
    found = {
        "corpus": corpus.prefix,
        "runs": _runs(lineage, corpus),
        "keep": verdict["keep"],
        "failed": _failed(corpus, verdict, numbers),
        "duplicate_of": _other(corpus, verdict),
        "compared": _pairs(store, corpus, doc_id),
        "matches": samples.matches(corpus, place.shard, place.row),
    }
    if not verdict["keep"]:
        return found
    kept = shard_table(store, corpus.shards[place.shard], select.KEPT)
    names = [name for name in ("language", "cluster", "split", "bin", "cut_bytes") if name in kept.column_names]
    row = int(np.flatnonzero(kept.column("row").to_numpy() == place.row)[0])
    held = kept.select(names).slice(row, 1).to_pylist()[0]
    tokens = [_trained(store, place, made, lineage) for made in _made_from(store, "tokens", "corpus", corpus)]
    return {**found, **held, "cuts": _cuts(store, place, corpus), "tokens": tokens}


def _failed(corpus: Artifact, verdict: Mapping[str, Any], numbers: Mapping[str, Any]) -> list[dict[str, Any]]:
    config = corpus.manifest["config"]
    rules = {rule.key: rule for rule in (Rule.from_dict(held) for held in config["rules"])}
    found: list[dict[str, Any]] = []
    for key in (name for name in verdict if verdict[name] is True and name != "keep"):
        rule = rules.get(key)
        one: dict[str, Any] = {"rule": key}
        if rule:
            value = numbers.get(rule.stage, {}).get(rule.column)
            one |= {"column": label(rule), "value": value, "op": rule.op, "threshold": rule.threshold}
        elif key == LANGUAGE:
            score, least = numbers.get("language", {}).get("language_score"), config["languages"]["min_score"]
            one |= {"column": "language_score", "value": score, "op": ">=", "threshold": least}
        elif key in (DUPLICATES["near"], DUPLICATES["contained"]):
            name = "jaccard" if key == DUPLICATES["near"] else "containment"
            one |= {"column": name, "value": verdict[name], "op": "<", "threshold": config["duplicates"][name]}
        found.append(one)
    return found


def _other(corpus: Artifact, verdict: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record that stays in place of this one."""
    if verdict["duplicate_of"] is None:
        return None
    similar = {name: verdict[name] for name in ("jaccard", "containment")}
    return {**samples.document(corpus, verdict["duplicate_of"]), **similar}


def _pairs(store: Store, corpus: Artifact, doc_id: str) -> list[dict[str, Any]]:
    """The texts that this one was compared with, the most similar first."""
    import pyarrow.compute as pc

    dedup = open_artifact(store, f"dedup/{corpus.manifest['parents']['dedup']}")
    found: dict[str, dict[str, Any]] = {}
    for record in dedup.shards if dedup else ():
        if PAIRS not in record["objects"]:
            continue
        table = shard_table(store, record, PAIRS, ["a_doc_id", "b_doc_id", *PAIR])
        mine = pc.or_(*(pc.equal(table.column(f"{end}_doc_id"), doc_id) for end in "ab"))
        for row in table.filter(mine).to_pylist():
            other = row["b_doc_id"] if row["a_doc_id"] == doc_id else row["a_doc_id"]
            found[other] = {"doc_id": other, **{name: row[name] for name in PAIR}}
    return sorted(found.values(), key=lambda row: (-row["jaccard"], row["doc_id"]))[:MOST_PAIRS]


def _cuts(store: Store, place: Place, corpus: Artifact) -> list[dict[str, Any]]:
    """The spans that are cut from a kept document, in bytes of its text."""
    parents = corpus.manifest["parents"]
    prefixes = [f"dedup/{parents['dedup']}", *(f"attributes/{name}/{id}" for name, id in parents.items())]
    held = [made for made in (open_artifact(store, prefix) for prefix in prefixes) if made is not None]
    found = cuts.read_cuts(store, [made.shards[place.shard] for made in held])
    if found is None:
        return []
    rows = np.flatnonzero(found.row == place.row)
    spans = [{"start": int(found.start[i]), "end": int(found.end[i]), "reason": found.reason[int(i)]} for i in rows]
    return sorted(spans, key=lambda span: (span["start"], span["end"]))


def _tokens(place: Place, made: Artifact) -> dict[str, Any]:
    """Where the tokens of a kept record stand in a tokens artifact: split, group, position in its shard, number."""
    name = _one(place, place.documents.shards[place.shard], INDEX)["record_id"]
    table = shard_table(made.store, made.shards[place.shard], "documents.parquet")
    row = table.column("record_id").to_pylist().index(name)
    held = table.select(["split", "group", "position", "tokens"]).slice(row, 1).to_pylist()[0]
    return {"artifact": made.prefix, "shard": place.shard, **held}


def _trained(store: Store, place: Place, made: Artifact, lineage: Lineage) -> dict[str, Any]:
    """The same with the optimizer steps of every run that trained on these tokens.

    `unordered` says of a run why it has no order: its recipe cannot be trained, and so it never was.
    """
    held = _tokens(place, made)
    steps: dict[str, list[int]] = {}
    unordered: dict[str, str] = {}
    for run in _runs(lineage, made) if held["split"] == "train" else ():
        try:
            training = Training(store, run)
        except UserError as error:
            unordered[run] = str(error)
            continue
        start = training.start_of(held["shard"], held["group"]) + held["position"]
        steps[run] = training.steps_with(held["group"], start, start + held["tokens"])
    domain = made.facts["groups"][held["group"]]["domain"]
    return {**held, "domain": domain, "steps": steps, "unordered": unordered}


def _verdict(place: Place, corpus: Artifact) -> dict[str, Any]:
    record = corpus.shards[place.shard]
    if select.VERDICTS not in record["objects"]:
        raise UserError(f"{corpus.prefix}: made by an older version that wrote no verdicts; run its recipe again")
    return _one(place, record, select.VERDICTS)


def _one(place: Place, record: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = shard_table(place.documents.store, record, name)
    return dict(table.slice(place.row, 1).to_pylist()[0])


def _all(store: Store, kind: str) -> Iterator[Artifact]:
    for name in store.folders(kind):
        found = open_artifact(store, f"{kind}/{name}")
        if found is not None:
            yield found


def _made_from(store: Store, kind: str, role: str, parent: Artifact) -> list[Artifact]:
    return [made for made in _all(store, kind) if made.manifest["parents"].get(role) == parent.id]


def _lineage(store: Store, run: str | None = None) -> Lineage:
    """The prefixes of every run's artifacts, or of one's."""
    found = {}
    for name in run_names(store) if run is None else [run]:
        found[name] = set(prefixes_of(store, name).values())
    return found


def _runs(lineage: Lineage, artifact: Artifact) -> list[str]:
    return sorted(run for run, prefixes in lineage.items() if artifact.prefix in prefixes)
