"""Does a world model obey its actions?"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strands_diffusers.errors import SweepError
from strands_diffusers.lazy import np
from strands_diffusers.runner import bootstrap, futures
from strands_diffusers.runner.futures import Future, films_apart
from strands_diffusers.runner.verdicts.verdict import (
    LEAST_LEVELS,
    PARTS,
    Verdict,
    film,
    listed,
    means,
    measured,
    verdict,
)

ENOUGH = 8
"""Observations from which on an interval over them is worth its name; below, only a change of `PARTS` times counts."""


def action_sensitivity(found: Sequence[Future]) -> list[Verdict]:
    """Do the futures part with the actions, further than with the seed, and towards what really happened?

    Each film under changed actions is compared with the film of the same seed under the true ones, so that only the
    actions differ; seed noise is the distance between films of different seeds under the true actions. Distances are on
    moving pixels, frame 0 left out, averaged over seeds.

    A change tells where both hold. It parts the films further than another seed does; and, where the video metric saw
    the true future, the true actions bring the film closer to it (PSNR on moving pixels). With `ENOUGH` observations and
    a true future both are paired tests: within each observation, the 95 % interval by bootstrap over observations must
    lie above 1 times, and above 0 dB. Else nothing shows that a parting is more than being thrown off, and it must be
    `PARTS` times the seeds' on average.
    """
    scenes = [scene for group in futures.groups(found, "condition.perturb") if (scene := Scene.of(group))]
    kinds = dict.fromkeys(kind for scene in scenes for kind in scene.parted)
    changes = {kind: _change(kind, [scene for scene in scenes if kind in scene.parted]) for kind in kinds}
    if not changes:
        raise SweepError("it needs two seeds under condition.perturb=none and one under another, of one observation.")
    tells = [kind for kind, change in changes.items() if change.tells]
    obeys = len(tells) == len(changes)
    text = f"the model {'obeys' if tells else 'does not obey'} its actions"
    if tells and not obeys:
        text += f" in part ({listed(tells)} {'tells' if len(tells) == 1 else 'tell'})"
    return [verdict("action_sensitivity", f"{text}: {_why(changes)}", obeys, _numbers(found, scenes, changes))]


@dataclass(frozen=True)
class Scene:
    """The films of one observation: distances [levels of 255] on all and on moving pixels, and what was measured."""

    seeds: list[tuple[float, float | None]]
    """Of each pair of seeds under the true actions."""

    parted: Mapping[str, list[tuple[float, float | None]]]
    """Of each kind of changed actions: one a seed, from the true actions' film."""

    closer: Mapping[str, float]
    """By how much the true actions come closer to the true future [dB, PSNR on moving pixels], where it is known."""

    @classmethod
    def of(cls, group: Sequence[Future]) -> Scene | None:
        """Compare the films of one observation; None where there is nothing to compare."""
        kinds: dict[str, dict[int, Future]] = {}
        for future in group:
            kinds.setdefault(future.config.get("condition.perturb", ""), {})[future.seed] = future
        true = kinds.pop("none", {})
        films = {seed: film(future) for seed, future in true.items()}
        parted, closer = {}, {}
        for kind, of_seed in kinds.items():
            both = [seed for seed in of_seed if seed in true]
            if both:
                parted[kind] = [films_apart(films[seed], film(of_seed[seed])) for seed in both]
                ours, theirs = (_psnr([some[seed] for seed in both]) for some in (true, of_seed))
                if ours is not None and theirs is not None:
                    closer[kind] = ours - theirs
        if len(films) < 2 or not parted:
            return None
        return cls([films_apart(a, b) for a, b in itertools.combinations(films.values(), 2)], parted, closer)


