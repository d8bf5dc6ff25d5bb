"""Do two workers do twice the jobs of one? See README.md: python -m experiments.sweep_workers [pool|ray]."""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext
from strands_diffusers_launchers.actors import open_actors
from strands_diffusers_launchers.config import PoolConfig, RayConfig
from strands_diffusers_launchers.messages import Job, Sweep
from strands_diffusers_launchers.pool import open_pool
from strands_diffusers_launchers.work import payload
from strands_diffusers_launchers.workers import Workers

from strands_diffusers.config.store import conf_dir
from strands_diffusers.runner.sweep import prepare

JOB = ("tracker=none", "visualizer=[]", "metric=[]", "output=[video,action]")


def open_workers(launcher: str, folder: Path) -> Workers:
    """Two workers of one thread each, as the launcher would start them."""
    prepare()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("run", ["hydra.mode=MULTIRUN"], return_hydra_config=True)
        loader = GlobalHydra.instance().config_loader()
        sweep = Sweep(payload(HydraContext(loader, Callbacks()), config, folder, 60.0), folder)
    if launcher == "ray":
        backend, size = open_actors(RayConfig(workers=2, threads_per_worker=1), sweep, 2)
    else:
        backend, size = open_pool(PoolConfig(workers=2, threads_per_worker=1), sweep, 2)
    return Workers(backend, size, sweep, 60.0)


def main() -> None:
    """Print one row a round, the loads that were paid, and the ratio of the medians."""
    parser = argparse.ArgumentParser(prog="python -m experiments.sweep_workers", description=__doc__)
    parser.add_argument("launcher", nargs="?", choices=("pool", "ray"), default="pool")
    parser.add_argument("--rounds", type=int, default=4, help="how often each is timed")
    parser.add_argument("--jobs", type=int, default=8, help="jobs of one timing, an even number")
    arguments = parser.parse_args()
    launcher, rounds = arguments.launcher, arguments.rounds
    logging.disable(logging.INFO)
    rates: dict[int, list[float]] = {1: [], 2: []}
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        pool = open_workers(launcher, Path(folder))

        def batch(workers: int, jobs: int) -> float:
            nonlocal number
            pool.size = workers
            numbers = range(number, number + jobs)
            number += jobs
            started = time.perf_counter()
            ended = pool.run([Job(n, (*JOB, f"seed={n}")) for n in numbers])
            assert all(end.status == "done" for _, end in ended), ended
            return jobs / (time.perf_counter() - started)

        batch(2, 4)  # the loads
        for turn in range(rounds):
            for workers in (1, 2) if turn % 2 else (2, 1):
                rates[workers].append(batch(workers, arguments.jobs))
            text = ", ".join(f"{w}: {rates[w][-1]:.2f} jobs/s" for w in rates)
            print(f"{launcher} {text}  load average {os.getloadavg()[0]:.1f}", flush=True)
        pool.close()
        records = [json.loads(path.read_text()) for path in Path(folder).glob("*/manifest.json")]
        print(f"{launcher}: {len(records)} jobs, {sum(not r['model']['warm'] for r in records)} loads")
    ratio = statistics.median(rates[2]) / statistics.median(rates[1])
    best = max(rates[2]) / max(rates[1])
    print(f"{launcher}: two workers do {ratio:.2f} times the jobs of one (best turns: {best:.2f})")


if __name__ == "__main__":
    main()
