"""`score=[pusht_coverage]`: how much of the target the block covers, by the simulator's state or by a frame."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from strands_diffusers import Measure, Score, Setting, Track, errors

if TYPE_CHECKING:
    import numpy as np


_OTHERS_RGB = ((144, 238, 144), (255, 255, 255))  # the target's light green, the table


class PushTCoverage(Score):
    """Share of PushT's target that the block covers.

    Where the world gives its state (`world=pusht`), it is gym-pusht's own coverage. Else it is read off the frame: of the
    target's pixels that the pusher does not hide, the share that looks like the block, mostly within 0.03 of the simulator's.
    """

    name = "pusht_coverage"
    measure = Measure(
        "",
        "higher",
        "Coverage of the target, 0 to 1: gym-pusht's where the world gives its state, else by the frame's colours.",
    )

    def check(self, setting: Setting) -> None:
        """Refuse other domains. Raises: `ConfigError`."""
        _check(setting, self.name)

    def compute(self, track: Track) -> np.ndarray:
        """Coverage at each frame, float64 `[F]`, 0 to 1."""
        import numpy as np

        if track.states is not None and all(isinstance(s, dict) and "coverage" in s for s in track.states):
            return np.array([state["coverage"] for state in track.states], np.float64)
        return coverage(track.frames)


class PushTGap(Score):
    """Mean distance of the block's silhouette from the target, read off the frame: it also guides where nothing is covered.

    Of each visible pixel of the block the distance to the nearest one of the target; 0 where the block lies inside of it.
    nan where no block is visible.
    """

    name = "pusht_gap"
    measure = Measure(
        "px", "lower", "Mean distance of the block's visible pixels from the target, of a 512 x 512 table."
    )

    def check(self, setting: Setting) -> None:
        """Refuse other domains. Raises: `ConfigError`."""
        _check(setting, self.name)

    def compute(self, track: Track) -> np.ndarray:
        """Distance at each frame [px], float64 `[F]`."""
        import numpy as np

        from .tracking import block_mask

        mask = block_mask(track.frames)
        count = mask.sum((1, 2))
        total = (mask * _distance(*mask.shape[1:])).sum((1, 2))
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _check(setting: Setting, name: str) -> None:
    if setting.space.domain != "pusht":
        raise errors.ConfigError(
            f"score=[{name}] looks for the T block, and domain {setting.space.domain!r} has none. Use domain=pusht."
        )


def coverage(frames: np.ndarray) -> np.ndarray:
    """Share of the target's visible area that looks like the block: frames uint8 [F, H, W, 3] -> float64 [F].

    A frame shows the whole table. The simulator draws the block 2 px of 512 too large all round: a pixel of its edge counts by
    as much less. Over 200 simulated frames of 96 x 96 the mean error is 0.007, and 0.07 at most. 0 where nothing is visible.
    """
    import numpy as np

    from .simulator import TABLE_PX
    from .tracking import BLOCK_RGB, pusher_mask

    target, edge = _target(*frames.shape[1:3]), max(1 - 2 * frames.shape[2] / TABLE_PX, 0)
    here = tuple(slice(max(found.min() - 1, 0), found.max() + 2) for found in target.nonzero())
    target, frames = target[here], frames[(slice(None), *here)]
    gaps = [np.square(frames.astype(np.int32) - colour).sum(-1) for colour in (BLOCK_RGB, *_OTHERS_RGB)]
    hidden = pusher_mask(frames)
    block = np.argmin(gaps, axis=0) == 0
    solid = np.pad(block | hidden, ((0, 0), (1, 1), (1, 1)))
    inside = solid[:, :-2, 1:-1] & solid[:, 2:, 1:-1] & solid[:, 1:-1, :-2] & solid[:, 1:-1, 2:]
    covered = np.where(inside, 1, edge) * (block & ~hidden) * target
    return np.asarray(covered.sum((1, 2)) / np.maximum((~hidden * target).sum((1, 2)), 1e-9))


@functools.cache
def _target(height: int, width: int) -> np.ndarray:
    """How much of each pixel the target takes: float64 [H, W], 0 to 1."""
    import numpy as np
    from PIL import Image, ImageDraw

    from .expert import GOAL_PX
    from .simulator import TABLE_PX, PushT

    table, mask = PushT(), Image.new("L", (TABLE_PX, TABLE_PX))
    table.state = np.array([20.0, 20.0, *GOAL_PX, np.pi / 4])
    for corners in table.corners_px.reshape(2, 4, 2):
        ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    return np.asarray(mask.resize((width, height), Image.Resampling.BOX)) / 255


@functools.cache
def _distance(height: int, width: int) -> np.ndarray:
    """Distance of each pixel's centre from the nearest pixel of the target [px of 512]: float64 [H, W]."""
    import numpy as np

    from .simulator import TABLE_PX

    inside = np.argwhere(_target(height, width) > 0.5)
    here = np.argwhere(np.ones((height, width), bool))
    scale = np.array([TABLE_PX / height, TABLE_PX / width])
    gaps = [np.hypot(*((inside - place) * scale).T).min() for place in here]
    return np.array(gaps).reshape(height, width)
