"""95 % intervals by bootstrap over observations: percentiles of seeded resamples, the same every time."""

from __future__ import annotations

from collections.abc import Sequence

from strands_diffusers.lazy import np

RESAMPLES, SEED = 10_000, 0

ENOUGH = 5
"""Fewer observations have no interval: their resamples are too few for the ends of one to mean anything."""

_BLOCK = 500
"""Resamples drawn at once, so that thousands of observations need little memory."""


def resampled_means(values_NK: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Means over the rows of each resample, `[RESAMPLES, K]`: rows are drawn whole, so columns stay paired."""
    rng = np.random.default_rng(seed)
    count = len(values_NK)
    return np.concatenate(
        [values_NK[rng.integers(0, count, (_BLOCK, count))].mean(axis=1) for _ in range(RESAMPLES // _BLOCK)]
    )


def interval(
    values: Sequence[float] | np.ndarray, groups: Sequence[int] | np.ndarray | None = None
) -> tuple[float, float] | None:
    """The 95 % interval of the mean of `values`; None for fewer than `ENOUGH` independent observations.

    Each value is an independent observation, or `groups` says which values belong to one (seeds of one start): they are
    drawn as a whole. For a paired comparison give the differences.
    """
    values_N = np.asarray(values, np.float64)
    _, which_N = np.unique(np.arange(len(values_N)) if groups is None else np.asarray(groups), return_inverse=True)
    count_G = np.bincount(which_N)
    if len(count_G) < ENOUGH:
        return None
    sums = resampled_means(np.stack([np.bincount(which_N, values_N), count_G], axis=1))
    return middle(sums[:, 0] / sums[:, 1])


def middle(found: np.ndarray) -> tuple[float, float]:
    """Where the middle 95 % of the resamples' results lie."""
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
