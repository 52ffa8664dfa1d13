"""Proof that token ids are the encoding of a text, without encoding it a second time.

Byte-level BPE over pre-tokens: the ids are right if their bytes are the text, no token crosses a pre-token's end,
and any two neighbours inside a pre-token are what BPE makes of their own bytes. The last suffices for the whole
pre-token: the first merge across one of its boundaries would also be the first one across it in that pair alone
(van Antwerpen and Neubeck 2024, "So many tokens, so little time", GitHub's `bpe`). It encodes nothing for use and
believes no encoder. The invariant: what is proven is what the definition gives; whatever is unusual is doubted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import Bytes, Offsets, frozen
from raytrain.corpus.kernels.characters import CACHED, decode

# The pre-tokenizer of Llama 3 (its released tokenizer.json): contractions, words with their leading space,
# numbers by three digits, punctuation, newlines, spaces.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UNKNOWN, OTHER, LETTER, NUMBER, SPACE = range(5)
# What follows a token, as bits: 1 << class of an ASCII character, and these.
NEWLINE, WIDE, NOTHING = 1 << 5, 1 << 6, 1 << 7  # a newline too, a byte beyond ASCII, the end of the document
ANY = (1 << 8) - 1
DOUBTED = -2
_CODE_POINTS = 0x110000
_U = np.uint64
_MEMO = 1 << 18  # pairs that are known to be right: a cache of 2 MB in which a newcomer takes the old one's place
_LONGEST = 512  # bytes of a token that is merged anew to see how BPE makes it; a longer one is doubted


@dataclass(frozen=True)
class Definition:
    """A tokenizer.json's model as arrays.

    Token i has the bytes `text[heads[i, 0]:][:heads[i, 1]]`; `heads[i, 2]` says what may not follow it where it is a
    pre-token by itself, in the bits that `follows` gives for each byte. `made[i]` is how BPE makes it: the rank of its
    last merge and the two tokens merged; rank -1 for a byte, DOUBTED for a token that it makes in no such way.
    `keys` and `ranks` are a hash table of the merges.
    """

    text: Bytes
    heads: NDArray[np.uint64]
    follows: NDArray[np.uint64]
    made: NDArray[np.int64]
    keys: NDArray[np.uint64]
    ranks: NDArray[np.int64]


def definition_of(tokenizer_json: str) -> Definition | None:
    """The model's arrays, or None for a model that is anything but plain byte-level BPE split by PATTERN."""
    parsed = json.loads(tokenizer_json)
    model = parsed.get("model") or {}
    unusual = ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if (
        parsed.get("normalizer")
        or not _splits_by_pattern(parsed.get("pre_tokenizer") or {})
        or model.get("type") != "BPE"
        or any(model.get(key) for key in (*unusual, "ignore_merges"))
    ):
        return None
    vocab: dict[str, int] = model["vocab"]
    byte_of = _byte_alphabet()
    if any(c not in vocab for c in byte_of) or sorted(vocab.values()) != list(range(len(vocab))):
        return None
    tokens: list[bytes] = [b""] * len(vocab)
    latin = str.maketrans({c: chr(byte) for c, byte in byte_of.items()})
    for token, i in vocab.items():
        if byte_of.keys() >= set(token):  # not so for special tokens, which no text holds
            tokens[i] = token.translate(latin).encode("latin-1")
    text = np.frombuffer(b"".join(tokens) + bytes(8), np.uint8)  # eight are read at once
    begins = np.concatenate(([0], np.cumsum([len(t) for t in tokens], dtype=np.int64)))
    of_byte = np.array([vocab[c] for c, _ in sorted(byte_of.items(), key=lambda pair: pair[1])], np.int64)

    pairs = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
    rows = np.array([(vocab[a], vocab[b], vocab[a + b]) for a, b in pairs], np.int64).reshape(-1, 3)
    size = 1 << (4 * len(rows) + 1).bit_length()
    keys, ranks, results = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.int64)
    _fill(rows, keys, ranks, results)
    made = np.full((len(tokens), 3), DOUBTED, np.int64)
    _make(text, begins, of_byte, keys, ranks, results, made)

    shown = [t.decode("utf-8", "replace") for t in tokens]
    characters = "".join({chr(i) for i in range(128)}.union(*shown))
    kinds = dict(zip(characters, classes_of(characters).tolist(), strict=True))
    follow = [_ended_by(t, kinds) if m != DOUBTED else ANY for t, m in zip(shown, made[:, 0].tolist(), strict=True)]
    heads = np.stack([begins[:-1], np.diff(begins), np.array(follow, np.int64)], 1).astype(np.uint64)
    follows = [1 << kinds[chr(i)] | NEWLINE * (chr(i) in "\r\n") for i in range(128)] + [WIDE] * 128
    return Definition(
        text, frozen(heads), frozen(np.array(follows, np.uint64)), frozen(made), frozen(keys), frozen(ranks)
    )


