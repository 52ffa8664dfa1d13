"""Byte-level BPE: training it, and the fastest encoder that gives exactly the reference's ids.

The format is Hugging Face's tokenizer.json, the reference its `tokenizers` library. gigatoken encodes an order of
magnitude faster; its ids are used for a document only where they are proven from the definition (proof.py), and a
sample of whole documents is held against the reference all the same. The invariant: ids never depend on which
encoder ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from raytrain.errors import UserError

SAMPLE_EVERY = 512  # one document in so many is encoded by the reference as well,
SAMPLE_BYTES = 1 << 14  # if it is no longer


def train_bpe(texts: Iterable[str], vocab_size: int, min_frequency: int, end_of_text: str) -> str:
    """Trains byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) and returns its tokenizer.json.

    Raises UserError when the text holds too few repeated pairs for `vocab_size` tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    from raytrain.tokens.proof import PATTERN

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=[end_of_text],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    found = tokenizer.get_vocab_size()
    if found < vocab_size:
        raise UserError(
            f"tokenizer.vocab_size: the training split supports {found} tokens (pairs seen at least {min_frequency} "
            f"times), not {vocab_size}; set tokenizer.vocab_size={found} or less, or bring more text"
        )
    return str(tokenizer.to_str())


@dataclass(frozen=True)
class Encoded:
    """Documents as ids: uint32 [tokens], document i is `ids[starts[i]:starts[i + 1]]`; no end-of-text."""

    ids: np.ndarray
    starts: np.ndarray

    def each(self) -> Iterator[np.ndarray]:
        """The documents one by one."""
        for start, stop in pairwise(self.starts.tolist()):
            yield self.ids[start:stop]

    def packed(self, rows: np.ndarray, end_id: int, dtype: np.dtype[Any]) -> np.ndarray:
        """The documents of these rows one behind the other, each with `end_id` behind it."""
        from raytrain.tokens.packed import pack

        out = np.empty(int((self.starts[rows + 1] - self.starts[rows] + 1).sum()), dtype)
        pack(self.ids, self.starts, rows, end_id, out)
        return out


class Encoder:
    """Encodes documents with one tokenizer.json. A process keeps a few megabytes of what it has proven."""

    def __init__(self, definition: str, end_of_text: str) -> None:
        from tokenizers import Tokenizer

        try:
            self.reference = Tokenizer.from_str(definition)
        except Exception as error:
            raise UserError(f"tokenizer: not a tokenizer.json that `tokenizers` can read: {error}") from None
        end = self.reference.token_to_id(end_of_text)
        if end is None:
            raise UserError(
                f"tokenizer.end_of_text: {end_of_text!r} is not a token of this tokenizer; name its end-of-text token"
            )
        self.end_id: int = end
        self.vocab_size: int = self.reference.get_vocab_size(with_added_tokens=True)
        # Text that spells a special token is text: nobody's document may forge an end-of-text.
        self.reference.encode_special_tokens = True
        self._specials = [t.content.encode() for t in self.reference.get_added_tokens_decoder().values()]
        self._definition = definition
        self._fast: Any | None = None
        self._prover: Any | None = None
        self._ready = False

    @property
    def name(self) -> str:
        """Which encoder is in use."""
        self._prepare()
        return "gigatoken" if self._fast is not None else "tokenizers"

    def encode(self, texts: Any) -> Encoded:
        """The ids of all documents: a sequence of str, or an Arrow column of them."""
        import pyarrow as pa

        from raytrain.corpus.kernels.buffers import text_buffers

        column = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.large_string())
        data, offsets = text_buffers(column)
        self._prepare()
        if self._fast is None:
            return self._by_reference(column)
        found = _gigatoken_ids(self._fast, data, offsets)
        doubted = {int(i) for i in self._prover.doubted(data, offsets, found.ids, found.starts)}  # type: ignore[union-attr]
        doubted |= set(_spelling(data, offsets, self._specials))
        lengths = np.diff(offsets)
        sampled = [i for i in range(0, len(lengths), SAMPLE_EVERY) if lengths[i] <= SAMPLE_BYTES and i not in doubted]
        rows = [*sorted(doubted), *sampled]
        if not rows:
            return found
        known = dict(zip(rows, self._reference_ids(column.take(pa.array(rows)).to_pylist()), strict=True))
        if any(not np.array_equal(found.ids[found.starts[i] : found.starts[i + 1]], known[i]) for i in sampled):
            self._fast = None  # a proof that was none: nothing of it is believed any more
            return self._by_reference(column)
        return _replaced(found, {i: known[i] for i in sorted(doubted)})

    def _prepare(self) -> None:
        """Loads the fast encoder where this definition can be proven."""
        if self._ready:
            return
        from raytrain.tokens.proof import Prover, definition_of

        known = definition_of(self._definition)
        if known is not None:
            self._fast, self._prover = _gigatoken(self._definition), Prover(known)
        self._ready = True

    def _by_reference(self, column: Any) -> Encoded:
        rows = self._reference_ids(column.to_pylist())
        starts = np.concatenate(([0], np.cumsum([len(r) for r in rows], dtype=np.int64)))
        return Encoded(np.concatenate([np.empty(0, np.uint32), *rows]), starts)

    def _reference_ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        encoded = self.reference.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(e.ids, np.uint32) for e in encoded]


