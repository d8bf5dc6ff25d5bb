"""How far do futures part with the seed, and with the prompt?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from strands_diffusers.errors import SweepError
from strands_diffusers.lazy import np
from strands_diffusers.runner import futures
from strands_diffusers.runner.futures import Future, actions_apart, films_apart
from strands_diffusers.runner.verdicts.verdict import LEAST_LEVELS, PARTS, Verdict, film, means, verdict

ALIKE = 0.1
"""Seeds hardly matter where they part the actions by less than this share of the actions' own movement."""

ALIKE_LEVELS = 8.0
"""Seeds hardly matter where they part films on moving pixels by less than this [levels of 255]; no actions there."""


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
            films = [film(future) for future in group]
            pairs += [films_apart(a, b) for a, b in itertools.combinations(films, 2)]
    numbers: dict[str, Any] = {"requests": len(alike), "seeds": max(len(group) for group in alike)}
    parts = []
    if deviations:
        share = sum(deviations) / max(sum(movements), 1e-9)
        numbers |= {"action_std": float(np.mean(deviations)), "action_std_share_of_movement": share, "threshold_share": ALIKE}  # fmt: skip
        parts.append(f"actions spread by {share:.0%} of their own movement (less than {ALIKE:.0%} is little)")
    if pairs:
        everywhere, moving = means(pairs)
        numbers |= {"film_all_levels": everywhere, "film_moving_levels": moving, "threshold_levels": ALIKE_LEVELS}
        few = "" if deviations else f" (less than {ALIKE_LEVELS:g} is little)"
        parts.append(f"films by {moving:.1f} of 255 levels on moving pixels{few}")
    if not parts:
        raise SweepError("the jobs wrote neither films nor actions.")
    little = share < ALIKE if deviations else moving < ALIKE_LEVELS
    text = "seeds hardly matter, one speaks for all" if little else "seeds matter, one does not speak for all"
    return [verdict("seed_spread", f"{text}: {', '.join(parts)}", None, numbers)]


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
    return [verdict("prompt_sensitivity", f"{text}: {why}", ratio >= PARTS, numbers)]


def _shown(future: Future, acts: bool) -> np.ndarray:
    rows_TD = future.rows() if acts else None
    return film(future) if rows_TD is None else rows_TD
