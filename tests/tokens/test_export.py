"""What leaves for other trainers, read back by loaders written from their formats' descriptions alone."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from raytrain.errors import UserError
from raytrain.store import Artifact, Store, open_artifact
from raytrain.store.artifact import read_table
from raytrain.tokens.export import export_megatron, export_nanogpt, export_parquet
from raytrain.tokens.loader import Tokens


def artifact(store: Store, prefix: str) -> Artifact:
    found = open_artifact(store, prefix)
    assert found is not None
    return found


def megatron_documents(prefix: Path) -> list[list[int]]:
    """Megatron Core's format: magic, version, type code, counts; then lengths, pointers, document bounds."""
    with open(f"{prefix}.idx", "rb") as file:
        assert file.read(9) == b"MMIDIDX\x00\x00"
        (version,) = struct.unpack("<Q", file.read(8))
        (code,) = struct.unpack("<B", file.read(1))
        sequences, documents = struct.unpack("<QQ", file.read(16))
        lengths = np.frombuffer(file.read(4 * sequences), np.int32)
        pointers = np.frombuffer(file.read(8 * sequences), np.int64)
        bounds = np.frombuffer(file.read(8 * documents), np.int64)
        assert file.read() == b""
    assert version == 1
    dtype = {4: np.dtype(np.int32), 8: np.dtype(np.uint16)}[code]
    data = np.memmap(f"{prefix}.bin", np.uint8, "r")
    read = [data[p : p + n * dtype.itemsize].view(dtype).tolist() for p, n in zip(pointers, lengths, strict=True)]
    assert int(lengths.sum()) * dtype.itemsize == len(data)
    return [[i for s in read[a:b] for i in s] for a, b in pairwise(bounds)]


def documents_of(store: Store, split: str, group: int | None = None) -> list[list[int]]:
    """The same from our shards, by the rows that say where each stands."""
    tokens, found = artifact(store, "tokens/x"), []
    for shard in range(len(tokens.shards)):
        for row in read_table(tokens, shard, "documents.parquet").to_pylist():
            if row["split"] == split and group in (None, row["group"]):
                name = "validation.bin" if split == "validation" else f"train-{row['group']}.bin"
                ids = np.frombuffer(tokens.get(shard, name), tokens.facts["dtype"])
                found.append(ids[row["position"] : row["position"] + row["tokens"]].tolist())
    return found


def test_megatrons_files_hold_the_same_documents(store: Store, tmp_path: Path) -> None:
    export_megatron(artifact(store, "tokens/x"), artifact(store, "tokenizers/x"), str(tmp_path / "out"))
    for group, domain in enumerate(Tokens(artifact(store, "tokens/x")).domains):
        expected = documents_of(store, "train", group)
        assert expected
        assert megatron_documents(tmp_path / f"out/{domain}_text_document") == expected
    assert megatron_documents(tmp_path / "out/validation_text_document") == documents_of(store, "validation")


@pytest.mark.parametrize(
    ("domains", "names"),
    [(("a/b", "a_b"), ("a_b", "a_b-1")), (("validation", "A"), ("validation-0", "A")), (("B", "b"), ("B", "b-1"))],
)
def test_domains_that_the_world_spells_alike_keep_files_of_their_own(
    domains: tuple[str, ...], names: tuple[str, ...], store: Store, tmp_path: Path
) -> None:
    tokens = artifact(store, "tokens/x")
    groups = [{**held, "domain": name} for held, name in zip(tokens.facts["groups"], domains, strict=True)]
    renamed = Artifact(store, tokens.prefix, {**tokens.manifest, "facts": {**tokens.facts, "groups": groups}})
    export_megatron(renamed, artifact(store, "tokenizers/x"), str(tmp_path / "out"))
    for group, name in enumerate(names):
        assert megatron_documents(tmp_path / f"out/{name}_text_document") == documents_of(store, "train", group)
    assert megatron_documents(tmp_path / "out/validation_text_document") == documents_of(store, "validation")


def test_nanogpts_files_are_the_streams(store: Store, tmp_path: Path) -> None:
    export_nanogpt(artifact(store, "tokens/x"), artifact(store, "tokenizers/x"), str(tmp_path / "out"))
    tokens = Tokens(artifact(store, "tokens/x"))
    streams = [tokens.read(k, 0, tokens.tokens_in(k)) for k in range(len(tokens.domains))]
    assert np.array_equal(np.fromfile(tmp_path / "out/train.bin", np.uint16), np.concatenate(streams))
    held = [i for ids in documents_of(store, "validation") for i in ids]
    assert np.fromfile(tmp_path / "out/val.bin", np.uint16).tolist() == held


def test_parquet_holds_the_kept_texts(store: Store, tmp_path: Path) -> None:
    corpus = artifact(store, "corpora/x")
    done = export_parquet(corpus, str(tmp_path / "out"))
    rows = [row for shard in range(3) for row in pq.read_table(tmp_path / f"out/part-{shard:05d}.parquet").to_pylist()]
    assert rows == [row for shard in range(3) for row in read_table(corpus, shard, "kept.parquet").to_pylist()]
    assert done["documents"] == len(rows)


def test_the_description_names_every_file_with_its_sum_and_comes_last(store: Store, tmp_path: Path) -> None:
    tokens = artifact(store, "tokens/x")
    export_megatron(tokens, artifact(store, "tokenizers/x"), str(tmp_path / "out"))
    told = json.loads((tmp_path / "out/dataset.json").read_text())
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*told["files"], "dataset.json"}
    assert told["files"]["tokenizer.json"]["bytes"] == (tmp_path / "out/tokenizer.json").stat().st_size
    assert (told["tokens"], told["train_tokens"]) == ("tokens/x", tokens.facts["train_tokens"])


def test_a_folder_that_holds_anything_is_not_touched(store: Store, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        export_parquet(artifact(store, "corpora/x"), str(tmp_path))
    assert (tmp_path / "mine").read_text() == "precious"
