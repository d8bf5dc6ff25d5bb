"""95 % intervals by bootstrap over observations: percentiles of seeded resamples, the same every time."""

from __future__ import annotations

from strands_diffusers.lazy import np

RESAMPLES, SEED = 10_000, 0

_BLOCK = 500
"""Resamples drawn at once, so that thousands of observations need little memory."""


def resampled_means(values_NK: np.ndarray) -> np.ndarray:
    """Means over the rows of each resample, `[RESAMPLES, K]`: rows are drawn whole, so columns stay paired."""
    rng = np.random.default_rng(SEED)
    count = len(values_NK)
    return np.concatenate(
        [values_NK[rng.integers(0, count, (_BLOCK, count))].mean(axis=1) for _ in range(RESAMPLES // _BLOCK)]
    )


def interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """The interval of the mean; None for a single value."""
    return (None, None) if len(values) < 2 else middle(resampled_means(values))


def middle(found: np.ndarray) -> tuple[float, float]:
    """Where the middle 95 % of the resamples' results lie."""
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
