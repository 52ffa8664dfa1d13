"""Deduplication killed with SIGKILL at moments nobody chose, and taken up again by another process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raytrain.corpus.dedup import step as dedup
from raytrain.corpus.section import Source
from raytrain.store import Store
from tests.corpus import prose
from tests.corpus.walk import Walk, corpus, write_jsonl

pytestmark = pytest.mark.long

WORK = """
import sys, time
from pathlib import Path
from tests.corpus.dedup.test_killed import searched
sys.stdout.write(searched(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def searched(raw: Path, store: Path) -> str:
    """Walks to the end of dedup, a little slower than it could, and gives the checksum of what it made."""

    def slowly(work, tasks, label):
        done = []
        for task in tasks:
            done.append(work(task))
            time.sleep(0.01)
        return done

    section = corpus(dedup={"span_words": 20, "max_source_loss": 1})
    walking = Walk(Store(str(store)), [Source(name="s", uri=str(raw))], section)
    documents = walking.ingest()
    signatures = walking.annotate(documents)["minhash"]
    walking.engine = slowly
    return str(walking.dedup(documents, signatures).manifest["sha256"])


def test_killed_at_any_moment_it_ends_with_the_same_survivors(tmp_path: Path) -> None:
    originals = [prose.document(seed, 24) for seed in range(60)]
    edited = [prose.edited(text, seed, 0.01) for seed, text in enumerate(originals[:40])]
    raw = write_jsonl(tmp_path / "raw" / "a.jsonl", [*originals, *edited, *originals[:5]]).parent
    expected = searched(raw, tmp_path / "whole")
    moments, kills = random.Random(0), 0
    killed = tmp_path / "killed"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    for _ in range(60):
        child = subprocess.Popen([sys.executable, "-c", WORK, raw, killed], env=environment, stdout=subprocess.PIPE)
        begun = set(Store(str(killed)).keys(dedup.KIND))
        while child.poll() is None and len(set(Store(str(killed)).keys(dedup.KIND)) - begun) < 3:
            time.sleep(0.005)
        try:
            out, _ = child.communicate(timeout=moments.random() * 0.2)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            kills += 1
            continue
        assert out.decode() == expected
        break
    assert kills >= 3
    assert searched(raw, killed) == expected
