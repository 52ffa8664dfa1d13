"""What dedup leaves beside every documents shard: a row a document, a row a compared pair, and pairs to look at.

The invariant: every pair that was compared stands in the table of its first document's shard, with the numbers that
decided and the rule that they passed or missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.cuts import OBJECT as CUTS
from raytrain.corpus.dedup import exchange, spans, verify
from raytrain.corpus.dedup.bands import of_documents
from raytrain.corpus.dedup.clusters import DECIDED, RULES
from raytrain.corpus.dedup.pool import NODE, ids_of
from raytrain.corpus.dedup.survivors import EARLIER, PAIRS
from raytrain.corpus.ingest import DOCUMENTS, INDEX
from raytrain.store import ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import Task

DEDUP = "dedup.parquet"
GALLERY = "gallery.parquet"
EXCERPT = 600  # characters of each text in the gallery


def write_shard(task: Task) -> Task:
    """A shard's tables, and per source how many documents it has and how many of them are near-duplicates."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    index = shard_table(store, task["documents"], INDEX, ["doc_id", "source"])
    decided = exchange.read_rows(store, task["decisions"][0], DECIDED, *task["decisions"][1:])
    decided_here = decided["doc"] - task["first"]
    pairs, nodes = _compared(store, task, index.num_rows)
    tables = {DEDUP: dedup_table(index.column("doc_id"), decided, task["first"])}
    if len(pairs):
        tables[PAIRS] = pairs_table(pairs, nodes, task["first"], task["config"])
    if task["gallery"]:
        tables[GALLERY] = gallery_table(task["gallery"], task["config"])
    earlier = exchange.read_rows(store, task["earlier"][0], DECIDED, *task["earlier"][1:])
    if len(earlier):
        tables[EARLIER] = earlier_table(earlier)
    if task["repeats"]:
        found = of_documents(store, task, task["repeats"], spans.SPAN)
        if len(found):
            tables[CUTS] = spans.cuts_table(found, task["first"])
    objects = {name: writer.put(task["shard"], name, table_bytes(table)) for name, table in tables.items()}
    facts: dict[str, Any] = {rule: int((decided["rule"] == i).sum()) for i, rule in enumerate(RULES) if rule}
    accepted = verify.rule_of(pairs, task["config"]) != verify.REJECTED
    facts |= {"pairs": len(pairs), "accepted_pairs": int(accepted.sum())}
    near = np.zeros(index.num_rows, np.bool_)
    near[decided_here] = decided["rule"] >= RULES.index("near")
    return writer.commit_shard(task["shard"], objects, index.num_rows, facts | {"sources": _by_source(index, near)})


def dedup_table(doc_ids: Any, decided: NDArray[Any], first: int) -> Any:
    """A row a document: null, and a cluster of its own, where it has no company (`grouped` is false)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    here, count = decided["doc"] - first, len(doc_ids)
    gone = decided["rule"] > 0
    of, rule = np.full(count, -1, np.int64), np.zeros(count, np.int8)
    of[here], rule[here] = decided["of"], decided["rule"]
    company = np.zeros(count, np.bool_)
    company[here] = True
    names = pa.DictionaryArray.from_arrays(pa.array(rule, pa.int8()), pa.array(RULES)).cast(pa.string())
    columns = {
        "duplicate_of": pa.array(of, mask=of < 0),
        "rule": pc.if_else(pa.array(rule > 0), names, pa.scalar(None, pa.string())),
    }
    for name in ("jaccard", "containment"):
        values = np.full(count, np.nan)
        values[here[gone]] = decided[name][gone]
        columns[name] = pa.array(values, mask=np.isnan(values))
    ids = doc_ids.combine_chunks()
    columns["cluster"] = pc.replace_with_mask(ids, pa.array(company), ids_of(decided["high"], decided["low"]))
    columns["grouped"] = pa.array(company)
    ranks = np.zeros(count, np.uint64)
    ranks[here] = decided["rank"]
    columns["rank"] = pa.array(ranks, mask=~company)
    columns["url"] = pc.replace_with_mask(pa.nulls(count, pa.string()), pa.array(company), _urls(decided))
    return pa.table(columns)


def earlier_table(decided: NDArray[Any]) -> Any:
    """The documents of earlier corpora that the corpus's own were found to equal, with survivors.COMPANY's columns."""
    import pyarrow as pa

    ids = ids_of(decided["id_high"], decided["id_low"])
    columns = {
        "doc": np.ascontiguousarray(decided["doc"]),
        "doc_id": ids,
        "rank": np.ascontiguousarray(decided["rank"]),
    }
    return pa.table({**columns, "url": _urls(decided)})


def _urls(decided: NDArray[Any]) -> Any:
    """Hashes of URLs as text, null where there is none (or nobody else has it)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    none = pa.array((decided["url_high"] == 0) & (decided["url_low"] == 0))
    return pc.if_else(none, pa.scalar(None, pa.string()), ids_of(decided["url_high"], decided["url_low"]))


