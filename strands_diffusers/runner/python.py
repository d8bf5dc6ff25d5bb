"""The command line's job from Python: plain overrides in, rollouts out."""

from __future__ import annotations

import datetime
from pathlib import Path

from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError
from strands_diffusers.results import Observation, Rollout
from strands_diffusers.runner import job, sweep


def rollout(*overrides: str, observation: Observation | None = None, output_dir: str | Path | None = None) -> Rollout:
    """Run one job and return its rollout; its files are in `output_dir` (default: `outputs/DATE/TIME`).

    `overrides` are those of the command line, as `"condition=forward_dynamics"`. `observation` takes the place of the
    address. Works inside another Hydra application and inside a live W&B run.

    Raises: a `RequestError` before anything is loaded or written, another `StrandsDiffusersError` once running;
        `ConfigError` for `sampler.num_samples` above 1, which `rollouts` serves.
    """
    found = rollouts(*overrides, observation=observation, output_dir=output_dir, _single=True)
    return found[0]


def rollouts(
    *overrides: str, observation: Observation | None = None, output_dir: str | Path | None = None, _single: bool = False
) -> list[Rollout]:
    """Run one job and return all its samples, `sampler.num_samples` of them, sample i with seed + i."""
    sweep.prepare()
    config = compose.compose(overrides)
    if _single and config.sampler.num_samples > 1:
        raise ConfigError(
            "rollout() returns one rollout; for sampler.num_samples > 1 call strands_diffusers.rollouts()."
        )
    now = datetime.datetime.now().astimezone()
    directory = Path(output_dir or config.output_dir or f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S-%f}").absolute()
    return job.run_job(job.check(config, observation), directory, overrides=overrides).rollouts
