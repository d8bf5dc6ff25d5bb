"""What the framework adds to a sweep: `python -m experiments.sweep_overhead [--jobs 16] [--rounds 3]`.

In one process, on the embedded model, in turns: a bare loop (call the pipeline, save video and actions), then sweeps
of as many jobs through `strands-diffusers -m`, on diffusers' own engine and on the default one, then with everything on. A
sweep's seconds hold all of it: checks, summary, table and page. The model is loaded before. Prints a Markdown table;
`--out FILE` writes it, `FILE.json` beside it.
"""

import argparse
import contextlib
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLAIN = ("visualizer=[]", "tracker=none")
SWEEPS = {
    "`engine=eager visualizer=[] tracker=none`": ("engine=eager", *PLAIN),
    "`visualizer=[] tracker=none`": PLAIN,
    "defaults: plots, videos, metrics, W&B offline": ("tracker.mode=offline",),
}
BARE = "bare loop: diffusers, imageio-ffmpeg, json"


def bare_loop() -> Callable[[int, Path], None]:
    """Return the shortest program that does a job: eager pipeline, imageio-ffmpeg, json. Called with seed and folder."""
    import imageio_ffmpeg
    import numpy as np
    import torch
    from diffusers import Cosmos3OmniPipeline, CosmosActionCondition, UniPCMultistepScheduler
    from PIL import Image

    from strands_diffusers.config.compose import compose
    from strands_diffusers.observations.samples import SampleSource
    from strands_diffusers.pipelines.checkpoint import ASSETS
    from strands_diffusers.results import ObservationRequest

    config = compose([])
    seen = SampleSource().read("push_left", ObservationRequest(17, 10.0, "pusht", "policy"))
    pipe = Cosmos3OmniPipeline.from_pretrained(
        ASSETS / "cosmos3_pusht", dtype=torch.bfloat16, enable_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=config.sampler.flow_shift)

    def one(seed: int, folder: Path) -> None:
        action = CosmosActionCondition(
            mode="policy", chunk_size=16, domain_name="pusht", resolution_tier=256, image=Image.fromarray(seen.frames[0]),
            view_point="third_person_view",
        )  # fmt: skip
        out = pipe(
            prompt=seen.task, action=action, fps=10.0, num_inference_steps=config.sampler.num_inference_steps,
            guidance_scale=config.sampler.guidance_scale, use_system_prompt=False,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        writer = imageio_ffmpeg.write_frames(str(folder / f"{seed}.mp4"), out.video[0].size, fps=10, macro_block_size=1)
        writer.send(None)
        for frame in out.video:
            writer.send(np.asarray(frame).tobytes())
        writer.close()
        (folder / f"{seed}.json").write_text(json.dumps(out.action[0].numpy()[None].tolist()))

    return one


def sweep(jobs: int, folder: Path, overrides: tuple[str, ...]) -> dict[str, float]:
    """Run a sweep over seeds as the command does; -> mean seconds of each stage of its jobs."""
    from strands_diffusers.cli import main

    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            main(["-m", f"seed=range({jobs})", f"output_dir={folder}", *overrides])
        except SystemExit as end:
            if end.code:
                raise RuntimeError(said.getvalue()) from end
    records = [json.loads(path.read_text()) for path in folder.glob("*/manifest.json")]
    stages = [stage for stage, value in records[0]["seconds"].items() if isinstance(value, float | int)]
    return {stage: statistics.fmean(r["seconds"][stage] for r in records) for stage in stages}


def measure(jobs: int, rounds: int) -> dict[str, Any]:
    """Seconds per job, wall and processor, of each way in each round; and the stages of the last sweep of each."""
    one = bare_loop()
    with tempfile.TemporaryDirectory() as folder:
        one(10_000, Path(folder))
        for number, overrides in enumerate(SWEEPS.values()):
            sweep(1, Path(folder) / str(number), overrides)
    wall: dict[str, list[float]] = {name: [] for name in (BARE, *SWEEPS)}
    processor: dict[str, list[float]] = {name: [] for name in wall}
    stages: dict[str, dict[str, float]] = {}
    for turn in range(rounds):
        for name in wall:
            with tempfile.TemporaryDirectory() as folder:
                started, worked = time.perf_counter(), sum(os.times()[:4])
                if name == BARE:
                    for seed in range(jobs):
                        one(seed, Path(folder))
                else:
                    stages[name] = sweep(jobs, Path(folder) / "sweep", SWEEPS[name])
                wall[name].append((time.perf_counter() - started) / jobs)
                processor[name].append((sum(os.times()[:4]) - worked) / jobs)
            print(f"round {turn + 1}: {name}: {wall[name][-1]:.2f} s a job", file=sys.stderr, flush=True)
    return {"jobs": jobs, "rounds": rounds, "wall_s": wall, "processor_s": processor, "stages_s": stages}


def markdown(found: dict[str, Any]) -> str:
    """Medians over the rounds; what is added is the median of each round's own difference to its bare loop."""
    lines = [
        "| way | wall [s a job] | processor [s a job] | beside the bare loop | stages [s a job] |",
        "|---|---|---|---|---|",
    ]
    for name, seconds in found["wall_s"].items():
        added = statistics.median(a - b for a, b in zip(seconds, found["wall_s"][BARE], strict=True))
        ratio = statistics.median(a / b for a, b in zip(seconds, found["wall_s"][BARE], strict=True))
        parts = found["stages_s"].get(name, {})
        listed = ", ".join(f"{stage} {value:.2f}" for stage, value in parts.items())
        if parts:
            listed += f", rest of the sweep {max(seconds[-1] - sum(parts.values()), 0):.2f}"
        beside = "" if name == BARE else f"{added:+.2f} s, {ratio:.2f}x"
        lines.append(
            f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(found['processor_s'][name]):.2f} "
            f"| {beside} | {listed} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(prog="python -m experiments.sweep_overhead", description=__doc__)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()

    import torch

    from strands_diffusers.runner import provenance
    from strands_diffusers.runner.sweep import prepare

    prepare()
    torch.set_num_threads(options.threads)
    facts = {"threads": options.threads, "versions": provenance.versions(), "commit": provenance.git_commit()}
    found = measure(options.jobs, options.rounds) | facts
    print(markdown(found))
    if options.out:
        options.out.write_text(markdown(found))
        options.out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
