"""Sampled runs of words cover what they say, and nothing of another text."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.spans import samples


def covered(texts: list[str], ngram: int, window: int = 4) -> list[tuple[int, str]]:
    """(text, what the run covers) of each sampled run."""
    _, text, start, end = samples(*text_buffers(pa.array(texts, pa.large_string())), ngram, window)
    held = zip(text.tolist(), start.tolist(), end.tolist(), strict=True)
    return [(i, texts[i].encode()[a:b].decode()) for i, a, b in held]


def test_a_text_shorter_than_a_run_has_none_whatever_stands_before_it() -> None:
    long = " ".join(f"w{n}" for n in range(60))
    for short in ("", "only five words are here", " ".join("abcdefghi")):
        assert covered([short], 10) == []
        assert covered([long, short, long, short], 10) == covered([long, "", long, ""], 10)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["ab", "c", "déf", "x"]), max_size=30).map(" ".join), max_size=8))
def test_every_run_is_of_so_many_words_of_its_own_text(texts: list[str]) -> None:
    runs = covered(texts, 5)
    assert all(len(run.split(" ")) == 5 and f" {run} " in f" {texts[i]} " for i, run in runs)
    windows = {i for i, text in enumerate(texts) if len(text.split()) >= 5}
    assert {i for i, _ in runs} == windows
