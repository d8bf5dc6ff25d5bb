"""`metric=[pusht_horizon]`: how far pusher and block are from where they truly are, the further the video goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strands_diffusers import Measure, Metric, Rollout

if TYPE_CHECKING:
    import numpy as np

STEPS = (8, 16, 32, 48, 64, 96)
"""Steps into the video after which the values are given, where it is that long."""

_VALUES = {
    "pusher_px": ("px", "lower", "Distance of the pusher from the reference's, of a 512 x 512 table"),
    "block_px": ("px", "lower", "Distance of the block's visible centre from the reference's, of a 512 x 512 table"),
    "overlap": ("", "higher", "Intersection over union of the block's silhouette and the reference's"),
}


class PushTHorizon(Metric):
    """Pusher, block and silhouette of a PushT video against the reference's, along the video.

    Needs a reference video: an observation that goes on, or with `condition=closed_loop` a reference world. Positions are
    read off the frames by colour (see `tracking`). A value is left out where pusher or block is not seen in either video.
    `pusher_px`, `block_px` and `overlap` are means over all frames after the first, `.._after_N` their value at frame N, and
    `.._first_frame` what the first frame repeated would give.
    """

    name = "pusht_horizon"
    output_types = ("video",)
    measures = {  # noqa: RUF012 - as every metric's
        **{
            f"{name}{suffix}": Measure(unit, better, f"{text}, {when}.", baseline=suffix == "_first_frame")  # type: ignore[arg-type]
            for name, (unit, better, text) in _VALUES.items()
            for suffix, when in (
                ("", "mean over frames"),
                ("_first_frame", "mean over frames, of the first frame repeated"),
                *((f"_after_{steps}", f"after {steps} steps") for steps in STEPS),
            )
        },
    }

    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return a value for each measure that both videos allow."""
        import numpy as np

        truth = rollout.reference_video
        if rollout.domain != "pusht" or truth is None or rollout.video is None:
            return {}
        length = min(len(truth), len(rollout.video))
        video, truth = rollout.video[1:length], truth[:length]
        if not len(video):
            return {}
        along = horizon(video, truth[1:])
        still = horizon(np.repeat(truth[:1], len(video), axis=0), truth[1:])
        found: dict[str, float] = {}
        for name, values in along.items():
            seen = np.isfinite(values) & np.isfinite(still[name])
            if seen.any():
                found[name] = values[seen].mean()
                found[f"{name}_first_frame"] = still[name][seen].mean()
            found |= {f"{name}_after_{n}": values[n - 1] for n in STEPS if n < length and np.isfinite(values[n - 1])}
        return {name: float(value) for name, value in found.items()}


def horizon(video: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Distances and overlap frame by frame: uint8 `[F, H, W, 3]` twice -> float64 `[F]` each; nan where nothing is seen."""
    import numpy as np

    from . import tracking

    masks = tracking.block_mask(video), tracking.block_mask(truth)
    gaps = {
        "pusher_px": tracking.pusher_px(video) - tracking.pusher_px(truth),
        "block_px": tracking.centroids(masks[0]) - tracking.centroids(masks[1]),
    }
    found = {name: np.linalg.norm(gap, axis=-1) for name, gap in gaps.items()}
    return {**found, "overlap": np.where(masks[1].any((-2, -1)), tracking.overlap(*masks), np.nan)}
