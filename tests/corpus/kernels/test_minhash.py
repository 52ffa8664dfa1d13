"""Shingles, signatures and similarity against their definitions."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.minhash import permutations, shared, shingles, signatures
from tests.corpus import prose
from tests.corpus.kernels import reference

_PIECES = "a A b. B don't 'tis -- café CAFÉ 好 好a a好 ก 1 2 , … x_y «ça» Ünï é नमस्ते। \u3000 ½"
PIECES = _PIECES.split(" ")


def sets_of(texts: list[str], n: int, characters: bool = False) -> list[np.ndarray]:
    hashes, bounds = shingles(*text_buffers(pa.array(texts, pa.large_string())), n, characters)
    return [hashes[bounds[i] : bounds[i + 1]] for i in range(len(texts))]


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    both = shared(a, b)
    return both / (len(a) + len(b) - both) if both else 0.0


def character_shingles(text: str, n: int) -> set[str]:
    flat = " ".join("".join(c.lower() if c.isascii() else c for c in text).split())
    width = min(n, len(flat))
    return {flat[i : i + width] for i in range(len(flat) - width + 1)} if flat else set()


def text_of_pieces() -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(text_of_pieces(), text_of_pieces(), st.integers(1, 6))
def test_similarity_is_that_of_the_sets_of_shingles(a: str, b: str, n: int) -> None:
    left, right = sets_of([a, b], n)
    true_a, true_b = reference.shingles(a, n), reference.shingles(b, n)
    assert (len(left), len(right)) == (len(true_a), len(true_b))
    assert jaccard(left, right) == reference.jaccard(true_a, true_b)


@settings(deadline=None, max_examples=200)
@given(text_of_pieces(), text_of_pieces(), st.integers(1, 30))
def test_character_shingles_are_those_of_the_text_with_case_and_blanks_made_even(a: str, b: str, n: int) -> None:
    left, right = sets_of([f" {a}\n", b], n, True)
    true_a, true_b = character_shingles(a, n), character_shingles(b, n)
    assert (len(left), len(right), shared(left, right)) == (len(true_a), len(true_b), len(true_a & true_b))


@settings(deadline=None, max_examples=50)
@given(text_of_pieces(), st.integers(1, 6))
def test_a_signature_depends_on_the_set_of_shingles_alone(text: str, n: int) -> None:
    shouted = text.replace(" ", "  ").replace("a", "A") + " ,"
    values, counts = signatures(*text_buffers(pa.array([text, shouted, text], pa.large_string())), n, 16)
    assert np.array_equal(values[0], values[2])
    if reference.shingles(text, n) == reference.shingles(shouted, n):
        assert np.array_equal(values[0], values[1])
    assert (counts[0] > 0) == bool(reference.shingles(text, n))


def test_signatures_estimate_jaccard_as_well_as_theory_allows() -> None:
    texts = [prose.document(seed, 40) for seed in range(60)]
    others = [prose.edited(text, seed, 0.01 + 0.002 * seed) for seed, text in enumerate(texts)]
    values, _ = signatures(*text_buffers(pa.array(texts + others, pa.large_string())), 5, 256)
    estimate = (values[:60] == values[60:]).mean(axis=1)
    held = sets_of(texts + others, 5)
    true = np.array([jaccard(held[i], held[60 + i]) for i in range(60)])
    assert np.ptp(true) > 0.3  # from near copies to strangers
    error = estimate - true
    theory = np.sqrt(np.mean(true * (1 - true) / 256))  # a mean of 256 coin throws each
    assert abs(error.mean()) < 3 * theory / np.sqrt(60)
    assert np.sqrt((error**2).mean()) < 1.4 * theory


def test_permutations_never_change() -> None:
    """Stored signatures are compared with new ones: other constants would be another version of the stage."""
    factors, addends = permutations(112)
    assert factors[:2].tolist() == [2619504581, 838339421]
    assert int(addends.sum(dtype=np.uint64)) == 262439219729
    assert (factors % 2 == 1).all()


def test_texts_without_a_word_have_no_shingle() -> None:
    values, counts = signatures(*text_buffers(pa.array(["!!! ...", ""], pa.large_string())), 5, 8)
    assert counts.tolist() == [0, 0]
    assert (values == 0xFFFFFFFF).all()
    assert jaccard(*sets_of(["!!!", "???"], 5)) == 0.0


@pytest.mark.parametrize("short", ["one", "one two three four"])
def test_a_short_text_is_one_shingle(short: str) -> None:
    assert len(sets_of([short], 5)[0]) == 1
