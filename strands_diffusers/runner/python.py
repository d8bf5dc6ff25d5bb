"""The command line's job from Python: plain overrides in, rollouts out."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from strands_diffusers.config import compose
from strands_diffusers.errors import ConfigError
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.results import Observation, Rollout
from strands_diffusers.runner import job, sweep
from strands_diffusers.runner.control import Control, Progress


def rollout(
    *overrides: str,
    observation: Observation | None = None,
    output_dir: str | Path | None = None,
    values: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    timeout_s: float | None = None,
) -> Rollout:
    """Run one job and return its rollout; its files are in `output_dir` (default: `outputs/DATE/TIME`).

    `overrides` are those of the command line, as `"condition=forward_dynamics"`; `values` are literal, as
    `{"prompt": "Push the T.", "sampler": {"num_inference_steps": 8}}`. `observation` takes the place of the address.
    `progress(stage, done, total)` is called on every step; the job ends within one step once `cancel()` is true
    (`CancelledError`) or `timeout_s` seconds have passed (`RolloutError`). Works inside another Hydra application and inside
    a live W&B run.

    Raises: a `RequestError` before anything is loaded or written, another `StrandsDiffusersError` once running;
    `ConfigError` for `sampler.num_samples` above 1, which `rollouts` serves.
    """
    control = Control(progress, cancel=cancel, timeout_s=timeout_s)
    return _run(overrides, observation, output_dir, values, control, single=True)[0]


def rollouts(
    *overrides: str,
    observation: Observation | None = None,
    output_dir: str | Path | None = None,
    values: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    timeout_s: float | None = None,
) -> list[Rollout]:
    """Run one job and return all its samples, `sampler.num_samples` of them, sample i with seed + i; as `rollout`."""
    control = Control(progress, cancel=cancel, timeout_s=timeout_s)
    return _run(overrides, observation, output_dir, values, control)


def _run(
    overrides: tuple[str, ...], observation: Any, output_dir: Any, values: Any, control: Control, single: bool = False
) -> list[Rollout]:
    prepare()
    config = compose.compose(overrides, values=values)
    if single and config.sampler.num_samples > 1:
        raise ConfigError(
            "rollout() returns one rollout; for sampler.num_samples > 1 call strands_diffusers.rollouts()."
        )
    now = datetime.datetime.now().astimezone()
    directory = Path(output_dir or config.output_dir or f"outputs/{now:%Y-%m-%d}/{now:%H-%M-%S-%f}")
    checked = job.check(config, observation)
    return sweep.attempt(checked, directory.expanduser().absolute(), overrides, control=control).rollouts