def _gigatoken_ids(fast: Any, data: np.ndarray, offsets: np.ndarray) -> Encoded:
    """gigatoken over Arrow's own buffers, on this thread: shards are the unit of parallelism."""
    import awkward as ak

    if len(offsets) == 1:
        return Encoded(np.empty(0, np.uint32), np.zeros(1, np.int64))
    characters = ak.contents.NumpyArray(data, parameters={"__array__": "char"})
    texts = ak.contents.ListOffsetArray(ak.index.Index64(offsets), characters, parameters={"__array__": "string"})
    layout = fast.encode_batch(ak.Array(texts), parallel=False).layout
    return Encoded(np.asarray(layout.content.data), np.asarray(layout.offsets.data))


def _spelling(data: np.ndarray, offsets: np.ndarray, specials: Sequence[bytes]) -> list[int]:
    """The documents that spell a special token."""
    held = data.tobytes() if specials else b""
    places = []
    for special in specials:
        at = held.find(special)
        while at >= 0:
            places.append(at)
            at = held.find(special, at + 1)
    return sorted({int(i) for i in np.searchsorted(offsets, places, side="right") - 1})


def _replaced(encoded: Encoded, rows: Mapping[int, np.ndarray]) -> Encoded:
    """The same documents with other ids for some."""
    if not rows:
        return encoded
    ids, starts = encoded.ids, encoded.starts
    lengths = np.diff(starts)
    pieces, at = [], 0
    for i, other in rows.items():
        pieces += [ids[at : starts[i]], other]
        at = int(starts[i + 1])
        lengths[i] = len(other)
    return Encoded(np.concatenate([*pieces, ids[at:]]), np.concatenate(([0], np.cumsum(lengths))))


def sha256(definition: str) -> str:
    """A tokenizer's identity: the hash of its model, pre-tokenizer and added tokens, whatever the JSON's layout."""
    parsed = json.loads(definition)
    parts = {k: parsed.get(k) for k in ("model", "pre_tokenizer", "normalizer", "added_tokens", "decoder")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@lru_cache(maxsize=4)
def encoder(definition: str, end_of_text: str) -> Encoder:
    """One encoder a process and tokenizer: what it has checked stays checked."""
    return Encoder(definition, end_of_text)


def _gigatoken(definition: str) -> Any | None:
    try:
        import gigatoken

        return gigatoken.Tokenizer.from_json(definition)
    except (ImportError, RuntimeError, ValueError):  # an unknown pre-tokenizer: the reference serves
        return None
