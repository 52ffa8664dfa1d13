"""The data half against datatrove on the same work, in one run: CPU seconds a stage, and both whole from cold.

`python benchmarks/data.py --ours [--stage filters|minhash|tokenize]` measures ours alone. Figures are megabytes of the
input's UTF-8 text per CPU second, so that a loaded machine and the number of workers hardly move them. Ours is the
shard work from read to commit on a warm engine (shard_work.py), the driver's own seconds beside it. The invariant:
both systems read the same files, and whatever a figure leaves out stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shard_work import Bench, Cost, recipe_of

from raytrain.store import Artifact

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build/bench"
STAGES = ("filters", "minhash", "tokenize")
VOCAB_SIZE = 32768
TOKENIZER_TRAINING_BYTES = 25_000_000
WARM_UP_DOCUMENTS = 300
VERIFICATION = ("dedup: shingles", "dedup: comparison")
# What is counted to each stage; the steps between that a stage needs and the peer has not are carried out uncounted.
COUNTED = {
    "filters": ("ingest", "annotate-text", "select"),
    "minhash": ("ingest", "annotate-minhash", "dedup", "select"),
    "tokenize": ("tokenize",),
}
RULES: dict[str, tuple[str, ...]] = {"filters": ("gopher", "c4", "fineweb"), "minhash": (), "tokenize": ()}


@dataclass
class Ours:
    """What a stage cost us: seconds of CPU, and megabytes of text that went in."""

    megabytes: float
    work: float
    driver: float
    parts: dict[str, float]
    documents_out: int
    before_verification: float | None = None
    raw_encoder: float | None = None

    @property
    def speed(self) -> float:
        return self.megabytes / self.work


def measure(bench: Bench, corpus: Path, stage: str, tokenizer: Path | None) -> Ours:
    """One stage over a corpus of jsonl, each of its steps carried out once."""
    sections: dict[str, Any] = {"corpus": {"rules": RULES[stage]}}
    if tokenizer is not None:
        sections["tokenizer"] = {"file": str(tokenizer)}
    recipe = recipe_of(Path(bench.store.uri), corpus, **sections)
    last = COUNTED[stage][-1]
    made = bench.walk(recipe.model_copy(update={"name": f"bench-{stage}"}), last)
    costs = {name: bench.cost(made[name]) for name in COUNTED[stage]}
    found = Ours(
        megabytes=_megabytes(made, stage),
        work=sum(cost.work for cost in costs.values()),
        driver=sum(cost.driver for cost in costs.values()),
        parts=_parts(costs),
        documents_out=int(made[last].manifest["rows"]),
    )
    if stage == "minhash":
        found.before_verification = found.work - sum(costs["dedup"].labels.get(label, 0.0) for label in VERIFICATION)
    if stage == "tokenize" and tokenizer is not None:
        found.raw_encoder = found.megabytes / raw_encoder_seconds(made["select"], tokenizer)
    return found


def _megabytes(made: dict[str, Artifact], stage: str) -> float:
    if stage == "tokenize":
        return float(made["select"].facts["funnel"][-1]["bytes"]) / 1e6
    return float(made["ingest"].facts["read_bytes"]) / 1e6


def _parts(costs: dict[str, Cost]) -> dict[str, float]:
    """Seconds by step, or by the labels of a step that has several."""
    parts: dict[str, float] = {}
    for name, cost in costs.items():
        parts |= dict(cost.labels) if len(cost.labels) > 1 else {name: cost.work}
    return parts


def raw_encoder_seconds(corpus: Artifact, tokenizer: Path) -> float:
    """What the fast encoder alone takes for the texts, from Python strings to ids, on one thread."""
    import gigatoken

    from raytrain.store.artifact import read_table

    encode = gigatoken.Tokenizer.from_json(tokenizer.read_text()).encode_batch
    texts = [
        text
        for shard in range(len(corpus.shards))
        for text in read_table(corpus, shard, "kept.parquet", ["text"])["text"].to_pylist()
    ]
    encode(texts[:100], parallel=False)
    start = time.process_time()
    encode(texts, parallel=False)
    return time.process_time() - start


def trained_tokenizer(corpus: Path) -> Path:
    """A tokenizer.json for both systems, trained once on the first megabytes of the corpus."""
    from raytrain.tokens.tokenizer import train_bpe

    target = WORK / "tokenizer.json"
    if not target.exists():
        texts, seen = [], 0
        for line in _lines(sorted(corpus.glob("*.jsonl"))):
            texts.append(json.loads(line)["text"])
            seen += len(texts[-1])
            if seen >= TOKENIZER_TRAINING_BYTES:
                break
        definition = train_bpe(texts, VOCAB_SIZE, 2, "<|endoftext|>")
        unfinished = target.with_suffix(f".{os.getpid()}")
        unfinished.write_text(definition)
        unfinished.replace(target)
    return target


def _lines(files: Sequence[Path]) -> Any:
    for path in files:
        with path.open(encoding="utf-8") as handle:
            yield from handle


def warm_up(corpus: Path, folder: Path, stages: Sequence[str], tokenizer: Path | None) -> None:
    """The same work on a few documents: imports, compiled kernels, models."""
    small = folder / "warm-up"
    small.mkdir()
    lines = _lines(sorted(corpus.glob("*.jsonl"))[:1])
    with (small / "part.jsonl").open("w", encoding="utf-8") as handle:
        for _, line in zip(range(WARM_UP_DOCUMENTS), lines, strict=False):
            handle.write(line)
    bench = Bench(folder / "warm-up-store")
    for stage in stages:
        measure(bench, small, stage, tokenizer)


def measure_ours(corpus: Path, stages: Sequence[str], repeat: int) -> dict[str, Ours]:
    """Each stage's best of several."""
    tokenizer = trained_tokenizer(corpus) if "tokenize" in stages else None
    best: dict[str, Ours] = {}
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        warm_up(corpus, Path(folder), stages, tokenizer)
        for attempt in range(repeat):
            store = Path(folder) / f"store-{attempt}"
            bench = Bench(store)
            for stage in stages:
                found = measure(bench, corpus, stage, tokenizer)
                if stage not in best or found.work < best[stage].work:
                    best[stage] = found
            shutil.rmtree(store)
    return best


