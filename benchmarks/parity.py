"""How many keep-or-drop decisions agree with datatrove's filters, and what the others come from.

`python benchmarks/parity.py CORPUS --peer PYTHON` asks datatrove (peer_verdicts.py, in its own environment) for its
words and verdicts on a sample, counts the same documents here with four kinds of words, decides by the shipped rule
set `datatrove`, and writes benchmarks/results/parity.json. `--golden FILE` does so for texts made here and keeps
datatrove's answers for the test suite. The invariant: both sides see the same texts; nothing is left out of the count.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raytrain.corpus.kernels.buffers import text_buffers
from raytrain.corpus.kernels.columns import COLUMNS, SPLITTERS
from raytrain.corpus.kernels.text_stats import text_stats, text_stats_of_words
from raytrain.corpus.rules import read_set

RESULTS = Path(__file__).parent / "results/parity.json"
# datatrove's filter by the first part of our rules' names.
FILTERS = {"gopher": "gopher", "repetition": "gopher-repetition", "c4": "c4", "fineweb": "fineweb"}
GIVEN = "datatrove's own (spaCy)"
WHY = {
    "gopher_below_alpha_threshold": "tokens cut otherwise near the threshold; with words between blanks the class is "
    "large, for datatrove counts punctuation as words",
    "gopher_alpha_words": "the same from the other side",
    "repetition_dup_lines": "datatrove compares lines with the blanks around them, and counts blank ones",
    "c4_sentences": "spaCy's sentences against a rule of marks: abbreviations, smileys, code",
    "too_few_sentences": "the same from the other side; spaCy parts no sentence after a full-width mark within a word",
    "char_dup_ratio": "lines that differ by the blanks around them, at a threshold of 1 %",
    "fineweb_dup_line_chars": "the same from the other side",
}


def verdicts(peer: Path, corpus: Path, documents: int) -> list[dict[str, Any]]:
    """datatrove's words and verdicts on a sample of a folder of jsonl."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "verdicts.jsonl"
        script = Path(__file__).with_name("peer_verdicts.py")
        subprocess.run([peer, script, corpus, out, "--documents", str(documents)], check=True)
        return [json.loads(line) for line in out.open(encoding="utf-8")]


def statistics(rows: Sequence[Mapping[str, Any]], words: str) -> dict[str, NDArray[np.float64]]:
    """The text columns of the rows' texts, counted by datatrove's own words or by one of our splitters."""
    data, offsets = text_buffers(pa.array([row["text"] for row in rows], pa.large_string()))
    if words != GIVEN:
        stats = text_stats(data, offsets, words)
    else:
        starts, ends, bounds = [], [], [0]
        for row in rows:
            at = np.cumsum([0] + [len(c.encode()) for c in row["text"]])
            spans = at[np.array(row["words"], np.int64).reshape(-1, 2)]
            starts.append(spans[:, 0].astype(np.int32))
            ends.append(spans[:, 1].astype(np.int32))
            bounds.append(bounds[-1] + len(spans))
        stats = text_stats_of_words(data, offsets, np.concatenate(starts), np.concatenate(ends), np.array(bounds))
    return {name: stats[:, i] for i, name in enumerate(COLUMNS)}


def compare(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, NDArray[Any]], part: str) -> dict[str, Any]:
    """One filter against our rules whose names begin with `part`: agreement, and the classes of difference."""
    rules = [rule for rule in read_set("datatrove") if rule.name.startswith(f"{part}_")]
    failed = {rule.name: ~rule.keeps(columns[rule.column]) for rule in rules}
    ours = ~np.any(list(failed.values()), axis=0)
    reasons = [row["verdicts"][FILTERS[part]] for row in rows]
    theirs = np.array([reason is None for reason in reasons])
    classes: Counter[str] = Counter()
    for i in np.flatnonzero(ours != theirs):
        classes[reasons[i] if ours[i] else "+".join(name for name in failed if failed[name][i])] += 1
    return {
        "agree": round(float((ours == theirs).mean()), 5),
        "datatrove_keeps": int(theirs.sum()),
        "we_keep": int(ours.sum()),
        "only_datatrove_drops": int((ours & ~theirs).sum()),
        "only_we_drop": int((theirs & ~ours).sum()),
        "classes": {name: {"documents": n, "why": _why(name)} for name, n in classes.most_common()},
    }


