"""How far do rollouts differ with the seed, and with the prompt?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import SweepError
from strands_diffusers.evaluation.stored import action_distance, groups, rollouts, video_distance
from strands_diffusers.evaluation.verdicts.common import (
    LEAST_LEVELS,
    TIMES,
    judgement,
    means,
    missing_output,
    one_seed,
)
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import Judgement, Verdict

if TYPE_CHECKING:
    from strands_diffusers.records import Record

ALIKE = 0.1
"""Seeds hardly matter where they move the actions by less than this share of the actions' own movement."""

ALIKE_LEVELS = 8.0
"""Without actions, seeds hardly matter where videos differ on moving pixels by less than this [levels of 255]."""


class SeedSpread(Verdict):
    """How far do rollouts differ that have nothing but the seed between them? (sweep seed)

    Actions: standard deviation over seeds (N - 1), mean over steps and columns, and as a share of how much the mean
    action moves over time. Videos: mean distance of pairs.
    """

    name = "seed_spread"

    def needs(self, config: RunConfig) -> str | None:
        """Actions where the condition predicts any, else videos."""
        return missing_output(config, _shown(config))

    def varies(self, configs: Sequence[RunConfig]) -> str | None:
        """Seeds."""
        return one_seed(configs)

    def judge(self, records: Sequence[Record]) -> list[Judgement]:
        """One judgement over all requests."""
        alike = [group for group in groups(rollouts(records)) if len({rollout.seed for rollout in group}) > 1]
        if not alike:
            raise SweepError("it needs two finished seeds of one request.")
        deviations, movements, pairs = [], [], []
        for group in alike:
            if all(rollout.has("action") for rollout in group):
                rows_NTD = np.stack([rollout.actions() for rollout in group])
                deviations.append(float(rows_NTD.std(axis=0, ddof=1).mean()))
                movements.append(float(rows_NTD.mean(axis=0).std(axis=0).mean()))
            if all(rollout.has("video") for rollout in group):
                videos = [rollout.video() for rollout in group]
                pairs += [video_distance(a, b) for a, b in itertools.combinations(videos, 2)]
        numbers: dict[str, Any] = {"requests": len(alike), "seeds": max(len(group) for group in alike)}
        texts = []
        if deviations:
            share = sum(deviations) / max(sum(movements), 1e-9)
            numbers |= {
                "action_std": float(np.mean(deviations)),
                "action_std_share_of_movement": share,
                "threshold_share": ALIKE,
            }
            texts.append(f"actions spread by {share:.0%} of their own movement (less than {ALIKE:.0%} is little)")
        if pairs:
            everywhere, moving = means(pairs)
            numbers |= {"video_all_levels": everywhere, "video_moving_levels": moving, "threshold_levels": ALIKE_LEVELS}
            few = "" if deviations else f" (less than {ALIKE_LEVELS:g} is little)"
            texts.append(f"videos by {moving:.1f} of 255 levels on moving pixels{few}")
        if not texts:
            raise SweepError("the jobs wrote neither videos nor actions.")
        little = share < ALIKE if deviations else moving < ALIKE_LEVELS
        text = "seeds hardly matter, one is enough" if little else "seeds matter, one is not enough"
        return [judgement(self.name, f"{text}: {', '.join(texts)}", None, numbers)]


class PromptSensitivity(Verdict):
    """Do rollouts differ more between prompts than between seeds? (sweep prompt and seed)

    Actions where there are any, else videos. Between prompts, rollouts of one seed are compared; between seeds, rollouts
    of one prompt.
    """

    name = "prompt_sensitivity"

    def needs(self, config: RunConfig) -> str | None:
        """A condition that a prompt can change, and actions where it predicts any, else videos."""
        mode = config.condition.mode.value
        if mode not in ("policy", "text", "image", "video"):
            return f"needs a condition that a prompt can change, and {mode} is none. Use condition=policy."
        return missing_output(config, _shown(config))

    def varies(self, configs: Sequence[RunConfig]) -> str | None:
        """Seeds and prompts."""
        if problem := one_seed(configs):
            return problem
        if len({c.prompt for c in configs}) > 1:
            return None
        return 'compares prompts, and all jobs have one. Add \'prompt="Push left.","Push right."\'.'

    def judge(self, records: Sequence[Record]) -> list[Judgement]:
        """One judgement over all observations."""
        found = rollouts(records)
        between: list[float] = []
        within: list[float] = []
        acts = all(rollout.has("action") for rollout in found)
        for group in groups(found, "prompt"):
            arrays = [(r.config.get("prompt"), r.seed, r.actions() if acts else r.video()) for r in group]
            for (prompt, seed, first), (other, another, second) in itertools.combinations(arrays, 2):
                if (prompt == other) != (seed == another):
                    distance = action_distance(first, second) if acts else video_distance(first, second)[1]
                    (within if prompt == other else between).append(distance)
        if not between or not within:
            raise SweepError("it needs two prompts with two seeds each, of one observation.")
        prompts, seeds = float(np.mean(between)), float(np.mean(within))
        ratio = prompts / max(seeds, 1e-9 if acts else LEAST_LEVELS)
        text = "the model follows its prompt" if ratio >= TIMES else "the model does not follow its prompt"
        what, unit = ("actions", "in model space") if acts else ("videos", "levels on moving pixels")
        why = f"{what} differ {ratio:.2f}x as much between prompts as between seeds (at least {TIMES:g}x counts)"
        numbers = {
            "times_seed_noise": ratio,
            "between_prompts": prompts,
            "between_seeds": seeds,
            "unit": f"{what}, mean absolute difference {unit}",
            "threshold_times": TIMES,
            "pairs": {"prompts": len(between), "seeds": len(within)},
        }
        return [judgement(self.name, f"{text}: {why}", ratio >= TIMES, numbers)]


def _shown(config: RunConfig) -> str:
    return "action" if config.condition.mode.value in ("policy", "inverse_dynamics") else "video"
