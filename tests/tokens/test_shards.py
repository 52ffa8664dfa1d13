from __future__ import annotations

import numpy as np
import pytest

from raytrain.errors import UserError
from raytrain.store import Artifact, Store, open_artifact
from raytrain.store.artifact import read_table
from raytrain.tokens.loader import Tokens
from raytrain.tokens.tokenizer import encoder


def artifact(store: Store, prefix: str) -> Artifact:
    found = open_artifact(store, prefix)
    assert found is not None
    return found


def test_every_document_stands_where_its_row_says(store: Store) -> None:
    tokens, corpus, tokenizer = (artifact(store, p) for p in ("tokens/x", "corpora/x", "tokenizers/x"))
    coder = encoder(tokenizer.get(0, "tokenizer.json").decode(), "<|endoftext|>")
    for shard in range(len(tokens.shards)):
        texts = read_table(corpus, shard, "kept.parquet")["text"].to_pylist()
        for text, row in zip(texts, read_table(tokens, shard, "documents.parquet").to_pylist(), strict=True):
            name = "validation.bin" if row["split"] == "validation" else f"train-{row['group']}.bin"
            ids = np.frombuffer(tokens.get(shard, name), tokens.facts["dtype"])
            piece = ids[row["position"] : row["position"] + row["tokens"]]
            assert piece.tolist() == [*coder.encode([text]).ids.tolist(), coder.end_id]


def test_no_token_of_a_validation_document_is_trained_on(store: Store) -> None:
    facts = artifact(store, "tokens/x").facts
    tokens = Tokens(artifact(store, "tokens/x"))
    assert sum(tokens.tokens_in(k) for k in range(len(tokens.groups))) == facts["train_tokens"]
    assert sum(len(d.tokens) for d in tokens.validation()) == facts["validation"]["tokens"]
    assert sum(d.bytes for d in tokens.validation()) == facts["validation"]["bytes"]
    assert len(tokens.validation()) == facts["validation"]["documents"] == 9


def test_windows_tile_a_groups_stream_over_shard_bounds(store: Store) -> None:
    tokens = Tokens(artifact(store, "tokens/x"))
    for group, count in enumerate(tokens.windows(64)):
        stream = tokens.read(group, 0, tokens.tokens_in(group))
        assert count == (len(stream) - 1) // 64
        for index in range(count):
            assert np.array_equal(tokens.window(group, index, 64), stream[index * 64 : index * 64 + 65])
        for start in (0, 1, len(stream) // 2, len(stream) - 1):
            shard, position = tokens.shard_of(group, start)
            raw = np.frombuffer(tokens.artifact.get(shard, f"train-{group}.bin"), tokens.facts["dtype"])
            assert raw[position] == stream[start]


def test_a_truncated_shard_is_refused(store: Store) -> None:
    found = artifact(store, "tokens/x")
    path = store.local_path(found.key(0, "train-0.bin"))
    assert path is not None
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="its record says"):
        Tokens(found)


def test_a_remote_store_gives_the_same_windows(store: Store, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    local = Tokens(artifact(store, "tokens/x"))
    monkeypatch.setattr(Store, "local_path", lambda self, key: None)
    remote = Tokens(artifact(store, "tokens/x"), cache=tmp_path / "cache")
    assert np.array_equal(local.window(0, 3, 32), remote.window(0, 3, 32))
    assert list((tmp_path / "cache").iterdir())
