"""How far an imagined episode can be trusted: where it leaves the reference world, look after look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from strands_diffusers.config import schema
from strands_diffusers.config.fields import positive
from strands_diffusers.lazy import np
from strands_diffusers.metrics import similarity
from strands_diffusers.metrics.scores import OfScores
from strands_diffusers.plugin.base import Measure, Metric
from strands_diffusers.results import Rollout


class HorizonMetric(Metric):
    """After how many looks a world's video leaves that of `world.reference`, in which the same actions were acted out.

    A look is trusted where the PSNR of its last frame, and of those of all looks before, is `psnr` or more.
    """

    name = "horizon"
    output_types = ("episode", "video")
    measures: ClassVar[Mapping[str, Measure]] = OfScores(
        {"difference": "Mean absolute difference to the reference world"},
        {
            "psnr_first_look": Measure(
                "dB", "higher", "PSNR of the first look's last frame against the reference world."
            ),
            "psnr_last_look": Measure(
                "dB", "higher", "PSNR of the last look's last frame against the reference world."
            ),
            "trusted_looks": Measure("looks", "higher", "Looks before the difference exceeds metric.horizon.psnr."),
            "trusted_seconds": Measure("s", "higher", "The same in the world's time."),
            "looks": Measure("looks", "neither", "How many looks there were."),
        },
        better="lower",
    )

    @dataclass
    class Config(schema.Options):
        """What counts as different."""

        psnr: float = 25.0
        """A look whose last frame has a lower PSNR than this is not trusted [dB]; above what the first frame repeated has."""

        def __post_init__(self) -> None:
            positive("metric.horizon.psnr", self.psnr, "dB", 25)

    config: Config

    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return the measures; nothing without a reference world."""
        psnr_K = psnr_per_look(rollout)
        if psnr_K is None:
            return {}
        assert rollout.episode is not None
        below = np.flatnonzero(psnr_K < self.config.psnr)
        trusted = int(below[0]) if len(below) else len(psnr_K)
        found = {
            "psnr_first_look": float(psnr_K[0]),
            "psnr_last_look": float(psnr_K[-1]),
            "trusted_looks": float(trusted),
            "looks": float(len(psnr_K)),
        }
        if rollout.fps:
            found["trusted_seconds"] = trusted * rollout.episode.act_steps / rollout.fps
        episode = rollout.episode
        for name, truth in episode.reference_scores.items():
            apart_F = np.abs(truth.values - episode.scores[name].values)
            if f"{name}_difference" in self.measures and np.isfinite(apart_F[1:]).any():
                found[f"{name}_difference"] = float(np.nanmean(apart_F[1:]))
        return found

    def facts(self, rollout: Rollout) -> dict[str, Any]:
        """What is recorded of a rollout: `horizon`, a value for each look, and `reference`, how far it is to be trusted."""
        psnr_K = psnr_per_look(rollout)
        if psnr_K is None or rollout.episode is None:
            return {}
        episode, values = rollout.episode, self.compute(rollout)
        ends = [frame + episode.act_steps for frame in episode.looks]
        apart = {
            name: [float(abs(truth.values[f] - episode.scores[name].values[f])) for f in ends]
            for name, truth in episode.reference_scores.items()
        }
        trusted, looks = int(values["trusted_looks"]), len(psnr_K)
        limit = f"{self.config.psnr:g} dB PSNR (metric.horizon.psnr)"
        against = f"{limit} against world {episode.reference}"
        line = f"trust: no look of {looks} ends below {against}"
        if trusted < looks:
            line = f"trust: look {trusted + 1} of {looks} is the first that ends below {against}"
        return {"horizon": {"psnr": psnr_K.tolist(), "scores": apart}, "reference": line}


def psnr_per_look(rollout: Rollout) -> np.ndarray | None:
    """PSNR [dB] of each look's last frame, float64 `[K]`, at most that of one level of difference; None without reference."""
    episode, video, truth = rollout.episode, rollout.video, rollout.reference_video
    if episode is None or video is None or truth is None or not episode.reference or truth.shape != video.shape:
        return None
    ends = [frame + episode.act_steps for frame in episode.looks]
    return np.array(
        [similarity.psnr(int(similarity.squared_error(video[f], truth[f]).sum()), video[f].size) for f in ends]
    )
