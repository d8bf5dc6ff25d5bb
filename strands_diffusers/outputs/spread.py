"""The samples of one job side by side: how far they lie apart. Drawn by `timeseries`.

S = K*T steps, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from strands_diffusers import domains
from strands_diffusers.errors import OutputError
from strands_diffusers.lazy import np
from strands_diffusers.outputs.panels import Curve, Panel, panel_rows
from strands_diffusers.outputs.serializers import check_action
from strands_diffusers.outputs.titles import beyond_words, length_words
from strands_diffusers.results import Rollout


def predicted_actions(rollouts: Sequence[Rollout]) -> np.ndarray | None:
    """Return what two samples or more predicted, float32 `[N, K, T, D]` in model space.

    None where there are fewer, or where nothing was predicted: given actions are the same in every sample.
    Raises: `OutputError` where an array is wrong, or where the samples are not of one shape.
    """
    if len(rollouts) < 2 or all(rollout.action is None for rollout in rollouts):
        return None
    actions_KTD = [check_action(f"action of sample {i}", r.action, r.space) for i, r in enumerate(rollouts)]
    shapes = sorted({action_KTD.shape for action_KTD in actions_KTD})
    if len(shapes) > 1:
        raise OutputError(f"the actions have shapes {shapes}: samples of one job have the same.")
    return np.stack(actions_KTD)


def spread_rows(rollouts: Sequence[Rollout]) -> list[list[Panel]]:
    """Return the panels of `panel_rows`, each curve the mean of its samples with the samples themselves in it.

    The values are decoded first and averaged then, so that mean and deviation have the panel's unit.
    """
    by_sample = [panel_rows(rollout) for rollout in rollouts]
    return [
        [
            replace(panels[0], curves=tuple(_mean(curves) for curves in zip(*(p.curves for p in panels), strict=True)))
            for panels in zip(*rows, strict=True)
        ]
        for rows in zip(*by_sample, strict=True)
    ]


def _mean(samples: Sequence[Curve]) -> Curve:
    """Return the mean; what lies beyond model space is ringed on the sample that went there, never on the mean."""
    values_NS = np.stack([curve.values_S for curve in samples]).astype(np.float64)
    mean_S = values_NS.mean(axis=0)
    return replace(
        samples[0],
        values_S=mean_S,
        beyond_S=np.zeros(len(mean_S), bool),
        deviation_S=values_NS.std(axis=0, ddof=1),
        samples=tuple(samples),
    )


def spread_facts(rollouts: Sequence[Rollout], action_NKTD: np.ndarray) -> str:
    """Return `bridge · 4 samples, seeds 0 to 3 · 16 steps at 5 Hz (3.2 s) · no value beyond ±1`."""
    first, seeds = rollouts[0], [rollout.seed for rollout in rollouts if rollout.seed is not None]
    parts = [domains.short_name(first.domain)] if first.domain else []
    parts.append(f"{len(rollouts)} samples" + (f", seeds {min(seeds)} to {max(seeds)}" if seeds else ""))
    parts += [length_words(first, action_NKTD[0]), beyond_words(action_NKTD)]
    return "  ·  ".join(parts)
