"""Is the world model right? Verdicts over a finished sweep that need no labels, each one line with its numbers.

A sweep asks for one by `sweep.verdict`. What its jobs must be alone is checked in `config.checks`; what the sweep must
vary by `check_varied`, before the first load. Where jobs failed and too little is left, the verdict says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from strands_diffusers.config.schema import ForwardDynamicsConfig, RunConfig
from strands_diffusers.errors import ConfigError, StrandsDiffusersError
from strands_diffusers.runner import futures
from strands_diffusers.runner.futures import Future
from strands_diffusers.runner.verdicts.cycles import cycle_consistency
from strands_diffusers.runner.verdicts.obedience import action_sensitivity
from strands_diffusers.runner.verdicts.spread import prompt_sensitivity, seed_spread
from strands_diffusers.runner.verdicts.verdict import Verdict

JUDGES: dict[str, Callable[[Sequence[Future]], list[Verdict]]] = {
    "action_sensitivity": action_sensitivity,
    "cycle_consistency": cycle_consistency,
    "seed_spread": seed_spread,
    "prompt_sensitivity": prompt_sensitivity,
}
"""What `sweep.verdict` can ask for."""


def judge(directory: Path, jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the verdicts that the sweep in `directory` was asked for, as `sweep.json` holds them."""
    found: list[Verdict] = []
    for name in _asked(directory, jobs):
        if name not in JUDGES:
            continue
        try:
            found += JUDGES[name](futures.read(jobs))
        except (StrandsDiffusersError, OSError) as error:
            found.append(Verdict(name, f"cannot be judged: {error}", None))
    return [asdict(verdict) for verdict in found]


def check_varied(configs: Sequence[RunConfig]) -> None:
    """Refuse a sweep that does not vary what its verdict compares.

    Raises: `ConfigError` saying what to add.
    """
    asked = next((c.sweep.verdict for c in configs if c.sweep.verdict is not None), None)
    seeds = {c.seed + i for c in configs for i in range(c.sampler.num_samples)}
    problem = ""
    if asked in ("action_sensitivity", "seed_spread", "prompt_sensitivity") and len(seeds) < 2:
        problem = "compares with what another seed does, and all jobs have one. Add seed=0,1,2 or sampler.num_samples=3"
    elif asked == "action_sensitivity":
        kinds = {c.condition.perturb.value for c in configs if isinstance(c.condition, ForwardDynamicsConfig)}
        if "none" not in kinds or len(kinds) < 2:
            problem = (
                f"compares the true actions with changed ones, and condition.perturb is {', '.join(sorted(kinds))}. "
                "Add condition.perturb=none,shuffled,zero,mirrored"
            )
    elif asked == "prompt_sensitivity" and len({c.prompt for c in configs}) < 2:
        problem = 'compares prompts, and all jobs have one. Add \'prompt="Push left.","Push right."\''
    if problem:
        raise ConfigError(f"sweep.verdict={asked} {problem}.")


def _asked(directory: Path, jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[str]:
    """The verdicts that the jobs' configs name, then those of the latest command: a resumed sweep may ask anew."""
    import yaml

    names = [record["config"].get("sweep", {}).get("verdict") for _, record in jobs]
    try:
        latest = yaml.safe_load((directory / "multirun.yaml").read_text())
        names.append(latest["sweep"]["verdict"])
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        pass  # other sweepers leave no such file
    return [str(name) for name in dict.fromkeys(names) if name]
