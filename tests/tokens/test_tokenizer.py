from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.errors import UserError
from raytrain.tokens import tokenizer as room
from raytrain.tokens.tokenizer import Encoded, Encoder, sha256, train_bpe

END = "<|endoftext|>"


def texts() -> Iterator[str]:
    for i in range(300):
        yield f"The {i}th house wasn't built in a day; don't say it's {i * 37} metres high!\n\n  Über façades… {i}"


@pytest.fixture(scope="module")
def definition() -> str:
    return train_bpe(texts(), 400, 2, END)


def rows(encoded: Encoded) -> list[list[int]]:
    return [encoded.ids[a:b].tolist() for a, b in zip(encoded.starts, encoded.starts[1:], strict=False)]


def references(coder: Encoder, documents: Sequence[str]) -> list[list[int]]:
    return [e.ids for e in coder.reference.encode_batch(list(documents), add_special_tokens=False)]


def test_training_is_deterministic(definition: str) -> None:
    assert train_bpe(texts(), 400, 2, END) == definition


def test_the_fast_encoder_is_in_use_and_gives_the_references_ids(definition: str) -> None:
    coder = Encoder(definition, END)
    documents = [*texts(), "", " ", "日本語のテキスト", "\x00\u200b🙂\r\n\t x", "a" * 5000, "'ſtone 'TIS 'llama I'LL"]
    assert coder.name == "gigatoken"
    assert rows(coder.encode(documents)) == references(coder, documents)
    column = pa.chunked_array([documents[:7], documents[7:]], pa.string()).slice(3)
    assert rows(coder.encode(column)) == references(coder, documents[3:])
    assert rows(coder.encode([])) == []


@settings(max_examples=50, deadline=None)
@given(text=st.text())
def test_every_text_survives_encoding_and_decoding(definition: str, text: str) -> None:
    coder = room.encoder(definition, END)
    assert coder.reference.decode(coder.encode([text]).ids.tolist(), skip_special_tokens=False) == text


def test_packing_takes_the_rows_asked_for_each_with_an_end_behind_it() -> None:
    encoded = Encoded(np.array([1, 2, 3, 4, 5], np.uint32), np.array([0, 2, 2, 5]))
    packed = encoded.packed(np.array([0, 1, 2]), 9, np.dtype("<u2"))
    assert (packed.tolist(), packed.dtype) == ([1, 2, 9, 9, 3, 4, 5, 9], np.dtype("<u2"))
    assert encoded.packed(np.array([2]), 9, np.dtype("<u4")).tolist() == [3, 4, 5, 9]


def test_a_document_cannot_forge_the_end_of_text(definition: str) -> None:
    coder = Encoder(definition, END)
    documents = ["plain", f"before {END} after", f"{END}", "plain"]
    encoded = coder.encode(documents)
    assert coder.end_id not in encoded.ids
    assert [coder.reference.decode(ids, skip_special_tokens=False) for ids in rows(encoded)] == documents


def wrong(encoded: Encoded, rows: Sequence[int]) -> Encoded:
    ids = encoded.ids.copy()
    for i in rows:
        ids[encoded.starts[i]] ^= 1
    return Encoded(ids, encoded.starts)


def test_wrong_ids_are_found_and_replaced_by_the_references(definition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = room._gigatoken_ids
    monkeypatch.setattr(room, "_gigatoken_ids", lambda *a: wrong(honest(*a), [0, 17, 18, 299]))
    coder = Encoder(definition, END)
    documents = list(texts())
    assert rows(coder.encode(documents)) == references(coder, documents)
    assert coder.name == "gigatoken"


def test_a_fast_encoder_is_dropped_when_a_proven_sample_differs(
    definition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = room._gigatoken_ids
    monkeypatch.setattr(room, "_gigatoken_ids", lambda *a: wrong(honest(*a), [0]))
    monkeypatch.setattr("raytrain.tokens.proof.Prover.doubted", lambda *a: np.empty(0, np.int64))
    coder = Encoder(definition, END)
    documents = list(texts())
    assert rows(coder.encode(documents)) == references(coder, documents)
    assert coder.name == "tokenizers"


def test_an_unknown_pre_tokenizer_is_served_by_the_reference(definition: str) -> None:
    parsed = json.loads(definition)
    parsed["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    coder = Encoder(json.dumps(parsed), END)
    assert coder.name == "tokenizers"
    assert rows(coder.encode(["hello world", ""])) == references(coder, ["hello world", ""])


def test_a_vocabulary_larger_than_the_data_supports_is_refused_with_the_figure() -> None:
    with pytest.raises(UserError, match=r"supports \d+ tokens .* not 50000; set tokenizer.vocab_size="):
        train_bpe(texts(), 50000, 2, END)


def test_a_file_that_is_no_tokenizer_is_one_line(definition: str) -> None:
    with pytest.raises(UserError, match=r"not a tokenizer\.json"):
        Encoder("{}", END)
    with pytest.raises(UserError, match="end_of_text"):
        Encoder(definition, "</s>")


def test_a_tokenizers_identity_ignores_the_layout_of_its_json(definition: str) -> None:
    assert sha256(json.dumps(json.loads(definition), indent=4)) == sha256(definition)
    changed = json.loads(definition)
    changed["model"]["merges"] = changed["model"]["merges"][:-1]
    assert sha256(json.dumps(changed)) != sha256(definition)
