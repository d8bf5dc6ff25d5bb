"""Is the world model right? Verdicts over a finished sweep that need no labels, each one line with its numbers.

A sweep asks for one by `sweep.verdict`. What its jobs must be alone is checked in `config.checks`; what the sweep must
vary by `check_varied`, before the first load. Where jobs failed and too little is left, the verdict says so.

`PARTS`: a change counts where it parts the futures at least 1.5 times as far as another seed does. A model that pays no
attention but is easily thrown off lands at about 1, one that pays none at all at 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.config.schema import ForwardDynamicsConfig, RunConfig
from strands_diffusers.errors import ConfigError, StrandsDiffusersError, SweepError
from strands_diffusers.lazy import np
from strands_diffusers.runner import futures
from strands_diffusers.runner.futures import Future, actions_apart, films_apart

PARTS = 1.5
"""A change must part the futures this many times as far as seeds alone."""

ALIKE = 0.1
"""Seeds hardly matter where they part the actions by less than this share of the actions' own movement."""

ALIKE_LEVELS = 8.0
"""Seeds hardly matter where they part films on moving pixels by less than this [levels of 255]; no actions there."""

CLOSED = 0.5
"""A cycle closes where the actions come back with at most this share of the error of their own mean."""

LEAST_LEVELS = 0.5
"""Seed noise below this counts as this [levels of 255]: compression alone makes as much."""


@dataclass(frozen=True)
class Verdict:
    """One judgement; `numbers` may be nested, rounded to 4 digits."""

    name: str
    verdict: str
    holds: bool | None
    """Whether the model passes; None where there is nothing to pass, or it cannot be judged."""
    numbers: Mapping[str, Any] = field(default_factory=dict)


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
    asked = next((c.sweep.verdict.value for c in configs if c.sweep.verdict is not None), None)
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


# ------------------------------------------------------------------------------------------------ action sensitivity


def action_sensitivity(found: Sequence[Future]) -> list[Verdict]:
    """Do the futures part with the actions, further than with the seed, and are the true ones closest to the truth?

    Each film under changed actions is compared with the film of the same seed under the true ones, so that only the
    actions differ; seed noise is the distance between films of different seeds under the true actions. Distances are on
    moving pixels, frame 0 left out, averaged over seeds and observations. Where the video metric saw the true future,
    the true actions must also bring the film closest to it.
    """
    noise: list[tuple[float, float | None]] = []
    parted: dict[str, list[tuple[float, float | None]]] = {}
    for group in futures.groups(found, "condition.perturb"):
        kinds: dict[str, dict[int, Future]] = {}
        for future in group:
            kinds.setdefault(future.config.get("condition.perturb", ""), {})[future.seed] = future
        true = {seed: _film(future) for seed, future in kinds.pop("none", {}).items()}
        if len(true) < 2 or not kinds:
            continue
        noise += [films_apart(a, b) for a, b in itertools.combinations(true.values(), 2)]
        for kind, of_seed in kinds.items():
            same = [films_apart(true[seed], _film(future)) for seed, future in of_seed.items() if seed in true]
            parted.setdefault(kind, []).extend(same)
    if not any(parted.values()):
        raise SweepError("it needs two seeds under condition.perturb=none and one under another, of one observation.")
    seeds, seeds_moving = _means(noise)
    ratios = {kind: _means(pairs)[1] / max(seeds_moving, LEAST_LEVELS) for kind, pairs in parted.items() if pairs}
    scores = {
        kind: value
        for kind in ("none", *ratios)
        if (value := _metric([f for f in found if f.config.get("condition.perturb") == kind], "video", "psnr_moving"))
        is not None
    }
    obeyed = [kind for kind, ratio in ratios.items() if ratio >= PARTS]
    closer = [kind for kind, score in scores.items() if kind != "none" and score >= scores.get("none", np.inf)]
    times = ", ".join(f"{kind} {ratio:.2f}x" for kind, ratio in ratios.items())
    why = f"against another seed, the films part {times} as far (at least {PARTS:g}x counts)"
    if len(scores) == len(ratios) + 1:
        best = "the true actions come closest to what happened"
        why += f", and {f'{_and(closer)} actions come as close to what happened as the true ones' if closer else best}"
    if len(obeyed) == len(ratios) and not closer:
        text = "the model obeys its actions"
    elif obeyed and (held := [k for k in obeyed if k not in closer]):
        text = f"the model obeys its actions in part ({_and(held)} {'tells' if len(held) == 1 else 'tell'})"
    else:
        text = "the model does not obey its actions"
    numbers = {
        "parted_times_seed_noise": ratios,
        "parted_moving_levels": {kind: _means(pairs)[1] for kind, pairs in parted.items() if pairs},
        "parted_all_levels": {kind: _means(pairs)[0] for kind, pairs in parted.items() if pairs},
        "seed_noise_moving_levels": seeds_moving,
        "seed_noise_all_levels": seeds,
        "psnr_moving_db": scores,
        "threshold_times": PARTS,
        "pairs": {"seeds": len(noise), **{kind: len(pairs) for kind, pairs in parted.items()}},
    }
    return [_verdict("action_sensitivity", f"{text}: {why}", text == "the model obeys its actions", numbers)]


