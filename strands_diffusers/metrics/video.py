"""How close the video of a rollout is to the observed one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from strands_diffusers.config import schema
from strands_diffusers.errors import ConfigError, OutputError
from strands_diffusers.lazy import np
from strands_diffusers.metrics import similarity
from strands_diffusers.plugin.base import Measure, Metric
from strands_diffusers.results import Rollout

SCORED_MODES = ("policy", "forward_dynamics", "closed_loop")
"""Modes whose video is a prediction. That of inverse dynamics is a round trip of its input: never scored."""


MOVING = 16
"""A pixel moved where a colour is more than this off its video's first frame [levels of 255]."""


class VideoMetric(Metric):
    """PSNR and SSIM against the observed frames, on all and on moving pixels, beside a still video.

    Frame 0 is left out: the model was given it. The frames that both videos have are compared, in 8-bit RGB, at the
    size of the rollout (the reference went through the pipeline's own frame transform). The baseline repeats the first
    observed frame. Face blurring, where the guardrail did it, counts as error.

    Raises: `OutputError` when the reference has another frame size than the video.
    Source: SSIM of Wang et al. 2004; the official examples hold 14 dB PSNR for a pass.
    """

    name = "video"
    output_types = ("video",)
    measures: ClassVar[Mapping[str, Measure]] = {
        "psnr": Measure("dB", "higher", "Peak signal-to-noise ratio of the video, over all frames but the first."),
        "psnr_repeat_first_frame": Measure(
            "dB", "higher", "The same for a video that repeats the first observed frame.", True
        ),
        "psnr_moving": Measure("dB", "higher", "PSNR on the pixels alone that move in the observed frames."),
        "psnr_moving_repeat_first_frame": Measure("dB", "higher", "The same for the repeated first frame.", True),
        "ssim": Measure("", "higher", "Structural similarity, 1 for identical frames; mean of the RGB channels."),
        "ssim_repeat_first_frame": Measure("", "higher", "The same for the repeated first frame.", True),
        "moving_share": Measure("", "neither", "Share of pixels that move in the observed frames, 0 to 1."),
        "frames": Measure("frames", "neither", "How many frames were compared."),
    }

    @dataclass
    class Config(schema.Options):
        """What counts as a moving pixel."""

        moving_threshold: int = MOVING
        """A pixel moves where a colour of an observed frame is more than this off the first one [levels, 0-254]."""

        def __post_init__(self) -> None:
            if not 0 <= self.moving_threshold <= 254:
                raise ConfigError(
                    f"metric.video.moving_threshold must be from 0 to 254 levels, got {self.moving_threshold}. "
                    "Type metric.video.moving_threshold=16, for example."
                )

    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return the measures; nothing without observed frames, and nothing for a video that is no prediction."""
        if rollout.mode not in SCORED_MODES or rollout.video is None or rollout.reference_video is None:
            return {}
        video_FHWC, truth_FHWC = rollout.video, rollout.reference_video
        if video_FHWC.shape[1:] != truth_FHWC.shape[1:]:
            raise OutputError(
                f"the reference video has frames of {_size(truth_FHWC)}, the rollout of {_size(video_FHWC)}: "
                "the reference must go through the pipeline's own frame transform."
            )
        count = min(len(video_FHWC), len(truth_FHWC)) - 1
        if count < 1:
            return {}
        still_HWC = truth_FHWC[0]
        video_FHWC, truth_FHWC = video_FHWC[1 : count + 1], truth_FHWC[1 : count + 1]
        values = self._psnr(video_FHWC, truth_FHWC, still_HWC) | {"frames": float(count)}
        if min(still_HWC.shape[:2]) >= similarity.WINDOW:
            own, still = similarity.ssim([video_FHWC, still_HWC[None]], truth_FHWC)
            values |= {"ssim": own, "ssim_repeat_first_frame": still}
        return values

    def _psnr(self, video_FHWC: np.ndarray, truth_FHWC: np.ndarray, still_HWC: np.ndarray) -> dict[str, float]:
        threshold = self.config.moving_threshold**2
        totals = np.zeros(4, dtype=np.int64)  # video and still video, on all and on moving pixels
        moving = 0
        for frame_HWC, truth_HWC in zip(video_FHWC, truth_FHWC, strict=True):
            own, still = similarity.squared_error(frame_HWC, truth_HWC), similarity.squared_error(still_HWC, truth_HWC)
            moved_HW = still.max(axis=0) > threshold
            error_HW, still_HW = own.sum(axis=0), still.sum(axis=0)
            totals += error_HW.sum(), still_HW.sum(), error_HW[moved_HW].sum(), still_HW[moved_HW].sum()
            moving += int(moved_HW.sum())
        channels = truth_FHWC.shape[-1]
        values = {
            "psnr": similarity.psnr(totals[0], truth_FHWC.size),
            "psnr_repeat_first_frame": similarity.psnr(totals[1], truth_FHWC.size),
            "moving_share": moving * channels / truth_FHWC.size,
        }
        if moving:
            values["psnr_moving"] = similarity.psnr(totals[2], moving * channels)
            values["psnr_moving_repeat_first_frame"] = similarity.psnr(totals[3], moving * channels)
        return values


def _size(video_FHWC: np.ndarray) -> str:
    return "x".join(str(side) for side in video_FHWC.shape[1:3])
