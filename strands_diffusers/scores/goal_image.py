"""`score=[goal_image]`: how much each frame looks like a given one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.config import schema
from strands_diffusers.errors import ConfigError, ObservationError, RolloutError
from strands_diffusers.metrics import similarity
from strands_diffusers.observations import resolve
from strands_diffusers.plugin.acting import Score, Setting, Track
from strands_diffusers.plugin.base import Measure
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.results import ObservationRequest

if TYPE_CHECKING:
    import numpy as np

    from strands_diffusers.pipelines import canvas as canvases

_FRAME = re.compile(r"(?P<address>.+)@frame:(?P<frame>-?\d{1,6})", re.DOTALL)


class GoalImageScore(Score):
    """Structural similarity (SSIM) of each frame to a goal image, through the model's own frame transform.

    The goal is as large as the observation, or as the frames of the world.
    Raises: `ConfigError` without a goal, `ObservationError` for one that cannot be read or has another size, before anything
        is loaded.
    Source: SSIM of Wang et al. 2004.
    """

    name = "goal_image"
    measure = Measure("", "higher", "Structural similarity to the goal image, -1 to 1; 1 for the same picture.")

    @dataclass
    class Config(schema.Options):
        """What is to be reached."""

        goal: str | None = None
        """An image file, or any observation address; `@frame:N` behind it chooses frame N, -1 the last; else the first."""

    def check(self, setting: Setting) -> None:
        """Read the goal. Raises: as the class says."""
        goal, seen = self._read(setting), setting.observation.frames
        if seen is None or goal.shape == seen.shape[1:] or goal.shape[:2] == _canvas(setting)[0].output:
            return
        raise ObservationError(
            f"score.goal_image.goal={self.config.goal} has {_size(goal.shape[:2])} pixels, and the observation has "
            f"{_size(seen.shape[1:3])}: they cannot be compared. Use a goal of that size, cut the same way."
        )

    def fingerprint(self, setting: Setting) -> str:
        """The content of the goal."""
        return resolve.array_hash(self._read(setting))

    def reset(self, setting: Setting) -> None:
        """Read the goal."""
        self._setting, self._goal = setting, self._read(setting)

    def compute(self, track: Track) -> np.ndarray:
        """SSIM of each frame, float64 `[F]`, -1 to 1."""
        import numpy as np

        goal = self._goal
        if goal.shape != track.frames.shape[1:]:
            goal = self._goal = _shown(goal, self._setting, track.frames.shape[1:3])
        return np.array(similarity.ssim([frame[None] for frame in track.frames], goal[None]))

    def _read(self, setting: Setting) -> np.ndarray:
        """The goal, uint8 `[H, W, 3]` as its source has it."""
        if not self.config.goal:
            raise ConfigError(
                "score=[goal_image] needs a goal. Add score.goal_image.goal=FILE.png, or an observation's address with "
                "@frame:N, as score.goal_image.goal=sample:push_left@frame:-1."
            )
        found = _FRAME.fullmatch(self.config.goal)
        address, index = (found["address"], int(found["frame"])) if found else (self.config.goal, 0)
        sources = plugins().sources(setting.config.source)
        request = ObservationRequest(
            index + 1 if index >= 0 else None, setting.fps, setting.space.domain, "closed_loop"
        )
        address = resolve.absolute_address(address, Path.cwd(), sources)
        try:
            frames = resolve.read_observation(address, request, sources).frames
        except ObservationError as error:
            raise ObservationError(f"score.goal_image.goal: {error}") from error
        count = 0 if frames is None else len(frames)
        if frames is None or not -count <= index < count:
            raise ObservationError(
                f"score.goal_image.goal={self.config.goal} has {count} frames; there is no frame {index}."
            )
        goal: np.ndarray = frames[index]
        return goal


def _canvas(setting: Setting) -> tuple[canvases.Canvas, int]:
    """What the model does to frames of the observation's size, and the spatial factor of its autoencoder."""
    from strands_diffusers.pipelines import canvas, checkpoint

    found, seen = checkpoint.locate(setting.config.model), setting.observation.frames
    assert seen is not None
    factor = int(found.vae.get("scale_factor_spatial") or 16)
    return canvas.canvas_of(setting.config, seen, factor), factor


def _shown(goal: np.ndarray, setting: Setting, size: tuple[int, int]) -> np.ndarray:
    """The goal as the model would show it. Raises: `RolloutError` where the frames are of another size."""
    from strands_diffusers.pipelines import canvas

    seen = setting.observation.frames
    whole, factor = _canvas(setting)
    if seen is None or goal.shape != seen.shape[1:] or whole.output != size:
        raise RolloutError(
            f"score=[goal_image]: the goal has {_size(goal.shape[:2])} pixels, and the world's frames have {_size(size)}. "
            "Use a goal of the frames' size."
        )
    shown: np.ndarray = canvas.transform(goal[None], canvas.bare(factor), whole)[0]
    return shown


def _size(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"
