"""The three variants: PushT as it looks, moves or is driven elsewhere. Each is a table with its own frames and its own actions.

Physical actions are pixels of the 512 x 512 table, as PushT's; of `relative` they are the way from the pusher to its target.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from strands_diffusers_pusht.simulator import PushT

TABLE_RGB = np.array([248.0, 244.0, 236.0])
"""Colour of the recoloured table; nothing that moves has it. The autoencoder that ships knows one table (README)."""

PUSHER_PX, DAMPING = 22.0, 0.25
"""Of other physics: the pusher's radius [px] (PushT: 15), and how much of its speed the block keeps after a second (PushT: none)."""


class Variant(PushT):
    """PushT itself, by the names that the variants change."""

    relative = False
    """Whether an action is the way from the pusher to its target."""

    slides = False
    """Whether the block moves on by itself: how fast, a single frame does not say."""

    def recorded(self, targets_px: np.ndarray, states: np.ndarray) -> np.ndarray:
        """The targets [T, 2] of an expert as this variant's actions, float32; `states` [T + 1, 5]."""
        moved = targets_px - states[:-1, :2] if self.relative else targets_px
        return np.asarray(moved, np.float32)

    def act(self, action_px: np.ndarray) -> np.ndarray:
        """One step by an action of this variant. -> state."""
        return self.step(self.pusher_px + action_px if self.relative else action_px)


class Recoloured(Variant):
    """The same table in another colour."""

    def render(self) -> np.ndarray:
        """The frame, its white in that colour; edges blend."""
        frame = super().render().astype(np.float64)
        white = np.clip((frame.min(-1, keepdims=True) - 200) / 55, 0, 1)
        return np.asarray((frame * (1 - white) + TABLE_RGB * white).round(), np.uint8)


class Physics(Variant):
    """A larger pusher, and a block that slides on after a push."""

    slides = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        circle = self._env.add_circle
        self._env.damping = DAMPING
        self._env.add_circle = lambda space, position, radius: circle(space, position, PUSHER_PX)

    def has_room(self, point: np.ndarray) -> bool:
        """Whether the larger pusher can start there."""
        return super().has_room(point) and self.clearance_px(point) > PUSHER_PX + 4


class Relative(Variant):
    """Actions are moves, not places."""

    relative = True


def at_rest(states: np.ndarray, first: int) -> int:
    """The last frame up to `first` into which the block did not move; `states` [T + 1, 5]."""
    moved = np.linalg.norm(np.diff(states[: first + 1, 2:4], axis=0), axis=-1) > 0.5
    return max((k for k in range(1, first + 1) if not moved[k - 1]), default=0)


VARIANTS: dict[str, type[Variant]] = {
    "recoloured": Recoloured,
    "physics": Physics,
    "relative": Relative,
    "original": Variant,
}
"""By name. `original` is PushT as it is: what must not be forgotten."""
