"""datatrove on the same files: its CPU seconds for filters, MinHash deduplication and tokenising, as one line of JSON.

Run with the interpreter of an environment that has datatrove (data.py makes one); it imports nothing of ours. One
process walks all tasks after a warm-up on a few documents, so that imports, spaCy's vocabulary and the tokenizer's
loading are not counted, and neither are files of logs or the count of what came out. The invariant: every stage reads
the same untouched input, but for `chain`, where each reads what the one before it left, as a user would.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import gzip
import itertools
import json
import os
import platform
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

END_OF_TEXT = "<|endoftext|>"
LANGUAGE = "en"
WARM_UP_DOCUMENTS = 300


class Peer:
    """datatrove's stages over one folder of *.jsonl, the seconds of each noted."""

    def __init__(self, corpus: Path, work: Path, tokenizer: Path) -> None:
        self.corpus, self.work, self.tokenizer = corpus, work, tokenizer
        self.tasks = len(list(corpus.glob("*.jsonl*")))
        self.seconds: dict[str, float] = {}

    def reader(self) -> Any:
        from datatrove.pipeline.readers import JsonlReader

        return JsonlReader(str(self.corpus), glob_pattern="*.jsonl*")

    def run(self, name: str, pipeline: list[Any], tasks: int) -> None:
        from datatrove.executor import LocalPipelineExecutor

        executor = LocalPipelineExecutor(
            pipeline=pipeline,
            tasks=tasks,
            workers=1,  # in this process, one task after the other
            logging_dir=str(self.work / "logs" / name),
            skip_completed=False,
        )
        start = time.process_time()
        executor.run()
        self.seconds[name] = time.process_time() - start

    def filters(self) -> Path:
        """Gopher repetition and quality, C4 and FineWeb, rejected documents kept, as in its FineWeb example."""
        from datatrove.pipeline import filters
        from datatrove.pipeline.writers import JsonlWriter

        def rejected(name: str) -> Any:
            return JsonlWriter(str(self.work / "rejected" / name), compression=None)

        kept = self.work / "filtered"
        steps = [
            self.reader(),
            filters.GopherRepetitionFilter(language=LANGUAGE, exclusion_writer=rejected("repetition")),
            filters.GopherQualityFilter(language=LANGUAGE, exclusion_writer=rejected("quality")),
            filters.C4QualityFilter(filter_no_terminal_punct=False, language=LANGUAGE, exclusion_writer=rejected("c4")),
            filters.FineWebQualityFilter(language=LANGUAGE, exclusion_writer=rejected("fineweb")),
            JsonlWriter(str(kept), compression=None),
        ]
        self.run("filters", steps, self.tasks)
        return kept

    def minhash(self) -> Path:
        """Its four steps with FineWeb's numbers: word 5-grams, 14 bands of 8, 64-bit hashes."""
        from datatrove.pipeline import dedup
        from datatrove.pipeline.dedup.minhash import MinhashConfig
        from datatrove.pipeline.writers import JsonlWriter
        from datatrove.utils.hashing import HashConfig

        config = MinhashConfig(hash_config=HashConfig(precision=64), num_buckets=14, hashes_per_bucket=8, n_grams=5)
        signatures, buckets, remove, kept = (
            str(self.work / name) for name in ("signatures", "buckets", "remove", "deduplicated")
        )
        signature = dedup.MinhashDedupSignature(output_folder=signatures, config=config, language=LANGUAGE)
        bucket = dedup.MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)
        cluster = dedup.MinhashDedupCluster(input_folder=buckets, output_folder=remove, config=config)
        drop = dedup.MinhashDedupFilter(input_folder=remove)
        self.run("minhash: signatures", [self.reader(), signature], self.tasks)
        self.run("minhash: buckets", [bucket], config.num_buckets)
        self.run("minhash: clusters", [cluster], 1)
        self.run("minhash: filter", [self.reader(), drop, JsonlWriter(kept, compression=None)], self.tasks)
        return Path(kept)

    def tokenize(self) -> Path:
        from datatrove.pipeline.tokens import DocumentTokenizer

        shards = self.work / "tokens"
        step = DocumentTokenizer(
            output_folder=str(shards),
            tokenizer_name_or_path=str(self.tokenizer),
            eos_token=END_OF_TEXT,
            shuffle_documents=False,
            max_tokens_per_file=int(1e9),
        )
        self.run("tokenize", [self.reader(), step], self.tasks)
        return shards

    def total(self, stage: str) -> float:
        return sum(seconds for name, seconds in self.seconds.items() if name.split(":")[0] == stage)


