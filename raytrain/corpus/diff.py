"""What changed between two corpora: which records came, which went, for what reasons; from verdicts, not from texts.

Corpora of the same documents are compared shard by shard; others are joined by record id. The invariant: what one
corpus keeps, plus what is added, less what is removed, is what the other keeps.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.coded import Coded, id_numbers
from raytrain.corpus.ingest import DOCUMENTS, INDEX
from raytrain.corpus.rules import Rule
from raytrain.corpus.select import VERDICTS
from raytrain.corpus.verdict import FORGOTTEN, label
from raytrain.errors import UserError
from raytrain.store import Artifact, open_artifact

KEPT, ABSENT = "kept", "not among the documents"
SAMPLES = 5  # records shown of those that came and of those that went
START_CHARACTERS = 200
NUMBERS = ("keep", "duplicate_of", "jaccard", "containment")  # columns of a verdict that are no criteria


def diff(a: Artifact, b: Artifact) -> dict[str, Any]:
    """The change from corpus `a` to corpus `b`. Raises a UserError for a corpus that says no verdicts."""
    left, right = documents_of(a), documents_of(b)
    if left.id == right.id:
        parts = [_side_by_side(a, b, left, shard) for shard in range(len(left.shards))]
    else:
        parts = [_joined(a, b, left, right)]
    found = _Change()
    for part in parts:
        found.add(part)
    return {
        "a": _known(a),
        "b": _known(b),
        "documents": {"a": left.id, "b": right.id},
        "settings": settings(a.manifest["config"], b.manifest["config"]),
        **found.as_dict(),
        "samples": {name: _shown(rows, left, right) for name, rows in found.samples().items()},
    }


def documents_of(corpus: Artifact) -> Artifact:
    """The documents that a corpus was selected from."""
    prefix = f"documents/{corpus.manifest['parents']['documents']}"
    found = open_artifact(corpus.store, prefix)
    if found is None:
        raise UserError(f"{corpus.prefix}: its documents ({prefix}) are not in {corpus.store.uri}")
    return found


def criteria(verdicts: Any) -> list[str]:
    """The names of a verdict table's criteria in the order in which documents are judged."""
    return [name for name in verdicts.column_names if name not in NUMBERS]


def settings(a: dict[str, Any], b: dict[str, Any]) -> list[dict[str, Any]]:
    """What differs between two configurations of select: rules by name, the rest by path."""
    before, after = _flat(a), _flat(b)
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [{"name": name, "a": before.get(name), "b": after.get(name)} for name in names]


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    rules = [Rule.from_dict(held) for held in config["rules"]]
    found: dict[str, Any] = {rule.key: f"{label(rule)} {rule.op} {rule.threshold:g}" for rule in rules}
    stack = [(name, value) for name, value in config.items() if name != "rules"]
    for name, value in stack:
        if isinstance(value, dict):
            stack += [(f"{name}.{key}", inner) for key, inner in value.items()]
        else:
            found[name] = value
    return found


def _known(corpus: Artifact) -> dict[str, Any]:
    kept = corpus.facts["funnel"][-1]
    return {"corpus": corpus.id, "documents": kept["documents"], "bytes": kept["bytes"]}


def _reasons(corpus: Artifact, shard: int) -> Coded:
    """Why each document of a shard is not in the corpus: the first criterion that it fails, or KEPT."""
    record = corpus.shards[shard]
    if VERDICTS not in record["objects"]:
        raise UserError(f"{corpus.prefix}: made by an older version that wrote no verdicts; run its recipe again")
    table = shard_table(corpus.store, record, VERDICTS)
    names = criteria(table)
    failed = np.stack([np.zeros(table.num_rows, np.bool_), *(table.column(name).to_numpy() for name in names)])
    return Coded((KEPT, *names), failed.argmax(axis=0))


def _rows(corpus: Artifact, documents: Artifact, shard: int, side: str) -> Any:
    import pyarrow as pa

    table = shard_table(documents.store, documents.shards[shard], INDEX, ["record_id", "doc_id", "source", "bytes"])
    why = _reasons(corpus, shard).take(np.arange(table.num_rows))
    table = table.append_column(f"why_{side}", why).append_column("at", pa.array(np.arange(table.num_rows)))
    return table.append_column("shard", pa.array(np.full(table.num_rows, shard)))


def _side_by_side(a: Artifact, b: Artifact, documents: Artifact, shard: int) -> Any:
    held = _rows(a, documents, shard, "a")
    held = held.append_column("why_b", _reasons(b, shard).take(np.arange(held.num_rows)))
    return held.append_column("doc_id_b", held.column("doc_id"))


