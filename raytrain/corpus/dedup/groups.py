"""Documents of one text, and of one URL: an exchange by key, and the groups in each partition.

Texts are the same when all 128 bits of their ids are. URLs are the same when they differ at most in scheme, "www.",
the case of the host, a fragment or a last slash. The invariant: a group's head is its best member by rank, then by
number, and a group has at least one document of the corpus's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raytrain.corpus.attributes import shard_table
from raytrain.corpus.dedup import exchange
from raytrain.corpus.dedup.pool import NODE, counted, nodes_of
from raytrain.corpus.ingest import INDEX
from raytrain.store import ArtifactWriter, Store
from raytrain.store.step import Task

ADDRESS = np.dtype([*NODE.descr, ("url_high", "<u8"), ("url_low", "<u8")])
SAME_TEXT = np.dtype([*NODE.descr, ("head", "<i8")])
SAME_URL = np.dtype([*ADDRESS.descr, ("head", "<i8")])


def send_keys(task: Task) -> Task:
    """Writes a NODE row a document by its text, or an ADDRESS row by its URL where it has one."""
    writer = ArtifactWriter(Store(task["store"]), task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    read = addresses_of if task["by"] == "url" else nodes_of
    rows = np.concatenate([read(writer.store, shard, task["config"]) for shard in task["shards"]])
    key = rows["url_high" if task["by"] == "url" else "high"]
    parts = (key % np.uint64(task["partitions"])).astype(np.int64)
    objects = exchange.send(writer, task["shard"], "keys", rows, parts, task["partitions"])
    return writer.commit_shard(task["shard"], objects, len(rows))


def groups_of_partition(task: Task) -> Task:
    """Writes every document of a partition that has company, with its group's head, by range of documents."""
    store = Store(task["store"])
    writer = ArtifactWriter(store, task["prefix"])
    done = writer.record(task["shard"])
    if done is not None:
        return done
    dtype = ADDRESS if task["by"] == "url" else NODE
    members = members_of(exchange.receive(store, task["keys"], task["shard"], dtype), task["own"])
    parts = members["doc"] // task["range"]
    objects = exchange.send(writer, task["shard"], "members", members, parts, task["ranges"])
    return writer.commit_shard(task["shard"], objects, len(members))


def members_of(rows: NDArray[Any], own: int) -> NDArray[Any]:
    """SAME_TEXT (SAME_URL) rows of those NODE (ADDRESS) rows that share their key, where one is below `own`."""
    high, low, dtype = ("high", "low", SAME_TEXT) if rows.dtype == NODE else ("url_high", "url_low", SAME_URL)
    rows = rows[np.lexsort((rows["doc"], rows["rank"], rows[low], rows[high]))]
    fresh = np.ones(len(rows), np.bool_)
    fresh[1:] = (rows[high][1:] != rows[high][:-1]) | (rows[low][1:] != rows[low][:-1])
    group = np.cumsum(fresh) - 1
    wanted = (np.bincount(group) > 1) & (np.bincount(group, rows["doc"] < own) > 0)
    keep = wanted[group]
    out = np.empty(int(keep.sum()), dtype)
    for name in rows.dtype.names or ():
        out[name] = rows[name][keep]
    out["head"] = rows["doc"][np.flatnonzero(fresh)[group[keep]]]
    return out


def addresses_of(store: Store, shard: Mapping[str, Any], config: Mapping[str, Any]) -> NDArray[Any]:
    """ADDRESS rows of the documents of a shard that are searched and have a URL."""
    nodes, own = nodes_of(store, shard, config), counted(store, shard)
    high, low, has = url_keys(shard_table(store, shard["documents"], INDEX, ["url"]).column("url"))
    rows = np.empty(len(nodes), ADDRESS)
    for name in NODE.names or ():
        rows[name] = nodes[name]
    rows["url_high"], rows["url_low"] = high[own], low[own]
    return np.asarray(rows[has[own]])


def url_keys(urls: Any) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]:
    """(high, low) of each URL's 128-bit hash, and whether there is one."""
    import pyarrow.compute as pc
    from xxhash import xxh3_128_intdigest

    bare = pc.replace_substring_regex(urls, "#.*$|/+(#.*)?$", "")
    bare = pc.replace_substring_regex(bare, "^[A-Za-z][A-Za-z0-9+.-]*://", "")
    parts = pc.extract_regex(bare.combine_chunks(), r"^(?P<host>[^/?]*)(?P<rest>(?s:.*))$")
    hosts = pc.replace_substring_regex(pc.utf8_lower(pc.struct_field(parts, "host")), r"^www\.", "")
    whole = pc.binary_join_element_wise(hosts, pc.struct_field(parts, "rest"), "").to_pylist()
    keys = [xxh3_128_intdigest(url.encode()) if url else 0 for url in whole]
    low = np.array([key % 2**64 for key in keys], np.uint64)
    return np.array([key >> 64 for key in keys], np.uint64), low, np.array([bool(url) for url in whole], np.bool_)
