"""The data half against datatrove on the same work, in one run: CPU seconds a stage, and both whole from cold.

`python benchmarks/data.py --ours [--stage filters|minhash|tokenize]` measures ours alone. Figures are megabytes of the
input's UTF-8 text per CPU second, so that a loaded machine and the number of workers hardly move them. Ours is the
shard work from read to commit on a warm engine (shard_work.py), the driver's own seconds beside it. The invariant:
both systems read the same records, or one a sample of the other's (costs are linear), and
whatever a figure leaves out stands beside it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import corpus_debian
from shard_work import Bench, Cost, recipe_of

from raytrain.corpus.section import DEFAULT_RULES
from raytrain.store import Artifact

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build/bench"
STAGES = ("filters", "minhash", "tokenize")
VOCAB_SIZE = 32768
TOKENIZER_TRAINING_BYTES = 25_000_000
WARM_UP_DOCUMENTS = 300
WHOLE_MEGABYTES = 1800
PEER = "datatrove[processing,io,cli]==0.10.1 tokenizers==0.23.3 spacy==3.8.18"
LABELS = {
    "filters": "filters, jsonl to kept Parquet",
    "minhash": "MinHash, jsonl to deduplicated",
    "tokenize": "corpus to token shards",
}
VERIFICATION = ("dedup: shingles", "dedup: comparison", "dedup: gallery")
# What is counted to each stage, by the beginnings of steps' names; what a stage needs besides, and the peer has not, is
# carried out uncounted: languages (the peer is told one), and duplicates where only rules are compared.
COUNTED = {
    "filters": ("ingest", "annotate-text", "select"),
    "minhash": ("ingest", "annotate-minhash", "dedup", "select"),
    "tokenize": ("tokenize",),
}
RULES = {"filters": DEFAULT_RULES, "minhash": (), "tokenize": ()}


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


def measure(bench: Bench, corpus: Path, stage: str, tokenizer: Path | None) -> tuple[Ours, dict[str, Artifact]]:
    """One stage over a corpus of jsonl, each of its steps carried out once."""
    sections: dict[str, Any] = {"corpus": {"rules": RULES[stage]}}
    if tokenizer is not None:
        sections["tokenizer"] = {"file": str(tokenizer)}
    recipe = recipe_of(Path(bench.store.uri), corpus, **sections)
    last = COUNTED[stage][-1]
    made = bench.walk(recipe.model_copy(update={"name": f"bench-{stage}"}), last)
    costs = {name: bench.cost(found) for name, found in made.items() if _counts(name, stage)}
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
    return found, made


def _counts(step: str, stage: str) -> bool:
    return step == "tokenize" if stage == "tokenize" else step.startswith(COUNTED[stage])


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

    target = WORK / f"tokenizer-{VOCAB_SIZE}.json"
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


def measure_ours(corpus: Path, stages: Sequence[str], repeat: int) -> tuple[dict[str, Ours], dict[str, int]]:
    """Each stage's best of several, and the documents' ids where tokens were made."""
    tokenizer = trained_tokenizer(corpus) if "tokenize" in stages else None
    best: dict[str, Ours] = {}
    ids: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        warm_up(corpus, Path(folder), stages, tokenizer)
        for attempt in range(repeat):
            store = Path(folder) / f"store-{attempt}"
            bench = Bench(store)
            for stage in stages:
                found, made = measure(bench, corpus, stage, tokenizer)
                if stage not in best or found.work < best[stage].work:
                    best[stage] = found
                if stage == "tokenize" and not ids:
                    ids = our_ids(made["tokenize"])
            shutil.rmtree(store)
    return best, ids


def our_versions() -> dict[str, str]:
    names = ("raytrain", "pyarrow", "numba", "numpy", "gigatoken", "tokenizers", "ray")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


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


def sample(corpus: Path, megabytes: float) -> Path:
    """Every n-th record of a corpus, about so many megabytes of text; the corpus itself where it is not larger."""
    files = sorted(corpus.glob("*.jsonl"))
    every = round(sum(path.stat().st_size for path in files) / 1e6 / megabytes)
    if every <= 1:
        return corpus
    folder = WORK / f"sample-{corpus.name}-{every}"
    if not folder.exists():
        unfinished = WORK / f"sample-{os.getpid()}"
        unfinished.mkdir()
        with (unfinished / "part-0000.jsonl").open("w", encoding="utf-8") as handle:
            handle.writelines(itertools.islice(_lines(files), 0, None, every))
        unfinished.rename(folder)
    return folder


def peer_python() -> Path:
    """An interpreter that has datatrove, in an environment made for it the first time."""
    folder = ROOT / "build/peers/datatrove"
    done = folder / "done"
    if not done.exists():
        print(f"installing {PEER} into {folder} (minutes the first time)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(folder / "bin/pip"), "install", "-qq", *PEER.split()], check=True)
        done.touch()
    return folder / "bin/python"


def measure_peer(python: Path, corpus: Path, stages: Sequence[str]) -> dict[str, Any]:
    """What peer_datatrove.py says; its token shards stay in WORK / peer."""
    command = [str(python), str(ROOT / "benchmarks/peer_datatrove.py"), str(corpus), "--chain"]
    command += ["--tokenizer", str(trained_tokenizer(corpus)), "--work", str(WORK / "peer")]
    for stage in stages:
        command += ["--stage", stage]
    with (WORK / "peer.log").open("wb") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode:
        raise RuntimeError(f"the peer ended with {done.returncode}; see {WORK / 'peer.log'}")
    return dict(json.loads(done.stdout))


def peer_ids(corpus: Path) -> dict[str, int]:
    """The hash of each document's ids in the peer's shards, end of text included, by the hash of its text."""
    import numpy as np
    from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

    found = {}
    for rank, path in enumerate(sorted(corpus.glob("*.jsonl"))):
        shard = WORK / f"peer/tokenize/tokens/{rank:05d}_unshuffled.ds"
        ids = np.fromfile(shard, "<u2").astype("<u4")
        ends = np.fromfile(f"{shard}.index", "<u8").astype(np.int64)
        for line, low, high in zip(_lines([path]), [0, *ends[:-1]], ends, strict=True):
            text = json.loads(line)["text"]
            found[xxh3_128_hexdigest(text.encode())] = xxh3_64_intdigest(ids[low:high].tobytes())
    return found


def our_ids(tokens: Artifact) -> dict[str, int]:
    """The same of our shards, by doc_id, which is the same hash where normalising changed nothing."""
    import numpy as np
    from xxhash import xxh3_64_intdigest

    from raytrain.store.artifact import read_table

    found = {}
    for shard in range(len(tokens.shards)):
        where = read_table(tokens, shard, "documents.parquet", ["doc_id", "group", "position", "tokens"]).to_pydict()
        arrays = {
            group: np.frombuffer(tokens.get(shard, f"train-{group}.bin"), tokens.facts["dtype"])
            for group in set(where["group"])
        }
        for name, group, low, count in zip(*where.values(), strict=True):
            found[name] = xxh3_64_intdigest(arrays[group][low : low + count].astype("<u4").tobytes())
    return found


def compared(ours: dict[str, Ours], peer: dict[str, Any]) -> dict[str, Any]:
    """Per stage both speeds in megabytes per CPU second, and how many times ours is the peer's."""
    stages: dict[str, Any] = {}
    for stage, mine in ours.items():
        theirs = peer["stages"][stage]
        speed = theirs["megabytes"] / theirs["cpu_seconds"]
        stages[stage] = {
            "ours": {**asdict(mine), "megabytes_per_cpu_second": mine.speed},
            "peer": {**theirs, "megabytes_per_cpu_second": speed},
            "ratio": mine.speed / speed,
            "ratio_with_driver": mine.megabytes / (mine.work + mine.driver) / speed,
        }
        if mine.before_verification is not None:
            stages[stage]["ratio_before_verification"] = mine.megabytes / mine.before_verification / speed
        if mine.raw_encoder is not None:
            stages[stage]["share_of_raw_encoder"] = mine.speed / mine.raw_encoder
    return stages