def pairs_table(pairs: NDArray[Any], nodes: NDArray[Any], first: int, config: Mapping[str, Any]) -> Any:
    """Numbers and ids of both documents, `row` of a in this shard, what was measured, and the rule that decided."""
    import pyarrow as pa

    jaccard, containment = verify.similarities(pairs)
    columns: dict[str, Any] = {name: np.ascontiguousarray(pairs[name]) for name in "ab"}
    for end in "ab":
        at = nodes[np.searchsorted(nodes["doc"], pairs[end])]
        columns[f"{end}_doc_id"] = ids_of(at["high"], at["low"])
    columns["row"] = pairs["a"] - first
    columns |= {"jaccard": jaccard, "containment": containment}
    columns |= {f"{end}_shingles": np.ascontiguousarray(pairs[f"{end}_size"]) for end in "ab"}
    columns["template"] = pairs["kind"] == 1
    return pa.table({**columns, **_verdicts(pairs, config)})


def gallery_table(shown: Sequence[Sequence[Any]], config: Mapping[str, Any]) -> Any:
    """Pairs nearest to the threshold, accepted and rejected, with the beginnings of both texts."""
    import pyarrow as pa

    pairs = np.array([tuple(row[0]) for row in shown], verify.COMPARED)
    jaccard, containment = verify.similarities(pairs)
    text = {
        name: pa.array([row[place][i] for row in shown], pa.string())
        for i, kind in enumerate(("record_id", "text"))
        for place, name in ((1, f"a_{kind}"), (2, f"b_{kind}"))
    }
    return pa.table({**text, "jaccard": jaccard, "containment": containment, **_verdicts(pairs, config)})


def excerpts(task: Task) -> Task:
    """The record id and the first characters of a shard's documents that the gallery shows, in the record's facts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    rows = pa.array([doc - task["first"] for doc in task["docs"]], pa.int64())
    table = shard_table(writer.store, task["documents"], DOCUMENTS, ["record_id", "text"]).take(rows)
    texts = pc.utf8_slice_codeunits(table.column("text"), 0, EXCERPT).to_pylist()
    held = zip(table.column("record_id").to_pylist(), texts, strict=True)
    facts = {"excerpts": [[doc, list(one)] for doc, one in zip(task["docs"], held, strict=True)]}
    return writer.commit_shard(task["shard"], {}, len(texts), facts)


def _verdicts(pairs: NDArray[Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """`rule`: what an accepted pair passes, or the one that a rejected pair misses least; `accepted`."""
    import pyarrow as pa

    rules, (jaccard, containment) = verify.rule_of(pairs, config), verify.similarities(pairs)
    least = config["containment"] if config["containment"] is not None else np.inf
    missed = np.where(containment - least > jaccard - config["jaccard"], 3, 0)
    at_most = f"{config['containment']:g}" if config["containment"] is not None else ""
    names = [f"jaccard < {config['jaccard']:g}", f"jaccard >= {config['jaccard']:g}"]
    names += [f"containment >= {at_most}", f"containment < {at_most}"]
    codes = np.where(rules == verify.REJECTED, missed, rules).astype(np.int8)
    rule = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names)).cast(pa.string())
    return {"rule": rule, "accepted": rules != verify.REJECTED}


def _compared(store: Store, task: Task, rows: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The compared pairs whose first document lies in this shard, and the NODE rows of all that they name."""
    pairs, nodes = [np.zeros(0, verify.COMPARED)], [np.zeros(0, NODE)]
    for compared, named in task["compared"]:
        held = np.frombuffer(store.get(compared), verify.COMPARED)
        first, end = exchange.slice_of(held["a"], task["first"], task["first"] + rows)
        pairs.append(held[first:end])
        nodes.append(np.frombuffer(store.get(named), NODE))
    every = np.concatenate(nodes)
    return np.concatenate(pairs), every[np.unique(every["doc"], return_index=True)[1]]


def _by_source(index: Any, near: NDArray[np.bool_]) -> dict[str, list[int]]:
    sources = index.column("source").combine_chunks().dictionary_encode()
    codes, names = sources.indices.to_numpy(), sources.dictionary.to_pylist()
    many, lost = np.bincount(codes, minlength=len(names)), np.bincount(codes, near, len(names))
    return {name: [int(many[i]), int(lost[i])] for i, name in enumerate(names)}