def texts(folder: Path) -> Any:
    for name in sorted(glob.glob(f"{folder}/**/*.jsonl*", recursive=True)):
        with gzip.open(name, "rt", encoding="utf-8") if name.endswith(".gz") else open(name, encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"]


def size_of(folder: Path) -> dict[str, float]:
    sizes = [len(text.encode()) for text in texts(folder)]
    return {"documents": len(sizes), "megabytes": sum(sizes) / 1e6}


def stage_result(peer: Peer, stage: str, read: dict[str, float], out: dict[str, float]) -> dict[str, Any]:
    parts = {name: seconds for name, seconds in peer.seconds.items() if name.split(":")[0] == stage}
    return {"cpu_seconds": peer.total(stage), "parts": parts, **read, "out": out}


def measure(corpus: Path, work: Path, tokenizer: Path, stages: list[str], chain: bool) -> dict[str, Any]:
    """Every stage on the corpus; with `chain`, MinHash again on what the filters left, and tokenising on the rest."""
    found: dict[str, Any] = {"stages": {}}
    read = size_of(corpus)
    left = {}
    for stage in stages:
        peer = Peer(corpus, work / stage, tokenizer)
        left[stage] = getattr(peer, stage)()
        out = {} if stage == "tokenize" else size_of(left[stage])
        found["stages"][stage] = stage_result(peer, stage, read, out)
        print(f"{stage}: {found['stages'][stage]['cpu_seconds']:.1f} s", file=sys.stderr, flush=True)
    if chain:
        later = Peer(left["filters"], work / "chain-minhash", tokenizer)
        kept = later.minhash()
        last = Peer(kept, work / "chain-tokenize", tokenizer)
        last.tokenize()
        found["chain"] = {
            "cpu_seconds": found["stages"]["filters"]["cpu_seconds"] + later.total("minhash") + last.total("tokenize"),
            "parts": {
                "filters": found["stages"]["filters"]["cpu_seconds"],
                "minhash": later.total("minhash"),
                "tokenize": last.total("tokenize"),
            },
            **read,
            "out": size_of(kept),
        }
    return found


def warm_up(corpus: Path, work: Path, tokenizer: Path, stages: list[str]) -> None:
    small = work / "small"
    small.mkdir(parents=True)
    with open(sorted(corpus.glob("*.jsonl"))[0], encoding="utf-8") as lines:
        (small / "part.jsonl").write_text("".join(itertools.islice(lines, WARM_UP_DOCUMENTS)), encoding="utf-8")
    for stage in stages:
        getattr(Peer(small, work / "warm" / stage, tokenizer), stage)()


def main() -> int:
    parser = argparse.ArgumentParser(description="datatrove's CPU seconds for the stages of data.py")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="emptied first; token shards are left there")
    parser.add_argument("--stage", action="append", choices=("filters", "minhash", "tokenize"))
    parser.add_argument("--chain", action="store_true", help="also as one pipeline, each stage after the other")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    stages = options.stage or ["filters", "minhash", "tokenize"]
    shutil.rmtree(options.work, ignore_errors=True)
    with contextlib.redirect_stdout(sys.stderr):
        warm_up(options.corpus, options.work, options.tokenizer, stages)
        found = measure(options.corpus, options.work, options.tokenizer, stages, options.chain and "filters" in stages)
    found["versions"] = {name: version(name) for name in ("datatrove", "spacy", "tokenizers", "xxhash")}
    found["versions"]["python"] = platform.python_version()
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
