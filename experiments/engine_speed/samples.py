"""Are N samples in one batch no slower than N single runs? `python -m experiments.engine_speed.samples [--turns 3]`.

Takes turns on the exact engine: eight single runs with seeds 0 to 7, then one call of eight samples, actions only. Prints
seconds per rollout, the ratio of each turn's processor times, and the largest difference of their outputs.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import torch

from . import measure
from .cases import CASES, calls
from .sizes import SIZES, build

CASE = "8 samples of one prompt, actions only"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m experiments.engine_speed.samples", description=__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    pipe = build(options.size, options.device, False)
    [together] = calls(CASES[CASE], size, size.frame_sizes[0])
    alone = [replace(together, seeds=(seed,)) for seed in together.seeds]
    ratios = []
    for turn in range(options.turns):
        singles, one_by_one = measure.run("exact", pipe, alone)
        batch, at_once = measure.run("exact", pipe, [together])
        ratios.append(singles["processor_s"] / batch["processor_s"])
        print(
            f"turn {turn + 1}: single {singles['wall_s']:.2f} s, in a batch of {len(alone)} {batch['wall_s']:.2f} s a rollout, "
            f"{ratios[-1]:.2f}x faster (processor), {measure.distance(at_once, one_by_one)}",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.2f}x")


if __name__ == "__main__":
    main()
