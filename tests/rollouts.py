"""Rollouts that no model made: every domain, with a film that a codec can hold well."""

import numpy as np

from strands_diffusers import actions, domains
from strands_diffusers.results import Rollout


def moving_frames(count: int = 17, height: int = 96, width: int = 128) -> np.ndarray:
    """A soft disc that crosses a gradient: content that a codec can hold well."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for f in range(count):
        centre = width * (0.2 + 0.6 * f / max(count - 1, 1))
        disc = np.exp(-((x - centre) ** 2 + (y - height / 2) ** 2) / (2 * (height / 8) ** 2))
        frames.append(np.stack([60 + 150 * disc, 90 + 60 * x / width, 200 - 120 * y / height], axis=-1))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


def rollout_of(domain: str, *, chunks: int = 1, steps: int = 16, pixel_map: bool = False, **fields) -> Rollout:
    """A policy rollout of any domain with made-up actions; `fields` replace what is made up."""
    space = actions.space_of(domain, pixel_map=pixel_map)
    width = domains.get(domain).width
    walk = np.random.default_rng(11).normal(0, 0.12, (chunks * steps, width)).cumsum(axis=0)
    action_KTD = walk.astype(np.float32).reshape(chunks, steps, width)
    defaults = {"prompt": "Fold the towel.", "seed": 0, "fps": 10.0, "action": action_KTD, "space": space}
    return Rollout(mode="policy", **defaults | fields)


DOMAINS = [domain.short for domain in domains.all_domains() if domain.width]

LAYOUTS = ["av", "pusht", "umi", "galbot", "robomind_franka_dual", "hand_pose"]
"""One domain of each layout: every kind of panel and path in every arrangement."""


def assert_inside(canvas, text) -> None:
    """A line of text lies on its canvas."""
    left, top, right, bottom = text.box
    assert 0 <= left <= right <= canvas.width, text.words
    assert 0 <= top <= bottom <= canvas.height, text.words


def overlapping(first, second) -> bool:
    """Whether one line of text covers another, by more than a pixel."""
    (a0, a1, a2, a3), (b0, b1, b2, b3) = first.box, second.box
    return min(a2, b2) - max(a0, b0) > 1 and min(a3, b3) - max(a1, b1) > 1
