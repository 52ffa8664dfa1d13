"""The proof believes what the reference would say, and nothing else."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.tokens import proof
from raytrain.tokens.tokenizer import Encoder, train_bpe

END = "<|endoftext|>"
SCRIPTS = "aZéßſΩя中ひ가ع٣½٠५ \u00a0\u2003\t\n\r\u0085'\u2019.,!?-(_🙂\u0301\u200b7stdmrelv"
TEXT = st.text(st.one_of(st.sampled_from(SCRIPTS), st.characters(codec="utf-8")), max_size=40)


@pytest.fixture(scope="module")
def coder() -> Encoder:
    draw = random.Random(3)
    words = ["".join(draw.choices(SCRIPTS, k=draw.randint(1, 6))) for _ in range(3000)]
    texts = [" ".join(draw.choices(words, k=40)) + "the house's 1234 doors!\n\n  return (x_y);" for _ in range(200)]
    return Encoder(train_bpe(texts, 1500, 2, END), END)


@pytest.fixture(scope="module")
def prover(coder: Encoder) -> proof.Prover:
    found = proof.definition_of(coder.reference.to_str())
    assert found is not None
    return proof.Prover(found)


@pytest.fixture(scope="module")
def spellings(coder: Encoder) -> dict[int, list[tuple[int, bytes]]]:
    """The tokens by their first byte."""
    found = proof.definition_of(coder.reference.to_str())
    assert found is not None
    tokens = [found.text[begin : begin + size].tobytes() for begin, size, _ in found.heads.astype(int)]
    return {byte: [(i, t) for i, t in enumerate(tokens) if t[:1] == bytes([byte])] for byte in range(256)}


def doubted(prover: proof.Prover, texts: list[str], ids: list[list[int]]) -> list[int]:
    data, offsets = text_buffers(pa.array(texts, pa.large_string()))
    starts = np.concatenate(([0], np.cumsum([len(row) for row in ids])))
    flat = np.array([i for row in ids for i in row], np.uint32)
    return prover.doubted(data, offsets, flat, starts).tolist()


@settings(max_examples=150, deadline=None)
@given(text=TEXT)
def test_pre_tokens_end_where_the_pattern_ends_them(text: str) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    classes = np.zeros(0x110000, np.uint8)
    characters = "".join(dict.fromkeys(text))
    classes[[ord(c) for c in characters]] = proof.classes_of(characters)
    ends, at = [], 0
    while at < len(data):
        at = proof.next_end(data, at, len(data), classes)
        ends.append(at)
    pieces = pre_tokenizers.Split(Regex(proof.PATTERN), "isolated").pre_tokenize_str(text)
    assert ends == np.cumsum([len(piece.encode()) for piece, _ in pieces]).tolist()


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
def test_the_references_ids_are_proven(coder: Encoder, prover: proof.Prover, texts: list[str]) -> None:
    ids = [e.ids for e in coder.reference.encode_batch(texts)]
    assert doubted(prover, texts, ids) == []


@settings(max_examples=150, deadline=None)
@given(text=TEXT.filter(bool), seed=st.integers(0, 1 << 30))
def test_other_ids_of_the_same_bytes_are_not(
    coder: Encoder, prover: proof.Prover, spellings: dict[int, list[tuple[int, bytes]]], text: str, seed: int
) -> None:
    """Any other way to cut the text into tokens of the vocabulary, found at random."""
    draw, data, ids = random.Random(seed), text.encode(), []
    while data:
        token, spelt = draw.choice([(i, t) for i, t in spellings[data[0]] if data.startswith(t)])
        ids.append(token)
        data = data[len(spelt) :]
    right = coder.reference.encode(text).ids
    assert doubted(prover, [text], [ids]) == ([] if ids == right else [0])


def test_ids_that_end_early_run_on_or_do_not_exist_are_doubted(coder: Encoder, prover: proof.Prover) -> None:
    text = "the house's doors"
    ids = coder.reference.encode(text).ids
    wrong = [ids[:-1], [*ids, ids[-1]], [], [coder.vocab_size + 5, *ids[1:]], [coder.end_id, *ids]]
    assert doubted(prover, [text] * 6, [*wrong, ids]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("change", [{"dropout": 0.1}, {"ignore_merges": True}, {"type": "Unigram"}])
def test_a_model_that_is_not_plain_is_not_proven(coder: Encoder, change: dict[str, object]) -> None:
    parsed = json.loads(coder.reference.to_str())
    assert proof.definition_of(json.dumps(parsed)) is not None
    parsed["model"] |= change
    assert proof.definition_of(json.dumps(parsed)) is None