@dataclass(frozen=True)
class _Change:
    """What one kind of changed actions does, over all observations."""

    times: float
    """How many times as far as another seed it parts the films."""

    closer: float | None
    """By how much the true actions come closer to the true future [dB]."""

    times_interval: tuple[float, float] | None
    closer_interval: tuple[float, float] | None

    @property
    def tells(self) -> bool:
        if self.times_interval and self.closer_interval:
            return self.times_interval[0] > 1 and self.closer_interval[0] > 0
        return self.times >= PARTS and (self.closer is None or self.closer > 0)


def _change(kind: str, scenes: Sequence[Scene]) -> _Change:
    """Ratio of means, each resample's with its own observations' seed noise."""
    apart_N2 = np.array([[means(scene.parted[kind])[1], means(scene.seeds)[1]] for scene in scenes])
    known = all(kind in scene.closer for scene in scenes)
    closer_N = np.array([scene.closer[kind] for scene in scenes]) if known else None
    enough = len(scenes) >= ENOUGH
    closer_interval = bootstrap.middle(bootstrap.resampled_means(closer_N)) if enough and closer_N is not None else None
    return _Change(
        float(_times(apart_N2.mean(axis=0))),
        None if closer_N is None else float(closer_N.mean()),
        bootstrap.middle(_times(bootstrap.resampled_means(apart_N2))) if enough else None,
        closer_interval,
    )


def _times(apart_x2: np.ndarray) -> np.ndarray:
    return np.asarray(apart_x2[..., 0] / np.maximum(apart_x2[..., 1], LEAST_LEVELS))


def _why(changes: Mapping[str, _Change]) -> str:
    """The numbers of the weakest change, and the line that they are held against."""
    kind, least = min(changes.items(), key=lambda item: item[1].times)
    bounds = f" [{least.times_interval[0]:.2f}, {least.times_interval[1]:.2f}]" if least.times_interval else ""
    text = f"films part at least {least.times:.2f}x{bounds} as far as with another seed ({kind} actions)"
    known = {kind: change for kind, change in changes.items() if change.closer is not None}
    if len(known) == len(changes):
        kind, least = min(known.items(), key=lambda item: item[1].closer or 0.0)
        bounds = f" [{least.closer_interval[0]:z.1f}, {least.closer_interval[1]:z.1f}]" if least.closer_interval else ""
        text += f", and true actions come at least {least.closer:z.1f} dB{bounds} closer to what happened ({kind})"
    tested = all(change.times_interval and change.closer_interval for change in changes.values())
    return f"{text}; {'over 1x and 0 dB by the interval' if tested else f'{PARTS:g}x and more'} counts"


def _psnr(found: Sequence[Future]) -> float | None:
    return measured(found, "video", "psnr_moving")


def _numbers(found: Sequence[Future], scenes: Sequence[Scene], changes: Mapping[str, _Change]) -> dict[str, Any]:
    everywhere, moving = means([pair for scene in scenes for pair in scene.seeds])
    parted = {kind: [pair for scene in scenes for pair in scene.parted.get(kind, ())] for kind in changes}
    scores = {k: _psnr([f for f in found if f.config.get("condition.perturb") == k]) for k in ("none", *changes)}
    return {
        "parted_times_seed_noise": {kind: change.times for kind, change in changes.items()},
        "parted_times_interval": {k: list(c.times_interval) for k, c in changes.items() if c.times_interval},
        "true_actions_closer_db": {k: c.closer for k, c in changes.items() if c.closer is not None},
        "true_actions_closer_interval_db": {
            k: list(c.closer_interval) for k, c in changes.items() if c.closer_interval
        },
        "parted_moving_levels": {kind: means(pairs)[1] for kind, pairs in parted.items()},
        "parted_all_levels": {kind: means(pairs)[0] for kind, pairs in parted.items()},
        "seed_noise_moving_levels": moving,
        "seed_noise_all_levels": everywhere,
        "psnr_moving_db": {kind: score for kind, score in scores.items() if score is not None},
        "threshold_times": PARTS,
        "observations": len(scenes),
        "pairs": {"seeds": sum(len(s.seeds) for s in scenes), **{kind: len(pairs) for kind, pairs in parted.items()}},
    }
