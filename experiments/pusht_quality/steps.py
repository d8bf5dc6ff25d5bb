"""How many denoising steps are enough: `python -m experiments.pusht_quality.steps PIPELINE_FOLDER --out FOLDER`.

Runs the same held-out clips and starts at each number of steps and prints a Markdown table for the model card: what a
policy does to the block, how true videos and actions are, and what a call costs. Goes on where it was cut off.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from strands_diffusers_pusht.expert import DIRECTIONS

from . import jobs, work
from .measure import cell

COLUMNS = (
    ("policy", "move_px", "policy: block along the command [px]", ".1f"),
    ("policy", "wrong", "policy: wrong way", ".2f"),
    ("policy", "pusher_px", "policy: video against simulator, pusher [px]", ".1f"),
    ("video", "psnr_changed", "forward dynamics: PSNR, moving pixels [dB]", ".2f"),
    ("video", "iou", "forward dynamics: overlap of the T", ".2f"),
    ("inverse", "mae", "inverse dynamics: action MAE", ".4f"),
)
"""Kind of job, its measure, what the table calls it, its format. Means with 95 % intervals over clips or starts."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.pusht_quality.steps", description=__doc__)
    parser.add_argument("model", type=Path, help="a save_pretrained folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", default="2,4,8,16,30")
    parser.add_argument("--clips", type=int, default=16, help="held-out clips for forward and inverse dynamics")
    parser.add_argument("--starts", type=int, default=8, help="held-out starts for the policy, four directions each")
    parser.add_argument("--guidance", type=float, default=1.0, help="guidance scale of the policy")
    parser.add_argument(
        "--procs", type=int, default=1, help="processes; with more than one a call's seconds are not its own"
    )
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "steps.jsonl"
    counts = [int(count) for count in options.steps.split(",")]
    plan = [job for job in jobs.plan(options.clips, options.starts, 0) if job[2] != "goal"]
    results = work.read(log)
    done = {(r["steps"], (r["kind"], r["index"], r["task"])) for r in results}
    calls = [
        (steps, job) for job in plan for steps in counts
    ]  # in turn, so that other work on the machine slows all alike
    todo = [call for call in calls if call not in done]
    results += work.run(todo, (options.model, counts[0], options.guidance, None), log, options.procs, at_steps)
    wanted = set(calls)
    results = [r for r in results if (r["steps"], (r["kind"], r["index"], r["task"])) in wanted]
    text = table(results, counts)
    (options.out / "steps.md").write_text(text)
    print(text)


def at_steps(call: tuple[int, tuple[str, int, str]]) -> dict[str, Any]:
    """`(steps, job)` -> the job's values at that number of steps."""
    steps, job = call
    world = jobs.process["world"]
    world.num_inference_steps = world.dynamics_steps = steps
    return {"steps": steps, **jobs.run(job)}


def table(results: list[dict[str, Any]], counts: list[int]) -> str:
    """A row for each number of steps."""
    rows = [["steps", "s a policy call", "s a forward call", *(text for _, _, text, _ in COLUMNS)]]
    rows.append(["---"] * len(rows[0]))
    for steps in counts:
        own = {
            kind: [r for r in results if r["steps"] == steps and r["kind"] == kind]
            for kind in ("policy", "video", "inverse")
        }
        seconds = [f"{np.median([r['seconds'] for r in own[kind]]):.2f}" for kind in ("policy", "video")]
        rows.append([str(steps), *seconds, *(_cell(own[kind], name, form) for kind, name, _, form in COLUMNS)])
    clips = len({r["index"] for r in results if r["kind"] == "video"})
    starts = len({r["index"] for r in results if r["kind"] == "policy"})
    note = (
        f"{clips} held-out clips; {starts} held-out starts, each asked for {', '.join(DIRECTIONS)}. Means with bootstrapped "
        "95 % intervals (the pusher: mean of medians); seconds: median of encode, text, denoise and decode, one thread."
    )
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", note]) + "\n"


def _cell(rows: list[dict[str, Any]], name: str, form: str) -> str:
    return cell(np.array([r[name] for r in rows], float), np.array([r["index"] for r in rows]), form)


if __name__ == "__main__":
    main()
