"""What the frame costs: CPU seconds of Ray's processes and our own book-keeping threads against the workers'.

Starts a run of its own (`python benchmarks/frame_cost.py [MINUTES]`), waits for steady state and reads /proc. The
training time is that of the heaviest thread of each worker (a worker computes on one); every other thread of a
worker (Ray's, gloo's, the ledger's) and every other process is counted to the frame, so that the share is an upper
bound. Prints one JSON object and writes benchmarks/results/frame.json.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from raytrain.store import Store
from raytrain.train.progress import read_progress

ROOT = Path(__file__).parent.parent
TICK = os.sysconf("SC_CLK_TCK")
WARM_UP_STEPS = 30


def descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def cpu_seconds(path: Path) -> float:
    """User and system time of a process or thread (proc(5), fields 14 and 15)."""
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(root: int) -> dict[str, float]:
    """CPU seconds so far by what they went into."""
    spent: dict[str, float] = {}
    for pid in [root, *descendants(root)]:
        folder = Path(f"/proc/{pid}")
        try:
            name = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            whole = cpu_seconds(folder / "stat")
            heaviest = max(cpu_seconds(thread / "stat") for thread in (folder / "task").iterdir())
        except OSError:
            continue
        if "RayTrainWorker" in name:
            spent["training"] = spent.get("training", 0.0) + heaviest
            spent["other threads of workers"] = spent.get("other threads of workers", 0.0) + whole - heaviest
        else:
            short = "driver" if pid == root else Path(name.split()[0]).name if not name.startswith("ray::") else name
            if short.startswith("python"):
                short = next((Path(w).name for w in name.split() if w.endswith(".py")), short)
            spent[short] = spent.get(short, 0.0) + whole
    return spent


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            "from raytrain.cli import main; main()",
            "run",
            ROOT / "recipes/quickstart.yaml",
        ]
        command += ["--store", folder, "--set", "name=frame", "--set", "train.max_steps=100000"]
        command += ["--set", "train.validate_every=100000", "--set", "train.checkpoint_every=100"]
        child = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            while (read_progress(Store(folder), "frame") or {}).get("step", 0) < WARM_UP_STEPS:
                if child.poll() is not None:
                    raise RuntimeError(f"the run ended early with {child.returncode}")
                time.sleep(1)
            before, start = measure(child.pid), time.time()
            time.sleep(minutes * 60)
            after, seconds = measure(child.pid), time.time() - start
        finally:
            for pid in [*descendants(child.pid), child.pid]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            child.wait()
    spent = {k: round(v - before.get(k, 0.0), 2) for k, v in sorted(after.items()) if v - before.get(k, 0.0) >= 0.01}
    training = spent.pop("training")
    frame = sum(spent.values())
    result = {
        "seconds": round(seconds, 1),
        "training_cpu_seconds": training,
        "frame_cpu_seconds": round(frame, 2),
        "frame_share": round(frame / training, 4),
        "parts": spent,
    }
    print(json.dumps(result, indent=1))
    target = ROOT / "benchmarks/results/frame.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