def _ended_by(token: str, kinds: dict[str, int]) -> int:
    """What may not follow where this token is a pre-token by itself: ANY where that takes a closer look."""
    first, rest = kinds[token[0]], {kinds[c] for c in token[1:]}
    if {first} | rest == {NUMBER} and len(token) <= 3:
        return 0 if len(token) == 3 else WIDE | 1 << NUMBER
    if "\ufffd" in token or token[0] in "'\r\n":
        return ANY
    if rest <= {LETTER} and (first == LETTER or (rest and first != NUMBER)):
        return WIDE | 1 << LETTER
    if rest <= {OTHER} and (first == OTHER or (rest and token[0] == " ")):
        return WIDE | NEWLINE | 1 << OTHER | (0 if rest else 1 << LETTER)
    return ANY


class Prover:
    """Proves documents of one definition; remembers pairs that were proven and classes of characters."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._memo: NDArray[np.uint64] = np.zeros(_MEMO, np.uint64)
        self._classes = np.zeros(_CODE_POINTS, np.uint8)
        self._classes[:128] = classes_of("".join(map(chr, range(128))))

    def doubted(self, data: Bytes, offsets: Offsets, ids: NDArray[np.uint32], starts: Offsets) -> NDArray[np.int64]:
        """The documents whose ids, ids[starts[i]:starts[i + 1]], are not proven for data[offsets[i]:offsets[i + 1]]."""
        self._learn(data[offsets[0] : offsets[-1]])
        d = self._definition
        proven = np.zeros(len(offsets) - 1, np.bool_)
        _prove(
            data, offsets, ids, starts, self._classes, self._memo,
            d.text, d.heads, d.follows, d.made, d.keys, d.ranks, proven,
        )  # fmt: skip
        return np.flatnonzero(~proven)

    def _learn(self, data: Bytes) -> None:
        """Asks the reference's own regular expressions for the class of each character that is met first here."""
        fresh = np.zeros(_CODE_POINTS, np.bool_)
        if _unknown(data, self._classes, fresh):
            points = np.flatnonzero(fresh)
            self._classes[points] = classes_of("".join(map(chr, points)))


def classes_of(characters: str) -> NDArray[np.uint8]:
    """LETTER, NUMBER, SPACE or OTHER of each character, by the regular expressions of `tokenizers`."""
    from tokenizers import Regex, pre_tokenizers

    found = np.full(len(characters), OTHER, np.uint8)
    for pattern, kind in ((r"\p{L}", LETTER), (r"\p{N}", NUMBER), (r"\s", SPACE)):
        matches = np.ones(len(characters), np.bool_)
        rest = pre_tokenizers.Split(Regex(pattern), behavior="removed").pre_tokenize_str(characters)
        for _, (start, end) in rest:
            matches[start:end] = False
        found[matches] = kind
    return found


def _splits_by_pattern(pre: dict[str, Any]) -> bool:
    steps = pre.get("pretokenizers", []) if pre.get("type") == "Sequence" else []
    if [s.get("type") for s in steps] != ["Split", "ByteLevel"]:
        return False
    split, level = steps
    isolated = split.get("behavior") == "Isolated" and not split.get("invert")
    plain = not level.get("use_regex") and not level.get("add_prefix_space")
    return bool(isolated and plain and split["pattern"].get("Regex") == PATTERN)


