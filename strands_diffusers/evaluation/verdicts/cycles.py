"""Does inverse dynamics read back the actions behind the model's own videos?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strands_diffusers.config.schema import RunConfig
from strands_diffusers.errors import SweepError
from strands_diffusers.evaluation.stored import StoredRollout, measured, rollouts
from strands_diffusers.evaluation.verdicts.common import judgement, missing_output
from strands_diffusers.plugin.base import Judgement, Verdict

if TYPE_CHECKING:
    from strands_diffusers.records import Record

CLOSED = 0.5
"""A cycle closes where the actions come back with at most this share of the error of their own mean."""

_CYCLES = {
    "forward_dynamics": "actions -> forward dynamics -> inverse dynamics",
    "policy": "policy -> inverse dynamics",
}


class CycleConsistency(Verdict):
    """Does inverse dynamics read back the actions behind the model's own videos? (inverse dynamics of run:DIR)

    The error of the actions that come back, against that of the best constant (the mean of the actions behind the
    video), averaged over videos; a judgement for each kind of video. Not a prediction score: the model judges its own
    videos.
    """

    name = "cycle_consistency"

    def needs(self, config: RunConfig) -> str | None:
        """Inverse dynamics of a finished job's video, with the action metric."""
        mode = config.condition.mode.value
        if mode != "inverse_dynamics":
            return f"reads actions back from videos, and condition={mode} does not. Use condition=inverse_dynamics."
        if not (config.observation or "").startswith("run:"):
            return f"needs the video of a finished job, and observation={config.observation} is none. Use observation=run:DIR."
        if "action" not in config.metric:
            return "compares actions. Add 'metric=[action]'."
        return missing_output(config, "action")

    def judge(self, records: Sequence[Record]) -> list[Judgement]:
        """One judgement for each kind of video."""
        kinds: dict[str, list[StoredRollout]] = {}
        for rollout in rollouts(records):
            details = rollout.sample.observation.get("details") or {}
            if "mae" in rollout.sample.metrics.get("action", {}):
                kinds.setdefault(str(details.get("run_mode")), []).append(rollout)
        found = [made for mode, some in kinds.items() if (made := self._of(mode, some))]
        if not found:
            raise SweepError(
                "none of the videos came with the actions behind it (run:DIR of forward dynamics or policy)."
            )
        return found

    def _of(self, mode: str, some: Sequence[StoredRollout]) -> Judgement | None:
        mae, mean = measured(some, "action", "mae"), measured(some, "action", "mae_mean_action")
        if mae is None or mean is None:
            return None
        ratio = mae / max(mean, 1e-9)
        closed = ratio <= CLOSED
        text = "closes" if closed else "closes in part" if ratio < 1 else "does not close"
        why = f"the actions come back with MAE {mae:.3f}, {ratio:.2f} of the {mean:.3f} of their own mean"
        numbers = {
            "mae": mae,
            "mae_mean_action": mean,
            "mae_share_of_mean_action": ratio,
            "mse": measured(some, "action", "mse"),
            "pixel_error_px": measured(some, "action", "pixel_error"),
            "videos": len({rollout.source for rollout in some}),
            "threshold_share": CLOSED,
        }
        line = f"the cycle {_CYCLES.get(mode, mode)} {text}: {why} (at most {CLOSED:g} closes)"
        return judgement(f"{self.name}.{mode}", line, closed, numbers)
