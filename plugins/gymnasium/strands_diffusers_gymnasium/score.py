"""`score=[gymnasium_reward]`: the environment's own reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strands_diffusers import Measure, Score, Track

if TYPE_CHECKING:
    import numpy as np


class GymnasiumReward(Score):
    """The reward of the step that led to each frame, where the world gives it (`world=gymnasium`); nan elsewhere."""

    name = "gymnasium_reward"
    measure = Measure("", "higher", "The environment's reward of each step, in its own unit.")

    def compute(self, track: Track) -> np.ndarray:
        """Reward of each frame, float64 `[F]`; nan for the first, and where no state has one."""
        import numpy as np

        states = [None, *track.states[1:]] if track.states else [None] * len(track.frames)
        return np.array([s["reward"] if isinstance(s, dict) and "reward" in s else np.nan for s in states], np.float64)
