"""The contamination step: which documents hold which items of the recipe's evaluation sets, and where.

Every document gets numbers for a rule to decide by; every match a row that names set, item and bytes; and where the
recipe asks for cuts, the bytes to take out. It drops nothing itself. The invariant: `overlap` is the share of the
item's own words that stand in the document in runs of at least the recipe's n-gram.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table, shard_tasks
from raytrain.corpus.cuts import OBJECT as CUTS
from raytrain.corpus.ingest import DOCUMENTS
from raytrain.corpus.kernels.buffers import Bytes, Offsets
from raytrain.corpus.section import CorpusSection
from raytrain.evalsets.index import GRAM, index, merge
from raytrain.evalsets.items import identity, read_items
from raytrain.evalsets.section import EvaluationSet
from raytrain.store import Artifact, ArtifactWriter, Store
from raytrain.store.artifact import table_bytes
from raytrain.store.step import StepContext, StepResult, Task

NAME = "annotate-contamination"
KIND = "attributes/contamination"
VERSION = 1
OBJECT = "contamination.parquet"
MATCHES = "matches.parquet"
GRAMS = "grams.bin"
ITEMS = "items.parquet"
REASON = "contamination"
BLOCK_BYTES = 16 << 20  # of text searched at a time: bounds what hits take, whatever the text
SHOWN_CHARACTERS = 300
WORD_BYTES = 100  # how far a cut looks for the end of a word
BLANK = re.compile(rb"[ \n\t]")  # never within a character


def config_of(corpus: CorpusSection) -> dict[str, Any]:
    """The sets by content, and the Unicode that says what a word is. What makes a document contaminated is decided
    later, but for cuts."""
    held = corpus.decontaminate
    sets = [identity(one) for one in held.sets]
    cut = {"overlap": held.overlap, "around": held.around} if held.action == "cut" else None
    return {
        "sets": sets,
        "ngram": held.ngram,
        "shortest": held.shortest,
        "cut": cut,
        "unicode": unicodedata.unidata_version,
    }


def run(ctx: StepContext, corpus: CorpusSection) -> StepResult:
    """Annotates `documents` with what they hold of the sets."""
    config = ctx.config
    indexed = [_index_set(ctx, i, held, corpus.decontaminate.sets[i]) for i, held in enumerate(config["sets"])]
    documents = ctx.parents["documents"]
    tasks = shard_tasks(ctx, documents, index=indexed)
    records = ctx.map_shards(annotate_shard, tasks, NAME)
    sets = _set_facts(ctx.store, indexed, records)
    for held in sets:
        ctx.say(
            f"{held['set']}: {held['found']} of {held['items'] - held['too_short']} items stand in "
            f"{held['documents']} documents" + (f"; {held['too_short']} are too short" if held["too_short"] else "")
        )
    return StepResult(records, {"documents": documents.id, "sets": sets})


def _index_set(ctx: StepContext, number: int, held: Mapping[str, Any], section: EvaluationSet) -> dict[str, Any]:
    """Commits the n-grams of a set, once; its record."""
    writer = ArtifactWriter(ctx.store, f"{ctx.prefix}/index")
    record = writer.record(number)
    if record is not None:
        return record
    rows, items = index(read_items(section), ctx.config["ngram"], ctx.config["shortest"])
    objects = {
        GRAMS: writer.put(number, GRAMS, rows.tobytes()),
        ITEMS: writer.put(number, ITEMS, table_bytes(items)),
    }
    short = int((items.column("words").to_numpy() == 0).sum())
    facts = {"set": held["name"], "items": items.num_rows, "too_short": short}  # or nothing but common grams
    return writer.commit_shard(number, objects, len(rows), facts)


def annotate_shard(task: Task) -> Task:
    """Commits a shard's numbers, matches and cuts, unless they are there already."""
    import pyarrow as pa

    from raytrain.corpus.kernels.buffers import text_buffers

    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    texts = shard_table(writer.store, task["documents"], DOCUMENTS, ["text"]).column("text")
    known = _known(task["store"], json.dumps(task["index"]))
    data, offsets = text_buffers(texts)
    found = search(known, data, offsets)
    objects = {
        OBJECT: writer.put(task["shard"], OBJECT, table_bytes(_numbers(found, len(texts)))),
        MATCHES: writer.put(task["shard"], MATCHES, table_bytes(_matches(found, known, data, offsets))),
    }
    cut = task["config"]["cut"]
    if cut is not None:
        spans = cuts(found, cut["overlap"], cut["around"], data, offsets)
        columns = dict(zip(("row", "start", "end"), spans, strict=True))
        held = pa.table({**columns, "reason": pa.array([REASON] * len(spans[0]), pa.string())})
        objects[CUTS] = writer.put(task["shard"], CUTS, table_bytes(held))
    return writer.commit_shard(task["shard"], objects, len(texts))


