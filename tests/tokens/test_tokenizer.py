from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.errors import UserError
from raytrain.tokens import tokenizer as room
from raytrain.tokens.tokenizer import Encoder, sha256, train_bpe

END = "<|endoftext|>"


def texts() -> Iterator[str]:
    for i in range(300):
        yield f"The {i}th house wasn't built in a day; don't say it's {i * 37} metres high!\n\n  Über façades… {i}"


@pytest.fixture(scope="module")
def definition() -> str:
    return train_bpe(texts(), 400, 2, END)


def test_training_is_deterministic(definition: str) -> None:
    assert train_bpe(texts(), 400, 2, END) == definition


def test_the_fast_encoder_is_in_use_and_gives_the_references_ids(definition: str) -> None:
    coder = Encoder(definition, END)
    documents = [*texts(), "", " ", "日本語のテキスト", "\x00\u200b🙂\r\n\t x", "a" * 5000]
    ids, lengths = coder.encode(documents)
    assert coder.name == "gigatoken"
    expected = [[*e.ids, coder.end_id] for e in coder.reference.encode_batch(documents, add_special_tokens=False)]
    assert lengths.tolist() == [len(e) for e in expected]
    assert ids.tolist() == [i for e in expected for i in e]


@settings(max_examples=50, deadline=None)
@given(text=st.text())
def test_every_text_survives_encoding_and_decoding(definition: str, text: str) -> None:
    coder = room.encoder(definition, END)
    ids, _ = coder.encode([text])
    assert coder.reference.decode(ids[:-1].tolist(), skip_special_tokens=False) == text


def test_a_document_cannot_forge_the_end_of_text(definition: str) -> None:
    coder = Encoder(definition, END)
    ids, _ = coder.encode([f"before {END} after", "plain"])
    assert (ids == coder.end_id).sum() == 2
    assert coder.reference.decode(ids.tolist(), skip_special_tokens=False) == f"before {END} after{END}plain{END}"


def test_a_fast_encoder_that_differs_is_dropped(definition: str) -> None:
    coder = Encoder(definition, END)
    honest = coder._fast_rows

    def off_by_one(batch: list[str]) -> list[np.ndarray]:
        return [row + (1 if "metres" in text else 0) for row, text in zip(honest(batch), batch, strict=True)]

    coder._fast_rows = off_by_one  # type: ignore[method-assign, assignment]
    ids, _ = coder.encode(list(texts()))
    assert coder.name == "tokenizers"
    assert ids.tolist() == Encoder(definition, END).encode(list(texts()))[0].tolist()


def test_an_unknown_pre_tokenizer_is_served_by_the_reference(definition: str) -> None:
    parsed = json.loads(definition)
    parsed["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    coder = Encoder(json.dumps(parsed), END)
    assert coder.name == "tokenizers"
    assert coder.encode(["hello world"])[1].tolist() == [len(coder.encode(["hello world"])[0])]


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