# ------------------------------------------------------------------------------------------------- cycle consistency

_CYCLES = {
    "forward_dynamics": "actions -> forward dynamics -> inverse dynamics",
    "policy": "policy -> inverse dynamics",
}


def cycle_consistency(found: Sequence[Future]) -> list[Verdict]:
    """Does inverse dynamics read back the actions behind the model's own films? One verdict for each kind of film.

    The error of the actions that come back, against that of the best constant (the mean of the actions behind the film),
    averaged over films. Not a prediction score: the model judges its own films.
    """
    kinds: dict[str, list[Future]] = {}
    for future in found:
        mode = future.entry["observation"]["details"].get("run_mode")
        if "mae" in future.metrics.get("action", {}):
            kinds.setdefault(str(mode), []).append(future)
    if not kinds:
        raise SweepError("none of the films came with the actions behind it (run:DIR of forward dynamics or policy).")
    verdicts = []
    for mode, some in kinds.items():
        mae, mean = _metric(some, "action", "mae"), _metric(some, "action", "mae_mean_action")
        assert mae is not None
        assert mean is not None
        ratio = mae / max(mean, 1e-9)
        closed = ratio <= CLOSED
        text = "closes" if closed else "closes in part" if ratio < 1 else "does not close"
        why = f"the actions come back with MAE {mae:.3f}, {ratio:.2f} of the {mean:.3f} of their own mean"
        numbers = {
            "mae": mae,
            "mae_mean_action": mean,
            "mae_share_of_mean_action": ratio,
            "mse": _metric(some, "action", "mse"),
            "pixel_error_px": _metric(some, "action", "pixel_error"),
            "films": len({future.entry["observation"]["source"] for future in some}),
            "threshold_share": CLOSED,
        }
        line = f"the cycle {_CYCLES.get(mode, mode)} {text}: {why} (at most {CLOSED:g} closes)"
        verdicts.append(_verdict(f"cycle_consistency.{mode}", line, closed, numbers))
    return verdicts


# ------------------------------------------------------------------------------------- spread over seeds and prompts


