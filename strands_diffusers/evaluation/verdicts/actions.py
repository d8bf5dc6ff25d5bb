"""Does a world model obey its actions?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strands_diffusers.config.conditions import ForwardDynamicsConfig
from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import SweepError
from strands_diffusers.evaluation import bootstrap
from strands_diffusers.evaluation.stored import StoredRollout, groups, measured, rollouts, video_distance
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

ENOUGH = 8
"""Observations from which on the paired test decides; below, only a change of `TIMES` times counts."""


class ActionSensitivity(Verdict):
    """Does the world model obey its actions? (sweep condition.perturb and seeds, forward dynamics)

    Each video under changed actions is compared with the video of the same seed under the true ones, so that only the
    actions differ; seed noise is the distance between videos of different seeds under the true actions. Distances are
    on moving pixels, frame 0 left out, averaged over seeds.

    A kind of change counts as obeyed where both hold. It moves the videos further apart than another seed does; and,
    where the video metric has a reference, the true actions bring the video closer to it (PSNR on moving pixels). With
    8 observations and a reference both are paired tests: within each observation, the 95 % interval by bootstrap over
    observations must lie above 1 times, and above 0 dB. Else nothing shows that a distance is more than a disturbance,
    and it must be 1.5 times that of the seeds on average.
    """

    name = "action_sensitivity"

    def needs(self, config: RunConfig) -> str | None:
        """Forward dynamics that writes videos."""
        mode = config.condition.mode.value
        if mode != "forward_dynamics":
            return f"needs videos driven by actions, and condition={mode} gives none. Use condition=forward_dynamics."
        return missing_output(config, "video")

    def varies(self, configs: Sequence[RunConfig]) -> str | None:
        """Seeds, and the true actions beside changed ones."""
        kinds = {c.condition.perturb.value for c in configs if isinstance(c.condition, ForwardDynamicsConfig)}
        if problem := one_seed(configs):
            return problem
        if "none" in kinds and len(kinds) > 1:
            return None
        return (
            f"compares the true actions with changed ones, and condition.perturb is {', '.join(sorted(kinds))}. "
            "Add condition.perturb=none,shuffled,zero,mirrored."
        )

    def judge(self, records: Sequence[Record]) -> list[Judgement]:
        """One judgement over all observations and kinds of change."""
        found = rollouts(records)
        scenes = [scene for group in groups(found, "condition.perturb") if (scene := _Scene.of(group))]
        kinds = dict.fromkeys(kind for scene in scenes for kind in scene.changed)
        changes = {kind: _change(kind, [scene for scene in scenes if kind in scene.changed]) for kind in kinds}
        if not changes:
            raise SweepError(
                "it needs two seeds under condition.perturb=none and one under another, of one observation."
            )
        obeyed = [kind for kind, change in changes.items() if change.obeyed]
        all_obeyed = len(obeyed) == len(changes)
        text = f"the model {'obeys' if obeyed else 'does not obey'} its actions"
        if obeyed and not all_obeyed:
            text += f" in part (under {_listed(obeyed)} actions)"
        line = f"{text}: {_why(changes)}"
        return [judgement(self.name, line, all_obeyed, _numbers(found, scenes, changes))]


@dataclass(frozen=True)
class _Scene:
    """The videos of one observation: distances [levels of 255] on all and on moving pixels, and what was measured."""

    seeds: list[tuple[float, float]]
    """Of each pair of seeds under the true actions."""

    changed: Mapping[str, list[tuple[float, float]]]
    """Of each kind of changed actions: one a seed, from the true actions' video."""

    closer: Mapping[str, float]
    """By how much the true actions come closer to the reference [dB, PSNR on moving pixels], where there is one."""

    @classmethod
    def of(cls, group: Sequence[StoredRollout]) -> _Scene | None:
        """Compare the videos of one observation; None where there is nothing to compare."""
        kinds: dict[str, dict[int, StoredRollout]] = {}
        for rollout in group:
            kinds.setdefault(rollout.config.get("condition.perturb", ""), {})[rollout.seed] = rollout
        true = kinds.pop("none", {})
        videos = {seed: rollout.video() for seed, rollout in true.items()}
        changed, closer = {}, {}
        for kind, of_seed in kinds.items():
            both = [seed for seed in of_seed if seed in true]
            if both:
                changed[kind] = [video_distance(videos[seed], of_seed[seed].video()) for seed in both]
                ours, theirs = (_psnr([some[seed] for seed in both]) for some in (true, of_seed))
                if ours is not None and theirs is not None:
                    closer[kind] = ours - theirs
        if len(videos) < 2 or not changed:
            return None
        return cls([video_distance(a, b) for a, b in itertools.combinations(videos.values(), 2)], changed, closer)