def whole(corpus: Path, peer: dict[str, Any]) -> dict[str, Any]:
    """Both systems over replicated text, ingest to tokens; the peer by its cost per megabyte on the sample, warm."""
    from whole import EDITED_WORDS, replicated, run_whole

    texts = WORK / f"whole-{corpus.name}"
    megabytes = replicated(corpus, texts, WHOLE_MEGABYTES)
    tokenizer = trained_tokenizer(corpus)
    runs = [run_whole(texts, WORK, tokenizer, "ray")]
    kernels = (WORK / "whole-ray/kernels").rename(WORK / f"kernels-{os.getpid()}")
    runs += [run_whole(texts, WORK, tokenizer, engine, kernels) for engine in ("ray", "local")]
    shutil.rmtree(kernels)
    chain = peer["chain"]
    per_megabyte = chain["cpu_seconds"] / chain["megabytes"]
    return {
        "corpus": f"copies of the corpus, {EDITED_WORDS:.0%} of the words of each but the first edited",
        "megabytes": megabytes,
        "peer_cpu_seconds": per_megabyte * megabytes,
        "peer_is": "its cost per megabyte on the sample, warm, as one pipeline; its kept share is its own filters'",
        "runs": [{**run, "ratio": per_megabyte * megabytes / run["cpu_seconds"]} for run in runs],
    }


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load": os.getloadavg()[0],
        "system": platform.platform(),
    }