def _joined(a: Artifact, b: Artifact, left: Artifact, right: Artifact) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    sides = [
        pa.concat_tables([_rows(corpus, documents, shard, side) for shard in range(len(documents.shards))])
        for corpus, documents, side in ((a, left, "a"), (b, right, "b"))
    ]
    held = sides[0].join(sides[1], "record_id", join_type="full outer", right_suffix="_b", use_threads=False)
    for name in ("source", "bytes", "shard", "at"):
        merged = pc.coalesce(held.column(name), held.column(f"{name}_b"))
        held = held.set_column(held.column_names.index(name), name, merged)
    return held


class _Change:
    """Counts of what came, went, or stayed out for another reason."""

    def __init__(self) -> None:
        self.moved: dict[str, Counter[str]] = {"added": Counter(), "removed": Counter()}
        self.by: dict[str, dict[str, dict[str, list[int]]]] = {
            name: {"source": {}, "reason": {}} for name in self.moved
        }
        self.reasons: Counter[str] = Counter()
        self.texts = 0
        self.rows: dict[str, list[Any]] = {name: [] for name in self.moved}

    def add(self, held: Any) -> None:
        why_a, why_b = (Coded.of(held.column(f"why_{side}")) for side in "ab")
        in_a, in_b = (why.where(lambda value: value == KEPT) for why in (why_a, why_b))
        size, source = held.column("bytes").to_numpy(), Coded.of(held.column("source"))
        for name, moved, why in (("added", in_b & ~in_a, why_a), ("removed", in_a & ~in_b, why_b)):
            self.moved[name].update(documents=int(moved.sum()), bytes=int(size[moved].sum()))
            for kind, column in (("source", source), ("reason", why)):
                for value, counts in column.sums([moved.astype(np.int64), size * moved]).items():
                    known = self.by[name][kind].setdefault(ABSENT if value == "unknown" else value, [0, 0])
                    known[0], known[1] = known[0] + counts[0], known[1] + counts[1]
            self.rows[name].append(_lowest(held, moved))
        out = ~in_a & ~in_b
        for (i, j), many in _pairs(why_a.codes[out], why_b.codes[out]):
            before, after = why_a.values[i] or ABSENT, why_b.values[j] or ABSENT
            if before != after:
                self.reasons[f"{before} -> {after}"] += many
        both = in_a & in_b
        texts = [id_numbers(held.filter(both).column(name)) for name in ("doc_id", "doc_id_b")]
        self.texts += int((texts[0] != texts[1]).sum())

    def as_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, counts in self.moved.items():
            found[name] = {key: counts[key] for key in ("documents", "bytes")}
            for kind, values in self.by[name].items():
                ordered = sorted(((v, held) for v, held in values.items() if held[0]), key=lambda item: -item[1][1])
                found[name][f"by_{kind}"] = {v: {"documents": many, "bytes": size} for v, (many, size) in ordered}
        found["changed_reason"] = {"documents": self.reasons.total(), "by": dict(self.reasons.most_common())}
        return {**found, "changed_text": {"documents": self.texts}}

    def samples(self) -> dict[str, list[dict[str, Any]]]:
        found = {}
        for name, tables in self.rows.items():
            rows = [row for table in tables for row in table.to_pylist()]
            found[name] = sorted(rows, key=lambda row: (row["doc_id"] or row["doc_id_b"])[16:])[:SAMPLES]
        return found


def _lowest(held: Any, moved: NDArray[np.bool_]) -> Any:
    """The few documents that moved whose texts hash lowest."""
    import pyarrow.compute as pc

    some = held.filter(moved)
    draws = id_numbers(pc.coalesce(some.column("doc_id"), some.column("doc_id_b")))
    return some.take(np.argsort(draws, kind="stable")[:SAMPLES])


def _pairs(a: NDArray[np.int64], b: NDArray[np.int64]) -> list[tuple[tuple[int, int], int]]:
    found, counts = np.unique(np.stack([a, b], axis=1), axis=0, return_counts=True)
    return [((int(i), int(j)), int(n)) for (i, j), n in zip(found, counts, strict=True)]


def _shown(rows: list[dict[str, Any]], left: Artifact, right: Artifact) -> list[dict[str, Any]]:
    """The samples with how their texts begin; what is forgotten is named and not shown."""
    found = []
    for row in rows:
        documents = left if row["doc_id"] else right
        text = shard_table(documents.store, documents.shards[row["shard"]], DOCUMENTS, ["text"]).column("text")
        names = ("record_id", "source", "bytes", "why_a", "why_b")
        forgotten = FORGOTTEN in (row["why_a"], row["why_b"])
        start = "" if forgotten else text[row["at"]].as_py()[:START_CHARACTERS]
        found.append({**{name: row[name] for name in names}, "text": start})
    return found
