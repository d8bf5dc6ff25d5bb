"""How much faster are two warm workers than one? Usage: python -m experiments.sweep_workers.run [launcher] [jobs] [rounds]

Runs the same sweep with one and with two workers, in turn, and compares warm jobs a second: from the moment when every
worker has done its first job (which pays the load) to the end of the last. Times are those of the manifests.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMON = ("tracker=none", "visualizer=[]", "metric=[]", "output=[video,action]", "hydra.launcher.threads_per_worker=1")


def sweep(launcher: str, workers: int, jobs: int) -> dict[str, float]:
    """Warm jobs a second of one sweep, its wall time, and how many loads it paid."""
    with tempfile.TemporaryDirectory() as folder:
        overrides = (f"seed=range({jobs})", f"output_dir={folder}", f"hydra.launcher.workers={workers}")
        command = [sys.executable, "-m", "strands_diffusers", "-m", f"hydra/launcher={launcher}", *COMMON, *overrides]
        started = time.time()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.time() - started
        found = [
            (p.stat().st_mtime, json.loads(p.read_text())["model"]["warm"]) for p in Path(folder).glob("*/man*.json")
        ]
    assert len(found) == jobs
    begin = max(at for at, warm in found if not warm)
    after = [at for at, _ in found if at > begin]
    return {
        "rate": len(after) / (max(after) - begin), "wall": wall, "loads": sum(not warm for _, warm in found),
    }  # fmt: skip


def main() -> None:
    """Print one row a round and the ratio of the medians."""
    launcher = sys.argv[1] if len(sys.argv) > 1 else "pool"
    jobs, rounds = int(sys.argv[2] if len(sys.argv) > 2 else 16), int(sys.argv[3] if len(sys.argv) > 3 else 2)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers in (1, 2):
            found = sweep(launcher, workers, jobs)
            rates[workers].append(found["rate"])
            text = ", ".join(f"{k} {v:.2f}" for k, v in found.items())
            print(
                f"{launcher} {workers} worker(s), {jobs} jobs: {text}  load average {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    ratio = statistics.median(rates[2]) / statistics.median(rates[1])
    print(f"two workers do {ratio:.2f} times the warm jobs of one")


if __name__ == "__main__":
    main()