def _byte_alphabet() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary (GPT-2's encoder.py)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


@njit(**CACHED)
def _hash(key):  # type: ignore[no-untyped-def]
    """32 bits of a key, by Fibonacci hashing (Knuth, TAOCP 6.4)."""
    return (key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)


@njit(**CACHED)
def _key(left, right):  # type: ignore[no-untyped-def]
    """A pair as one number, from 1: 0 is an empty slot."""
    return (_U(left) << _U(32) | _U(right)) + _U(1)


@njit(**CACHED)
def _slot(keys, left, right):  # type: ignore[no-untyped-def]
    """Where a pair stands in the table of merges, or would."""
    key = _key(left, right)
    at = _hash(key) & np.uint64(keys.shape[0] - 1)
    while keys[at] != 0 and keys[at] != key:
        at = (at + np.uint64(1)) & np.uint64(keys.shape[0] - 1)
    return at, key


@njit(**CACHED)
def _fill(rows, keys, ranks, results):  # type: ignore[no-untyped-def]
    for rank in range(rows.shape[0]):
        at, key = _slot(keys, rows[rank, 0], rows[rank, 1])
        keys[at], ranks[at], results[at] = key, rank, rows[rank, 2]


@njit(**CACHED)
def _make(text, begins, of_byte, keys, ranks, results, made):  # type: ignore[no-untyped-def]
    """Merges each token's bytes: the merge of lowest rank first, among equals the leftmost.

    What comes of it is the token or not. Merges must come in the order of their ranks, as they do wherever a merge's
    parts were learnt before it: `_pair_stands` goes back through them as through time.
    """
    part = np.empty(_LONGEST, np.int64)
    for t in range(made.shape[0]):
        n = begins[t + 1] - begins[t]
        if n == 0 or n > _LONGEST:
            continue
        for i in range(n):
            part[i] = of_byte[text[begins[t] + i]]
        latest, left, right, ordered = np.int64(-1), np.int64(-1), np.int64(-1), True
        while n > 1:
            best, where, into = np.int64(1 << 62), -1, np.int64(0)
            for i in range(n - 1):
                at, key = _slot(keys, part[i], part[i + 1])
                if keys[at] == key and ranks[at] < best:
                    best, where, into = ranks[at], i, results[at]
            if where < 0:
                break
            ordered = ordered and bool(best >= latest)
            latest, left, right = best, part[where], part[where + 1]
            part[where] = into
            for i in range(where + 1, n - 1):
                part[i] = part[i + 1]
            n -= 1
        if n == 1 and part[0] == t and ordered:
            made[t, 0], made[t, 1], made[t, 2] = latest, left, right


@njit(**CACHED)
def _pair_stands(left, right, made, keys, ranks):  # type: ignore[no-untyped-def]
    """Whether BPE leaves these two beside each other.

    Back through their making: at each moment the two parts that touch must not have a merge of their own that would
    have come first. Among merges of one rank the left comes first, so one across comes before its equal on the right.
    """
    if made[left, 0] == DOUBTED or made[right, 0] == DOUBTED:
        return False
    before = np.int64(1 << 62)
    while True:
        at, key = _slot(keys, left, right)
        if keys[at] == key and ranks[at] < before:
            return False
        if made[left, 0] > made[right, 0]:
            before, left = made[left, 0], made[left, 2]
        elif made[right, 0] >= 0:
            before, right = made[right, 0] + 1, made[right, 1]
        else:
            return True


@njit(**CACHED)
def _eight(data, i):  # type: ignore[no-untyped-def]
    """The eight bytes from i as one little-endian number: one load."""
    return (
        _U(data[i])
        | _U(data[i + _U(1)]) << _U(8)
        | _U(data[i + _U(2)]) << _U(16)
        | _U(data[i + _U(3)]) << _U(24)
        | _U(data[i + _U(4)]) << _U(32)
        | _U(data[i + _U(5)]) << _U(40)
        | _U(data[i + _U(6)]) << _U(48)
        | _U(data[i + _U(7)]) << _U(56)
    )


@njit(**CACHED)
def _unknown(data, classes, fresh):  # type: ignore[no-untyped-def]
    """Marks the characters beyond ASCII whose class is unknown; returns whether there are any."""
    found = False
    i, size = 0, data.shape[0]
    while i < size:
        if i + 8 <= size and _eight(data, _U(i)) & _U(0x8080808080808080) == _U(0):
            i += 8
        elif data[i] < 0x80:
            i += 1
        else:
            c, width = decode(data, i)
            if classes[c] == UNKNOWN:
                fresh[c] = True
                found = True
            i += width
    return found


@njit(**CACHED)
def _class(data, i, classes):  # type: ignore[no-untyped-def]
    if data[i] < 0x80:
        return classes[data[i]], 1
    c, width = decode(data, i)
    return classes[c], width


@njit(**CACHED)
def _contraction(data, i, stop):  # type: ignore[no-untyped-def]
    """The length of 's 't 're 've 'm 'll 'd at i, in any case (and with the long s), or 0."""
    if i + 1 >= stop:
        return 0
    a = data[i + 1] | 0x20
    if a == 0x73 or a == 0x74 or a == 0x6D or a == 0x64:
        return 2
    if i + 2 < stop:
        if data[i + 1] == 0xC5 and data[i + 2] == 0xBF:
            return 3
        b = data[i + 2] | 0x20
        if (a == 0x72 and b == 0x65) or (a == 0x76 and b == 0x65) or (a == 0x6C and b == 0x6C):
            return 3
    return 0


@njit(**CACHED)
def _run(data, i, stop, kind, classes):  # type: ignore[no-untyped-def]
    """The end of the run of characters of a class that begins at i."""
    while i < stop:
        c, width = _class(data, i, classes)
        if c != kind:
            break
        i += width
    return i


@njit(**CACHED)
def next_end(data, start, stop, classes):  # type: ignore[no-untyped-def]
    """The end of the pre-token that begins at `start`: PATTERN, alternative by alternative."""
    first = data[start]
    if first == 0x27:
        n = _contraction(data, start, stop)
        if n:
            return start + n
    kind, width = _class(data, start, classes)
    after = start + width
    if kind == LETTER:
        return _run(data, after, stop, LETTER, classes)
    if kind == NUMBER:
        for _ in range(2):
            if after < stop:
                c, width = _class(data, after, classes)
                if c == NUMBER:
                    after += width
        return after
    next_kind = np.uint8(UNKNOWN)
    if after < stop:
        next_kind, width = _class(data, after, classes)
    if next_kind == LETTER and first != 0x0A and first != 0x0D:
        return _run(data, after + width, stop, LETTER, classes)
    if kind == OTHER or (first == 0x20 and next_kind == OTHER):
        end = _run(data, after, stop, OTHER, classes)
        while end < stop and (data[end] == 0x0A or data[end] == 0x0D):
            end += 1
        return end
    end, newline, last = (
        start,
        np.int64(-1),
        start,
    )  # a run of white space, the end of its last newline, its last character
    while end < stop:
        c, width = _class(data, end, classes)
        if c != SPACE:
            break
        if data[end] == 0x0A or data[end] == 0x0D:
            newline = end + 1
        last = end
        end += width
    if newline >= 0:
        return newline
    return last if end < stop and last > start else end


@njit(**CACHED)
def _stands(token, data, at, text, heads):  # type: ignore[no-untyped-def]
    """Whether the bytes of a token stand at `at`, eight at a time. They must not reach beyond the data."""
    a, b, left = heads[token, 0], _U(at), heads[token, 1]
    while b + _U(8) <= _U(data.shape[0]):
        different = _eight(text, a) ^ _eight(data, b)
        if left <= _U(8):
            return different << (_U(64) - _U(8) * left) == _U(0)
        if different != _U(0):
            return False
        a, b, left = a + _U(8), b + _U(8), left - _U(8)
    for i in range(left):  # noqa: SIM110 - compiled
        if text[a + _U(i)] != data[b + _U(i)]:
            return False
    return True


@njit(**CACHED)
def _prove(  # type: ignore[no-untyped-def]
    data, offsets, ids, starts, classes, memo, text, heads, follows, made, keys, ranks, proven
):
    memo_mask = _U(memo.shape[0] - 1)
    vocab = _U(heads.shape[0])
    for doc in range(offsets.shape[0] - 1):
        at, stop = offsets[doc], offsets[doc + 1]
        k, last = starts[doc], starts[doc + 1]
        good = True
        while good and at < stop:
            if k >= last or _U(ids[k]) >= vocab:
                good = False
                break
            # Most pre-tokens are one token, and what comes next says that they end there.
            token = _U(ids[k])
            after = at + np.int64(heads[token, 1])
            if after <= stop:
                next_kind = follows[data[_U(after)]] if after < stop else _U(NOTHING)
                if (next_kind & heads[token, 2]) == _U(0) and _stands(token, data, at, text, heads):
                    at = after
                    k += 1
                    continue
            end = next_end(data, at, stop, classes)
            before = np.int64(-1)
            while at < end:
                if k >= last or _U(ids[k]) >= vocab:
                    good = False
                    break
                token = _U(ids[k])
                after = at + np.int64(heads[token, 1])
                good = at < after <= end and _stands(token, data, at, text, heads)
                if good and before >= 0:
                    key = _key(before, token)
                    place = _hash(key) & memo_mask
                    if memo[place] != key:
                        good = _pair_stands(before, np.int64(token), made, keys, ranks)
                        if good:
                            memo[place] = key
                elif good and after == end:
                    good = made[token, 0] != DOUBTED
                if not good:
                    break
                before = np.int64(token)
                at = after
                k += 1
        proven[doc] = good and k == last
