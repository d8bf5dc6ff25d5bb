"""Does inverse dynamics read back the actions behind the model's own films?"""

from __future__ import annotations

from collections.abc import Sequence

from strands_diffusers.errors import SweepError
from strands_diffusers.runner.futures import Future
from strands_diffusers.runner.verdicts.verdict import Verdict, measured, verdict

CLOSED = 0.5
"""A cycle closes where the actions come back with at most this share of the error of their own mean."""

_CYCLES = {
    "forward_dynamics": "actions -> forward dynamics -> inverse dynamics",
    "policy": "policy -> inverse dynamics",
}


def cycle_consistency(found: Sequence[Future]) -> list[Verdict]:
    """Does inverse dynamics read back the actions behind the model's own films? One verdict for each kind of film.

    The error of the actions that come back, against that of the best constant (the mean of the actions behind the film),
    averaged over films. Not a prediction score: the model judges its own films.
    """
    kinds: dict[str, list[Future]] = {}
    for future in found:
        mode = future.entry["observation"]["details"].get("run_mode")
        if "mae" in future.metrics.get("action", {}):
            kinds.setdefault(str(mode), []).append(future)
    if not kinds:
        raise SweepError("none of the films came with the actions behind it (run:DIR of forward dynamics or policy).")
    verdicts = []
    for mode, some in kinds.items():
        mae, mean = measured(some, "action", "mae"), measured(some, "action", "mae_mean_action")
        assert mae is not None
        assert mean is not None
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
            "films": len({future.entry["observation"]["source"] for future in some}),
            "threshold_share": CLOSED,
        }
        line = f"the cycle {_CYCLES.get(mode, mode)} {text}: {why} (at most {CLOSED:g} closes)"
        verdicts.append(verdict(f"cycle_consistency.{mode}", line, closed, numbers))
    return verdicts
