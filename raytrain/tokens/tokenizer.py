"""Byte-level BPE: training it, and the fastest encoder that gives exactly the reference's ids.

The format is Hugging Face's tokenizer.json, the reference its `tokenizers` library. gigatoken encodes an order of
magnitude faster; it is believed only after it agreed with the reference on every distinct pre-token of the text
at hand and on a sample of whole documents, and any difference falls back to the reference. The invariant: ids
never depend on which encoder ran.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from raytrain.errors import UserError

# The pre-tokenizer of Llama 3 (its released tokenizer.json): contractions, words with their leading space,
# numbers by three digits, punctuation, newlines, spaces.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SAMPLE_EVERY = 64  # one whole document in so many is encoded by the reference as well


def train_bpe(texts: Iterable[str], vocab_size: int, min_frequency: int, end_of_text: str) -> str:
    """Trains byte-level BPE (Sennrich et al. 2016; bytes as in GPT-2) and returns its tokenizer.json.

    Raises UserError when the text holds too few repeated pairs for `vocab_size` tokens.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

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


class Encoder:
    """Encodes documents with one tokenizer.json; `encode` appends end-of-text to each."""

    def __init__(self, definition: str, end_of_text: str) -> None:
        from tokenizers import Tokenizer

        try:
            self.reference = Tokenizer.from_str(definition)
        except Exception as error:
            raise UserError(f"tokenizer: not a tokenizer.json that `tokenizers` can read: {error}") from None
        self.definition = definition
        self.end_of_text = end_of_text
        end = self.reference.token_to_id(end_of_text)
        if end is None:
            raise UserError(
                f"tokenizer.end_of_text: {end_of_text!r} is not a token of this tokenizer; name its end-of-text token"
            )
        self.end_id: int = end
        self.vocab_size: int = self.reference.get_vocab_size(with_added_tokens=True)
        # Text that spells a special token is text: nobody's document may forge an end-of-text.
        self.reference.encode_special_tokens = True
        self._specials = [t.content for t in self.reference.get_added_tokens_decoder().values()]
        self._pattern = _split_pattern(definition)
        self._fast = _gigatoken(definition) if self._pattern is not None else None
        self._checked: set[str] = set()
        self.fell_back = self._fast is None

    @property
    def name(self) -> str:
        """Which encoder is in use."""
        return "tokenizers" if self.fell_back else "gigatoken"

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """All documents' ids in one uint32 array [tokens], each followed by end-of-text, and their lengths [documents].

        Lengths count the end-of-text.
        """
        if not self.fell_back and not self._agrees(texts):
            self.fell_back = True
        spelt = [i for i, t in enumerate(texts) if any(s in t for s in self._specials)]
        if self.fell_back:
            rows = [np.array(ids, np.uint32) for ids in self._reference_ids(texts)]
        else:
            rows = self._fast_rows(texts)
            for i in spelt:
                rows[i] = np.array(self._reference_ids([texts[i]])[0], np.uint32)
        end = np.array([self.end_id], np.uint32)
        parts = [part for row in rows for part in (row, end)]
        lengths = np.array([len(row) + 1 for row in rows], np.int64)
        return (np.concatenate(parts) if parts else np.empty(0, np.uint32)), lengths

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.reference.decode(list(ids), skip_special_tokens=False))

    def _agrees(self, texts: Sequence[str]) -> bool:
        """Whether the fast encoder gives the reference's ids on what has not been checked yet."""
        assert self._pattern is not None
        fresh: set[str] = set()
        for text in texts:
            fresh.update(self._pattern.findall(text))
        fresh -= self._checked
        pieces = sorted(p for p in fresh if not any(s in p for s in self._specials))
        pieces += [t for t in texts[::SAMPLE_EVERY] if not any(s in t for s in self._specials)]
        self._checked |= fresh
        if not pieces:
            return True
        return all(
            np.array_equal(a, b) for a, b in zip(self._fast_rows(pieces), self._reference_ids(pieces), strict=True)
        )

    def _fast_rows(self, texts: Sequence[str]) -> list[np.ndarray]:
        import awkward

        assert self._fast is not None
        if not texts:
            return []
        ids = self._fast.encode_batch(list(texts), parallel=False)
        flat = awkward.to_numpy(awkward.flatten(ids))
        bounds = np.cumsum(awkward.to_numpy(awkward.num(ids)))[:-1]
        return list(np.split(flat, bounds))

    def _reference_ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self.reference.encode_batch_fast(list(texts), add_special_tokens=False)]


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


def _split_pattern(definition: str) -> Any | None:
    """The regular expression that a tokenizer.json splits by, or None if it splits by anything else."""
    import regex

    parsed = json.loads(definition)
    if parsed.get("normalizer"):
        return None
    pre = parsed.get("pre_tokenizer") or {}
    steps = pre.get("pretokenizers", []) if pre.get("type") == "Sequence" else [pre]
    if len(steps) == 2 and steps[0].get("type") == "Split" and steps[1].get("type") == "ByteLevel":
        pattern = steps[0]["pattern"].get("Regex")
        plain = not steps[1].get("use_regex") and not steps[1].get("add_prefix_space")
        isolated = steps[0].get("behavior") == "Isolated" and not steps[0].get("invert")
        return regex.compile(pattern) if pattern and plain and isolated else None
    return None
