"""Finished sweeps without a model: real files and manifests of futures that are drawn by hand."""

from pathlib import Path

import numpy as np

from strands_diffusers.outputs.action import ActionSerializer
from strands_diffusers.outputs.video import VideoSerializer
from strands_diffusers.results import ActionSpace, Observation, Rollout
from strands_diffusers.runner import manifest

SPACE = ActionSpace("pusht", pixel_map=True)


def film(path_F2, size=64) -> np.ndarray:
    """A white table with a dark square that is at `path_F2` (row, column) in each frame."""
    frames_FHWC = np.full((len(path_F2), size, size, 3), 240, np.uint8)
    for frame, (row, column) in zip(frames_FHWC, np.rint(path_F2).astype(int), strict=True):
        frame[max(row, 0) : row + 10, max(column, 0) : column + 10] = (40, 60, 90)
    return frames_FHWC


def line(towards, steps=8, start=(27, 27)) -> np.ndarray:
    """A straight path [steps + 1, 2] from `start`, `towards` pixels away at its end."""
    return np.asarray(start) + np.linspace(0, 1, steps + 1)[:, None] * np.asarray(towards)


def job(sweep, number, *, overrides=(), seed=0, config=None, video=None, action=None, metrics=None, **facts):
    """Write job `number` of the folder `sweep`. `config`: nodes over the bare ones; `facts`: mode, prompt, observation."""
    folder = Path(sweep) / str(number)
    folder.mkdir(parents=True)
    observation = Observation(source=facts.pop("observation", "sample:a"), details=facts.pop("details", {}))
    rollout = Rollout(
        mode=facts.pop("mode", "policy"), seed=seed, video=video, action=action, fps=10.0, space=SPACE,
        observation=observation, **facts,
    )  # fmt: skip
    made = [VideoSerializer().save(rollout, folder)] if video is not None else []
    made += [ActionSerializer().save(rollout, folder)] if action is not None else []
    tree = {"seed": seed, "observation": observation.source, "prompt": rollout.prompt, "sampler": {"num_samples": 1}}
    record = {
        "schema_version": manifest.SCHEMA_VERSION,
        "overrides": list(overrides),
        "config": {**tree, **(config or {})},
        "seed": seed,
        "rollout": manifest.rollout_entry(rollout),
        "samples": [],
        "artifacts": [manifest.artifact_entry(a, folder) for files in made for a in files],
        "metrics": metrics or {},
        "seconds": {"generate": 1.0},
        "started": manifest.now(),
        "finished": manifest.now(),
    }
    manifest.write_json(folder / manifest.MANIFEST, record)
    return folder