def _why(name: str) -> str:
    held = (WHY[part] for part in name.split("+") if part in WHY)
    return next(held, "words cut otherwise, so that n-grams, their number and their share differ")


def golden_texts() -> Iterable[str]:
    """Texts of our own that every rule has something to say about."""
    nouns = "river house letter winter captain garden engine morning village answer".split()
    verbs = "carried found opened followed remembered crossed painted watched".split()
    chance = random.Random(11)

    def sentence() -> str:
        some = [chance.choice(nouns), chance.choice(verbs), chance.choice(nouns), chance.choice(nouns)]
        return f"The {some[0]} that we {some[1]} was near the {some[2]}, and it didn't have a {some[3]} of its own. "

    def prose(sentences: int) -> str:
        lines = ["".join(sentence() for _ in range(chance.randint(1, 3))).strip() for _ in range(sentences)]
        return "\n".join(lines)

    for spoil in (
        lambda text: text,
        lambda text: text[:150],
        lambda text: text + "\n" + "\n".join(text.split("\n")[:3]) * 2,
        lambda text: "\n\n".join([text[:200]] * 3) + "\n\n" + text,
        lambda text: "\n".join(f"- {line}" for line in text.split("\n")),
        lambda text: "\n".join(f"{line[:60]}..." for line in text.split("\n")),
        lambda text: text.replace(" ", " # ", 40),
        lambda text: text.replace(". ", " ... "),
        lambda text: text + "\nint main(void) { return 0; }",
        lambda text: text + "\nLorem ipsum dolor sit amet.",
        lambda text: "\n".join(text.split(" ")),
        lambda text: text.replace(".", "").replace("the", "that")[:600],
        lambda text: " ".join(f"{word}({i})" for i, word in enumerate(text.split(" "))),
        lambda text: "see https://example.org/a_b?c=d or mail a.b@example.org, e.g. at 3.15 p.m. " * 8 + text,
        lambda text: text + "\nPlease read our cookie policy and the terms of use.\nEnable JavaScript to go on.",
    ):
        for size in (4, 9):
            yield spoil(prose(size))


def measure(peer: Path, corpus: Path, documents: int) -> dict[str, Any]:
    rows = verdicts(peer, corpus, documents)
    words = (GIVEN, "datatrove", *(name for name in SPLITTERS if name != "datatrove"))
    held = {name: statistics(rows, name) for name in words}
    return {
        "documents": len(rows),
        "corpus": corpus.name,
        "peer": _version(peer),
        "rule_set": "datatrove",
        "agreement": {name: {part: compare(rows, held[name], part) for part in FILTERS} for name in words},
    }


def _version(peer: Path) -> str:
    script = 'from importlib.metadata import version as v; print(f\'datatrove {v("datatrove")}, spacy {v("spacy")}\')'
    return subprocess.run([peer, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def write_golden(peer: Path, target: Path) -> None:
    """datatrove's answers on texts of our own, a line each, for tests that have no datatrove."""
    with tempfile.TemporaryDirectory() as folder:
        texts = "".join(json.dumps({"text": text}) + "\n" for text in golden_texts())
        (Path(folder) / "golden.jsonl").write_text(texts)
        rows = verdicts(peer, Path(folder), 1000)
    target.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows))


def table(found: Mapping[str, Any]) -> str:
    lines = [f"{'words':<26}" + "".join(f"{part:>12}" for part in FILTERS)]
    for name, parts in found["agreement"].items():
        lines.append(f"{name:<26}" + "".join(f"{parts[part]['agree']:>12.2%}" for part in FILTERS))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, nargs="?", help="a folder of jsonl")
    parser.add_argument("--peer", type=Path, required=True, help="the Python that has datatrove and spacy")
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--golden", type=Path, help="write datatrove's answers on texts of our own there")
    given = parser.parse_args()
    if given.golden:
        write_golden(given.peer, given.golden)
    if given.corpus:
        found = measure(given.peer, given.corpus, given.documents)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        print(table(found))


if __name__ == "__main__":
    main()