def seed_spread(found: Sequence[Future]) -> list[Verdict]:
    """How far do futures part that differ in nothing but the seed?

    Actions: standard deviation over seeds (N - 1), mean over steps and columns, and as a share of how much the mean
    action moves over time. Films: mean distance of pairs.
    """
    alike = [group for group in futures.groups(found) if len({future.seed for future in group}) > 1]
    if not alike:
        raise SweepError("it needs two finished seeds of one request.")
    deviations, movements, pairs = [], [], []
    for group in alike:
        if all(future.actions for future in group):
            rows_NTD = np.stack([rows for future in group if (rows := future.rows()) is not None])
            deviations.append(float(rows_NTD.std(axis=0, ddof=1).mean()))
            movements.append(float(rows_NTD.mean(axis=0).std(axis=0).mean()))
        if all(future.film for future in group):
            films = [_film(future) for future in group]
            pairs += [films_apart(a, b) for a, b in itertools.combinations(films, 2)]
    numbers: dict[str, Any] = {"requests": len(alike), "seeds": max(len(group) for group in alike)}
    parts = []
    if deviations:
        share = sum(deviations) / max(sum(movements), 1e-9)
        numbers |= {"action_std": float(np.mean(deviations)), "action_std_share_of_movement": share, "threshold_share": ALIKE}  # fmt: skip
        parts.append(f"actions spread by {share:.0%} of their own movement (less than {ALIKE:.0%} is little)")
    if pairs:
        everywhere, moving = _means(pairs)
        numbers |= {"film_all_levels": everywhere, "film_moving_levels": moving, "threshold_levels": ALIKE_LEVELS}
        few = "" if deviations else f" (less than {ALIKE_LEVELS:g} is little)"
        parts.append(f"films by {moving:.1f} of 255 levels on moving pixels{few}")
    if not parts:
        raise SweepError("the jobs wrote neither films nor actions.")
    little = share < ALIKE if deviations else moving < ALIKE_LEVELS
    text = "seeds hardly matter, one speaks for all" if little else "seeds matter, one does not speak for all"
    return [_verdict("seed_spread", f"{text}: {', '.join(parts)}", None, numbers)]


def prompt_sensitivity(found: Sequence[Future]) -> list[Verdict]:
    """Do futures part more between prompts than between seeds? Actions where there are any, else films.

    Between prompts, futures of one seed are compared; between seeds, futures of one prompt.
    """
    between: list[float] = []
    within: list[float] = []
    acts = all(future.actions for future in found)
    for group in futures.groups(found, "prompt"):
        arrays = [(future.config["prompt"], future.seed, _shown(future, acts)) for future in group]
        for (prompt, seed, first), (other, another, second) in itertools.combinations(arrays, 2):
            if (prompt == other) != (seed == another):
                apart = actions_apart(first, second) if acts else films_apart(first, second)[1] or 0.0
                (within if prompt == other else between).append(apart)
    if not between or not within:
        raise SweepError("it needs two prompts with two seeds each, of one observation.")
    prompts, seeds = float(np.mean(between)), float(np.mean(within))
    ratio = prompts / max(seeds, 1e-9 if acts else LEAST_LEVELS)
    text = "the model follows its prompt" if ratio >= PARTS else "the model does not follow its prompt"
    what, unit = ("actions", "in model space") if acts else ("films", "levels on moving pixels")
    why = f"{what} part {ratio:.2f}x as far between prompts as between seeds (at least {PARTS:g}x counts)"
    numbers = {
        "parted_times_seed_noise": ratio,
        "between_prompts": prompts,
        "between_seeds": seeds,
        "unit": f"{what}, mean absolute difference {unit}",
        "threshold_times": PARTS,
        "pairs": {"prompts": len(between), "seeds": len(within)},
    }
    return [_verdict("prompt_sensitivity", f"{text}: {why}", ratio >= PARTS, numbers)]


JUDGES: dict[str, Callable[[Sequence[Future]], list[Verdict]]] = {
    "action_sensitivity": action_sensitivity,
    "cycle_consistency": cycle_consistency,
    "seed_spread": seed_spread,
    "prompt_sensitivity": prompt_sensitivity,
}
"""What `sweep.verdict` can ask for."""


def _film(future: Future) -> np.ndarray:
    frames_FHWC = future.frames()
    if frames_FHWC is None:
        raise SweepError(f"job {future.job} wrote no film.")
    return frames_FHWC


def _shown(future: Future, acts: bool) -> np.ndarray:
    rows_TD = future.rows() if acts else None
    return _film(future) if rows_TD is None else rows_TD


def _means(pairs: Sequence[tuple[float, float | None]]) -> tuple[float, float]:
    """Means on all and on moving pixels; a pair where nothing moves did not part there."""
    return float(np.mean([a for a, _ in pairs])), float(np.mean([m or 0.0 for _, m in pairs]))


def _metric(found: Sequence[Future], metric: str, value: str) -> float | None:
    """The mean of a measured value; None where a job lacks it."""
    values = [future.metrics.get(metric, {}).get(value) for future in found]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _verdict(name: str, text: str, holds: bool | None, numbers: Mapping[str, Any]) -> Verdict:
    return Verdict(name, text, holds, _rounded(numbers))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