class Known:
    """All sets' grams together: `table` finds a gram, `rows[bounds[g]:bounds[g + 1]]` say where in which items it
    stands, and `items[item_bounds[g]:item_bounds[g + 1]]` name each of these once, however often it repeats the gram.

    Items are numbered through all sets: `words` of each, `names` and `set` to tell them by.
    """

    def __init__(self, sets: Sequence[tuple[str, NDArray[np.void], Any]]) -> None:
        """`sets`: name, GRAM rows and table of items of each."""
        from raytrain.corpus.kernels.ngrams import Table

        self.words = np.concatenate([np.zeros(0, np.int64), *(items["words"].to_numpy() for _, _, items in sets)])
        self.names = [name for _, _, items in sets for name in items["item"].to_pylist()]
        self.set = [name for name, _, items in sets for _ in range(len(items))]
        firsts = np.cumsum([0, *(len(items) for _, _, items in sets)])
        rows = np.concatenate([np.zeros(0, GRAM), *(held for _, held, _ in sets)])
        rows["item"] += np.repeat(firsts[:-1], [len(held) for _, held, _ in sets])
        self.rows = rows[np.argsort(rows["hash"], kind="stable")]
        hashes, first = np.unique(self.rows["hash"], return_index=True)
        self.bounds = np.append(first, len(rows))
        gram = np.repeat(np.arange(len(hashes)), np.diff(self.bounds))
        fresh = np.ones(len(rows), np.bool_)
        fresh[1:] = (gram[1:] != gram[:-1]) | (self.rows["item"][1:] != self.rows["item"][:-1])
        self.items = self.rows["item"][fresh]
        self.item_bounds = np.searchsorted(gram[fresh], np.arange(len(hashes) + 1))
        self.table = Table(hashes, self.rows["words"][first])


@lru_cache(maxsize=2)
def _known(store: str, index: str) -> Known:
    """One a process: every shard asks for the same. `index`: the records of the sets as JSON."""
    place, held = Store(store), []
    for record in json.loads(index):
        data = Artifact(place, "", {"shards": [record]}).get(0, GRAMS)
        held.append((record["facts"]["set"], np.frombuffer(data, GRAM), shard_table(place, record, ITEMS)))
    return Known(held)


Found = NDArray[np.void]
FOUND = np.dtype([(name, "<i8") for name in ("row", "item", "start", "end")] + [("overlap", "<f8")])


def search(known: Known, data: Bytes, offsets: Offsets) -> Found:
    """What stands where: a row a run of bytes that matches an item, with the item's overlap in the whole document."""
    pieces = [np.zeros(0, FOUND)]
    first, last = 0, len(offsets) - 1
    while first < last:
        end = int(np.searchsorted(offsets, offsets[first] + BLOCK_BYTES, side="right")) - 1
        end = min(max(end, first + 1), last)
        piece = _search_block(known, data, offsets[first : end + 1])
        piece["row"] += first
        pieces.append(piece)
        first = end
    return np.concatenate(pieces)


def _search_block(known: Known, data: Bytes, offsets: Offsets) -> Found:
    row, gram, start, end = known.table.find(data, offsets)
    if not len(row):
        return np.zeros(0, FOUND)
    # A gram covers the same words of an item however often a text holds it, and the same bytes of a text however often
    # an item does: the two are never multiplied.
    document, once = np.divmod(np.unique(row * len(known.table.hashes) + gram), len(known.table.hashes))
    hit, place = _spread(known.bounds, once)
    at = known.rows[place]
    pair = document[hit] * len(known.words) + at["item"]  # the item in the document, in one number
    which, _, _, covered = merge(pair, at["first"], at["first"] + at["words"])
    pairs, first = np.unique(which, return_index=True)
    overlap = np.add.reduceat(covered, first) / known.words[pairs % len(known.words)]
    hit, place = _spread(known.item_bounds, gram)
    which, first, last, _ = merge(row[hit] * len(known.words) + known.items[place], start[hit], end[hit])
    found = np.zeros(len(which), FOUND)
    found["row"], found["item"] = which // len(known.words), which % len(known.words)
    found["start"], found["end"], found["overlap"] = first, last, overlap[np.searchsorted(pairs, which)]
    return found