def print_ours(found: dict[str, Ours]) -> None:
    for stage, ours in found.items():
        print(f"{stage}: {ours.speed:.1f} MB per CPU second ({ours.megabytes:.1f} MB in {ours.work:.2f} s of work)")
        for name, seconds in ours.parts.items():
            rate = ours.megabytes / seconds if seconds else float("inf")
            print(f"    {name:<24} {seconds:8.2f} s   {rate:8.1f} MB/s")
        print(f"    {'driver, not counted':<24} {ours.driver:8.2f} s      {ours.documents_out} documents out")
        if ours.before_verification is not None:
            print(f"    before verification      {ours.megabytes / ours.before_verification:.1f} MB per CPU second")
        if ours.raw_encoder is not None:
            share = ours.speed / ours.raw_encoder
            print(f"    the raw encoder alone    {ours.raw_encoder:.1f} MB per CPU second; ours is {share:.0%} of it")


def linked(corpus: Path, files: int) -> Path:
    """A folder with the first so many of the corpus's files."""
    folder = WORK / f"first-{files}-of-{corpus.name}"
    folder.mkdir(exist_ok=True)
    for path in sorted(corpus.glob("*.jsonl"))[:files]:
        if not (folder / path.name).exists():
            shutil.copy(path, folder / path.name)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, default=WORK / "corpus", help="a folder of *.jsonl with a field `text`")
    parser.add_argument("--files", type=int, help="only so many of its files")
    parser.add_argument("--stage", action="append", choices=STAGES, help="repeatable; all when not given")
    parser.add_argument("--repeat", type=int, default=1, help="the best of so many counts")
    parser.add_argument("--ours", action="store_true", help="ours alone, without the peer")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    corpus = options.corpus.resolve()
    if not any(corpus.glob("*.jsonl")):
        parser.error(f"{corpus} holds no *.jsonl")
    if options.files:
        corpus = linked(corpus, options.files)
    ours = measure_ours(corpus, options.stage or STAGES, options.repeat)
    if options.json:
        print(json.dumps({stage: asdict(held) for stage, held in ours.items()}))
    else:
        print_ours(ours)
    return 0


if __name__ == "__main__":
    sys.exit(main())
