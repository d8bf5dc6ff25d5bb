"""An episode's scores as numbers: at its end, at its best, on average."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import Measure, Metric
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.results import Rollout

_KINDS = {
    "final": "At the episode's last frame that has a value",
    "best": "At the episode's best frame",
    "mean": "Mean over the episode's frames after the first",
}


class OfScores(Mapping[str, Measure]):
    """The measures that follow from the scores there are: those of a plugin come with it."""

    def __init__(self, kinds: Mapping[str, str], others: Mapping[str, Measure] | None = None, **changes: Any) -> None:
        """`kinds`: what is measured of each score, `{"final": "At the last frame"}`; `others` stand beside it.

        `changes`: how that differs from the score itself, `better="lower"`.
        """
        self._kinds, self._others, self._changes = kinds, others or {}, changes

    def _all(self) -> dict[str, Measure]:
        return dict(self._others) | {
            f"{name}_{kind}": replace(cls.measure, meaning=f"{words}: {cls.measure.meaning}", **self._changes)
            for name, cls in plugins().classes("score").items()
            for kind, words in self._kinds.items()
        }

    def __getitem__(self, name: str) -> Measure:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class ScoresMetric(Metric):
    """Each score of an episode at its last frame, at its best frame and on average: `metrics.scores.<score>_final`."""

    name = "scores"
    output_types = ("episode",)
    measures: ClassVar[Mapping[str, Measure]] = OfScores(_KINDS)

    def compute(self, rollout: Rollout) -> dict[str, float]:
        """Return three values for each score; frames without a value are left out."""
        assert rollout.episode is not None
        found = {}
        for name, scored in rollout.episode.scores.items():
            known_F = scored.values[np.isfinite(scored.values)]
            if len(known_F) == 0:
                continue
            if f"{name}_final" not in self.measures:
                raise OutputError(
                    f"the score {name!r} is of a plugin that is not installed here. Install it to measure."
                )
            later_F = scored.values[1:][np.isfinite(scored.values[1:])]
            found[f"{name}_final"] = float(known_F[-1])
            found[f"{name}_best"] = float(known_F.max() if scored.better == "higher" else known_F.min())
            found[f"{name}_mean"] = float((later_F if len(later_F) else known_F).mean())
        return found