def print_table(result: dict[str, Any]) -> None:
    """Megabytes of text per CPU second by stage, and the whole."""
    print(f"\n{'stage':<34}{'raytrain':>10}{'datatrove':>11}{'ratio':>8}")
    for stage, held in result["stages"].items():
        mine, theirs = (held[side]["megabytes_per_cpu_second"] for side in ("ours", "peer"))
        print(f"{LABELS[stage]:<34}{mine:>10.1f}{theirs:>11.3f}{held['ratio']:>7.0f}x")
        if "ratio_before_verification" in held:
            before = held["ratio_before_verification"]
            print(f"{'  before verification':<34}{before * theirs:>10.1f}{theirs:>11.3f}{before:>7.0f}x")
    if "tokens" in result:
        share = result["stages"]["tokenize"]["share_of_raw_encoder"]
        print(f"ids: {result['tokens']['identical']} of {result['tokens']['compared']} documents identical; ", end="")
        print(f"{share:.0%} of the raw encoder's speed")
    for run in result.get("whole", {}).get("runs", []):
        theirs = result["whole"]["peer_cpu_seconds"]
        print(
            f"cold and whole, {run['engine']}, kernels {run['kernels']}: {run['megabytes']:.0f} MB in "
            f"{run['cpu_seconds']:.0f} CPU s and {run['wall_seconds']:.0f} s; "
            f"datatrove {theirs:.0f} CPU s: {run['ratio']:.0f}x"
        )
    print("MB of UTF-8 text per CPU second; ours: work on shards, read to commit, warm. See benchmarks/data.py.")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, help="a folder of *.jsonl with a field `text`; else Debian's manuals")
    parser.add_argument("--stage", action="append", choices=STAGES, help="repeatable; all when not given")
    parser.add_argument("--repeat", type=int, help="the best of so many counts (1 with --ours, else 3)")
    parser.add_argument("--megabytes", type=float, default=200, help="measure ours on a sample of at most so many")
    parser.add_argument("--peer-megabytes", type=float, default=24, help="the same for the peer, 90 times slower")
    parser.add_argument("--peer-python", type=Path, help="an interpreter that has datatrove; else one is installed")
    parser.add_argument("--ours", action="store_true", help="ours alone, printed in detail; no file is written")
    parser.add_argument("--no-whole", action="store_true", help="without the run over 1.8 GB")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    corpus = (options.corpus or corpus_debian.build(WORK / "debian")).resolve()
    if not any(corpus.glob("*.jsonl")):
        parser.error(f"{corpus} holds no *.jsonl")
    stages = options.stage or STAGES
    mine = sample(corpus, options.megabytes)
    if options.ours:
        ours, _ = measure_ours(mine, stages, options.repeat or 1)
        print_ours(ours)
        return 0
    theirs = sample(corpus, options.peer_megabytes)
    peer = measure_peer(options.peer_python or peer_python(), theirs, stages)
    ours, ids = measure_ours(mine, stages, options.repeat or 3)
    result: dict[str, Any] = {"at": time.strftime("%Y-%m-%d", time.gmtime()), "machine": machine()}
    result["versions"] = {"ours": our_versions(), "peer": peer["versions"]}
    result["unit"] = "megabytes of UTF-8 text per CPU second"
    result["stages"] = compared(ours, peer)
    if ids:
        known = peer_ids(theirs)
        both = ids.keys() & known.keys()
        result["tokens"] = {"compared": len(both), "identical": sum(ids[name] == known[name] for name in both)}
    write(result)
    if not options.no_whole and set(stages) == set(STAGES):
        result["whole"] = whole(corpus, peer)
        write(result)
    print_table(result)
    return 0


def write(result: dict[str, Any]) -> None:
    (ROOT / "benchmarks/results/data.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
