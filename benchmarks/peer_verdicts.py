"""datatrove's words and the verdict of each of its filters on a sample of documents, as parity.py compares them.

Runs in the peer's own environment (no raytrain in it): `python peer_verdicts.py CORPUS OUT --documents 2000`. Writes
a line of JSON a document: its text, the character offsets of datatrove's words, and per filter None or the reason for
which it drops the document, each filter asked for itself on the whole text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.utils.text import split_into_words

# As in datatrove's examples/fineweb.py: C4 without the rule on the ends of lines.
FILTERS = {
    "gopher": GopherQualityFilter(),
    "gopher-repetition": GopherRepetitionFilter(),
    "c4": C4QualityFilter(filter_no_terminal_punct=False),
    "fineweb": FineWebQualityFilter(),
}


def sample(corpus: Path, documents: int, longest: int) -> Iterator[str]:
    """The texts whose hashes are lowest, of those that are not too long for a quick answer."""
    held: list[tuple[str, str]] = []
    for path in sorted(corpus.glob("*.jsonl")):
        for line in path.open(encoding="utf-8"):
            text = json.loads(line)["text"]
            if text.strip() and len(text) <= longest:
                held.append((hashlib.sha256(text.encode()).hexdigest(), text))
    for _, text in sorted(set(held))[:documents]:
        yield text


def spans(text: str, words: list[str]) -> list[int]:
    """start, end, start, end ... of the words in the text, in characters."""
    found: list[int] = []
    at = 0
    for word in words:
        at = text.index(word, at)
        found += (at, at + len(word))
        at += len(word)
    return found


def verdicts(text: str) -> dict[str, str | None]:
    answers: dict[str, str | None] = {}
    for name, asked in FILTERS.items():
        said: Any = asked.filter(Document(text=text, id="0"))
        answers[name] = said[1] if isinstance(said, tuple) else None if said else "dropped"
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--longest", type=int, default=60_000, help="characters")
    given = parser.parse_args()
    with given.out.open("w", encoding="utf-8") as out:
        for text in sample(given.corpus, given.documents, given.longest):
            row = {"text": text, "words": spans(text, split_into_words(text)), "verdicts": verdicts(text)}
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
