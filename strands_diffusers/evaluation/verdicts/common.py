"""What the built-in verdicts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from strands_diffusers.config.schema import RunConfig
from strands_diffusers.evaluation.rounding import rounded
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import Judgement

TIMES = 1.5
"""A change must move the rollouts this many times as far apart as seeds alone do. A model that pays no attention but is
easily disturbed lands at about 1, one that pays none at all at 0."""

LEAST_LEVELS = 0.5
"""A distance between seeds below this counts as this [levels of 255]: compression alone makes as much."""


def means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean distances on all and on moving pixels."""
    return float(np.mean([a for a, _ in pairs])), float(np.mean([m for _, m in pairs]))


def missing_output(config: RunConfig, name: str) -> str | None:
    """What to type where the jobs do not write an output that the verdict reads."""
    return None if name in config.output else f"reads the jobs' files. Add '{name}' to output: output=[{name}]."


def one_seed(configs: Sequence[RunConfig]) -> str | None:
    """What to type where all jobs have one seed."""
    if len({c.seed + i for c in configs for i in range(c.sampler.num_samples)}) > 1:
        return None
    return "compares with what another seed does, and all jobs have one. Add seed=0,1,2 or sampler.num_samples=3."


def judgement(name: str, text: str, holds: bool | None, numbers: Mapping[str, Any]) -> Judgement:
    """A judgement with its numbers rounded to 4 digits."""
    return Judgement(name, text, holds, rounded(numbers))