@dataclass(frozen=True)
class _Change:
    """What one kind of changed actions does, over all observations."""

    times: float
    """How many times as far as another seed it moves the videos apart."""

    closer: float | None
    """By how much the true actions come closer to the reference [dB]."""

    times_interval: tuple[float, float] | None
    closer_interval: tuple[float, float] | None

    @property
    def obeyed(self) -> bool:
        if self.times_interval and self.closer_interval:
            return self.times_interval[0] > 1 and self.closer_interval[0] > 0
        return self.times >= TIMES and (self.closer is None or self.closer > 0)


def _change(kind: str, scenes: Sequence[_Scene]) -> _Change:
    """Ratio of means, each resample's with its own observations' seed noise."""
    distances_N2 = np.array([[means(scene.changed[kind])[1], means(scene.seeds)[1]] for scene in scenes])
    known = all(kind in scene.closer for scene in scenes)
    closer_N = np.array([scene.closer[kind] for scene in scenes]) if known else None
    enough = len(scenes) >= ENOUGH
    return _Change(
        float(_times(distances_N2.mean(axis=0))),
        None if closer_N is None else float(closer_N.mean()),
        bootstrap.middle(_times(bootstrap.resampled_means(distances_N2))) if enough else None,
        bootstrap.interval(closer_N) if enough and closer_N is not None else None,
    )


def _times(distances_x2: np.ndarray) -> np.ndarray:
    return np.asarray(distances_x2[..., 0] / np.maximum(distances_x2[..., 1], LEAST_LEVELS))


def _why(changes: Mapping[str, _Change]) -> str:
    """The numbers of the weakest change, and the threshold that they are held against."""
    kind, least = min(changes.items(), key=lambda item: item[1].times)
    bounds = f" [{least.times_interval[0]:.2f}, {least.times_interval[1]:.2f}]" if least.times_interval else ""
    text = f"videos differ at least {least.times:.2f}x{bounds} as much as with another seed ({kind} actions)"
    known = {kind: change for kind, change in changes.items() if change.closer is not None}
    if len(known) == len(changes):
        kind, least = min(known.items(), key=lambda item: item[1].closer or 0.0)
        bounds = f" [{least.closer_interval[0]:z.1f}, {least.closer_interval[1]:z.1f}]" if least.closer_interval else ""
        text += f", and true actions come at least {least.closer:z.1f} dB{bounds} closer to what happened ({kind})"
    tested = all(change.times_interval and change.closer_interval for change in changes.values())
    return f"{text}; {'over 1x and 0 dB by the interval' if tested else f'{TIMES:g}x and more'} counts"


def _psnr(found: Sequence[StoredRollout]) -> float | None:
    return measured(found, "video", "psnr_moving")


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _numbers(
    found: Sequence[StoredRollout], scenes: Sequence[_Scene], changes: Mapping[str, _Change]
) -> dict[str, Any]:
    everywhere, moving = means([pair for scene in scenes for pair in scene.seeds])
    changed = {kind: [pair for scene in scenes for pair in scene.changed.get(kind, ())] for kind in changes}
    scores = {k: _psnr([r for r in found if r.config.get("condition.perturb") == k]) for k in ("none", *changes)}
    return {
        "times_seed_noise": {kind: change.times for kind, change in changes.items()},
        "times_seed_noise_interval": {k: list(c.times_interval) for k, c in changes.items() if c.times_interval},
        "true_actions_closer_db": {k: c.closer for k, c in changes.items() if c.closer is not None},
        "true_actions_closer_interval_db": {
            k: list(c.closer_interval) for k, c in changes.items() if c.closer_interval
        },
        "distance_moving_levels": {kind: means(pairs)[1] for kind, pairs in changed.items()},
        "distance_all_levels": {kind: means(pairs)[0] for kind, pairs in changed.items()},
        "seed_noise_moving_levels": moving,
        "seed_noise_all_levels": everywhere,
        "psnr_moving_db": {kind: score for kind, score in scores.items() if score is not None},
        "threshold_times": TIMES,
        "observations": len(scenes),
        "pairs": {
            "seeds": sum(len(scene.seeds) for scene in scenes),
            **{kind: len(pairs) for kind, pairs in changed.items()},
        },
    }