def _spread(bounds: NDArray[np.int64], grams: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each gram once for every row that `bounds` gives it: (its place among `grams`, the row)."""
    many = bounds[grams + 1] - bounds[grams]
    hit = np.repeat(np.arange(len(grams)), many)
    return hit, bounds[grams][hit] + np.arange(len(hit)) - np.repeat(np.cumsum(many) - many, many)


def cuts(
    found: Found, overlap: float, around: int, data: Bytes, offsets: Offsets
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(row, start, end) of what is to go: matches of items at or above `overlap`, widened by `around` bytes and on to
    the next blank, or to the document's end; joined where they meet."""
    held = found[found["overlap"] >= overlap]
    first, last = offsets[held["row"]], offsets[held["row"] + 1]
    starts = np.maximum(held["start"] + first - around, first)
    ends = np.minimum(held["end"] + first + around, last)
    for i in range(len(held)):
        starts[i], ends[i] = _to_blanks(data, int(starts[i]), int(ends[i]), int(first[i]), int(last[i]))
    row, start, end, _ = merge(held["row"], starts - first, ends - first)
    return row, start, end


def _to_blanks(data: Bytes, start: int, end: int, first: int, last: int) -> tuple[int, int]:
    """[start, end) widened to the nearest blanks or to the text's bounds [first, last), whichever is nearer; where
    neither is within WORD_BYTES (a script without spaces), to a character's bounds."""
    before = bytes(data[max(first, start - WORD_BYTES) : start])
    after = bytes(data[end : min(last, end + WORD_BYTES)])
    words, rest = BLANK.split(before), BLANK.split(after)
    if len(words) > 1 or start - WORD_BYTES <= first:
        start -= len(words[-1])
    if len(rest) > 1 or end + WORD_BYTES >= last:
        end += len(rest[0])
    while start > first and data[start] & 0xC0 == 0x80:
        start -= 1
    while end < last and data[end] & 0xC0 == 0x80:
        end += 1
    return start, end


def _numbers(found: Found, documents: int) -> Any:
    """A row a document: the largest overlap, bytes that match any item, how many items match."""
    import pyarrow as pa

    overlap = np.zeros(documents)
    np.maximum.at(overlap, found["row"], found["overlap"])
    row, _, _, size = merge(found["row"], found["start"], found["end"])
    pairs = np.unique(found[["row", "item"]])
    return pa.table(
        {
            "overlap": overlap,
            "matched_bytes": np.bincount(row, size, documents).astype(np.int64),
            "items": np.bincount(pairs["row"], minlength=documents).astype(np.int64),
        }
    )


def _matches(found: Found, known: Known, data: Bytes, offsets: Offsets) -> Any:
    """One row a match: document, set, item, overlap, bytes, and how the text there begins."""
    import pyarrow as pa

    texts = [
        bytes(data[offsets[r] + start : offsets[r] + end]).decode("utf-8")[:SHOWN_CHARACTERS]
        for r, start, end in zip(found["row"].tolist(), found["start"].tolist(), found["end"].tolist(), strict=True)
    ]
    items = found["item"].tolist()
    return pa.table(
        {
            "row": np.ascontiguousarray(found["row"]),
            "set": pa.array([known.set[i] for i in items], pa.string()),
            "item": pa.array([known.names[i] for i in items], pa.string()),
            "overlap": np.ascontiguousarray(found["overlap"]),
            "start": np.ascontiguousarray(found["start"]),
            "end": np.ascontiguousarray(found["end"]),
            "text": pa.array(texts, pa.string()),
        }
    )


def _set_facts(
    store: Store, indexed: Sequence[Mapping[str, Any]], records: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Per set: items, those too short to look for, those found at all, documents that hold any of them."""
    items: dict[str, set[str]] = {}
    documents: dict[str, int] = {}
    for record in records:
        rows = shard_table(store, record, MATCHES, ["row", "set", "item"]).to_pydict()
        for name, item in zip(rows["set"], rows["item"], strict=True):
            items.setdefault(name, set()).add(item)
        for name, _ in set(zip(rows["set"], rows["row"], strict=True)):
            documents[name] = documents.get(name, 0) + 1
    names = [record["facts"]["set"] for record in indexed]
    return [
        {**record["facts"], "found": len(items.get(name, ())), "documents": documents.get(name, 0)}
        for name, record in zip(names, indexed, strict=True)
    ]
