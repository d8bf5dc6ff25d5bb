"""What the framework adds to a sweep: python experiments/sweep_overhead/run.py [--jobs 16] [--threads 1].

In one process, on the embedded model: a bare loop (load once; call the pipeline; save video and actions), then the same
jobs through `strands-diffusers -m` with `visualizer=[] metric=[] tracker=none`, on diffusers' own engine and on the
default one, then with everything on. Prints seconds per job; writes result.json beside this file.
"""

import argparse
import contextlib
import io
import json
import platform
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent


def bare(jobs: int, folder: Path) -> float:
    """Seconds per job of the shortest program that does it: eager pipeline, imageio-ffmpeg, json."""
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
    shift = config.sampler.flow_shift
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, flow_shift=shift)

    def one(seed: int) -> None:
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

    one(10_000)
    started = time.perf_counter()
    for seed in range(jobs):
        one(seed)
    return (time.perf_counter() - started) / jobs


def framework(jobs: int, folder: Path, *overrides: str) -> float:
    """Seconds per job of the sweep, its checks and its summary included; the load is paid before."""
    from strands_diffusers.cli import main

    def run(count: int, name: str) -> float:
        seeds = ",".join(map(str, range(count)))
        started = time.perf_counter()
        with (
            contextlib.suppress(SystemExit),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            main(["-m", f"seed={seeds}", f"output_dir={folder / name}", *overrides])
        return time.perf_counter() - started

    run(2, "warm")
    fixed = run(1, "one")
    return max((run(jobs, "all") - fixed) / max(jobs - 1, 1), 0.0)


def table(jobs: int, threads: int) -> dict[str, float]:
    """Seconds per job, by way."""
    import torch

    torch.set_num_threads(threads)
    plain = ("visualizer=[]", "metric=[]", "tracker=none")
    found = {}
    for name, call in {
        "bare loop": lambda f: bare(jobs, f),
        "framework, engine=eager": lambda f: framework(jobs, f, "engine=eager", *plain),
        "framework": lambda f: framework(jobs, f, *plain),
        "framework, plots, films, metrics, W&B offline": lambda f: framework(jobs, f, "tracker.mode=offline"),
        "bare loop again": lambda f: bare(jobs, f),
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = call(Path(folder))
        print(f"{name:48s} {found[name]:7.3f} s per job")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    from strands_diffusers.runner import provenance, sweep

    sweep.prepare()
    result = {
        "jobs": arguments.jobs,
        "threads": arguments.threads,
        "seconds_per_job": table(arguments.jobs, arguments.threads),
    }
    result |= {"versions": provenance.versions(), "git": provenance.git_commit(), "machine": platform.processor()}
    (HERE / "result.json").write_text(json.dumps(result, indent=2) + "\n")
