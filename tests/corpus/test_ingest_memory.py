"""How much memory a worker of ingest takes, and for how long, when its input grows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import prose

TARGET = 20_000_000
LONGEST = 1_000_000
BOUND = 2 * TARGET + 4 * (6 * LONGEST + (1 << 20)) + 100_000_000  # as ingest.py states it

WORKER = """
import json, sys, time
from pathlib import Path
from raytrain.corpus import ingest
from raytrain.corpus.section import CorpusSection, Source

small, large, store, target, longest = sys.argv[1:]

def work(path, name):
    source = Source(name="s", uri=path)
    options = {"target_shard_bytes": int(target), "max_document_bytes": int(longest)}
    config = ingest.config_of(CorpusSection.model_validate(options), [source])
    size = Path(path).stat().st_size
    file = {"source": "s", "uri": f"file://{path}", "path": "a.jsonl", "bytes": size, "format": "jsonl", "version": ""}
    task = {"store": f"{store}/{name}", "prefix": "documents/x", "unit": 0, "files": [file], "config": config}
    begin = time.process_time()
    rows = ingest.ingest_unit(task | {"sources": {"s": config["sources"][0]}})["rows"]
    return rows, time.process_time() - begin

def memory(name):
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))

Path(small + ".idle").write_text('{"text": "one"}')
work(small + ".idle", "idle")
idle = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
work(small, "kernels")
_, little = work(small, "small")
rows, much = work(large, "large")
print(json.dumps({"above_idle": memory("VmHWM") - idle, "seconds": [little, much], "rows": rows}))
"""


def measured(folder: Path, target: int) -> Any:
    """Memory above idle, CPU seconds and rows of a worker that reads small.jsonl, then large.jsonl."""
    arguments = [*(str(folder / name) for name in ("small.jsonl", "large.jsonl", "store")), str(target), str(LONGEST)]
    done = subprocess.run([sys.executable, "-c", WORKER, *arguments], stdout=subprocess.PIPE, check=True, timeout=600)
    return json.loads(done.stdout)


@pytest.mark.long
def test_memory_is_bounded_and_time_is_linear_in_a_ten_times_larger_input(tmp_path: Path) -> None:
    texts = [prose.document(seed, 40) for seed in range(400)]
    copies = 8_000_000 // sum(map(len, texts))
    lines = [json.dumps({"text": f"{copy} {text}"}) for copy in range(copies) for text in texts]
    (tmp_path / "small.jsonl").write_text("\n".join(lines))
    with open(tmp_path / "large.jsonl", "w") as file:
        for copy in range(10):
            file.write("\n".join(line.replace('"text": "', f'"text": "{copy}') for line in lines) + "\n")
        file.write('{"text": "' + "x" * 200_000_000 + '"}\n')
    found = measured(tmp_path, TARGET)
    assert found["rows"] == 10 * len(lines)
    assert found["above_idle"] < BOUND
    assert found["seconds"][1] < 11 * found["seconds"][0] + 1  # one second for the line that is passed over


@pytest.mark.long
def test_memory_is_bounded_where_a_shard_holds_millions_of_short_records(tmp_path: Path) -> None:
    for name, count in (("small.jsonl", 20_000), ("large.jsonl", 2_500_000)):
        with open(tmp_path / name, "w") as file:
            file.writelines(f'{{"text": "{i} of short ones"}}\n' for i in range(10_000_000, 10_000_000 + count))
    target = 60_000_000
    found = measured(tmp_path, target)
    assert found["rows"] == 2_500_000
    assert found["above_idle"] < BOUND - 2 * TARGET + 2 * target + 128 * found["rows"]
