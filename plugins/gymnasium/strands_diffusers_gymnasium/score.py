"""`score=[gymnasium_reward]`: the environment's own reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strands_diffusers import Measure, Score, Setting, Track, errors

if TYPE_CHECKING:
    import numpy as np


class GymnasiumReward(Score):
    """The reward of the step that led to each frame, where the world gives it (`world=gymnasium`); nan elsewhere."""

    name = "gymnasium_reward"
    measure = Measure("", "higher", "The environment's reward of each step, in its own unit.")

    def check(self, setting: Setting) -> None:
        """Refuse an episode in the world model alone. Raises: `ConfigError`."""
        world = setting.config.world
        if {world.name, getattr(world, "reference", None)} <= {"model", None}:
            raise errors.ConfigError(
                "score=[gymnasium_reward] is the reward that an environment gives, and world=model gives none. "
                "Use world=gymnasium, or world.reference=gymnasium."
            )

    def compute(self, track: Track) -> np.ndarray:
        """Reward of each frame, float64 `[F]`; nan for the first, and where no state has one."""
        import numpy as np

        states = [None, *track.states[1:]] if track.states else [None] * len(track.frames)
        return np.array([s["reward"] if isinstance(s, dict) and "reward" in s else np.nan for s in states], np.float64)
