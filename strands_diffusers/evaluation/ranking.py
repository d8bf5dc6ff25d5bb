"""Does one world rank policies as another does? Plain numbers: scores of policies over observations in both.

`rank_violation` is the mean maximum rank violation of Li et al. 2024 (SIMPLER, arXiv:2405.05941): for each policy the largest
true difference to a policy that the judged scores put on the wrong side of it, averaged over policies; in the unit of the
score, 0 for a perfect ranking. Unlike a rank correlation it forgives swaps of policies that are almost equally good.

Letters: P policies, O observations, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from strands_diffusers.evaluation.bootstrap import ENOUGH, middle, resampled_means
from strands_diffusers.lazy import np

STATISTICS = ("pearson", "spearman", "rank_violation")

_BLOCK = 500
"""Resamples whose pairs of policies are compared at once."""

_HALVES = 200


@dataclass(frozen=True, eq=False)
class Ranking:
    """What two worlds say of the same policies."""

    judged_P: np.ndarray
    true_P: np.ndarray
    """Mean score of each policy."""

    judged_P2: np.ndarray | None
    true_P2: np.ndarray | None
    """Their 95 % intervals over observations; None below 5 observations."""

    values: Mapping[str, float]
    """`pearson`, `spearman`, `rank_violation`."""

    intervals: Mapping[str, tuple[float, float]]
    """Their 95 % intervals by bootstrap over observations, which both worlds and all policies share; empty below 5."""

    observations: int
    episodes: int
    """Judged episodes that count, of all policies."""


def compare(judged_PO: np.ndarray, true: np.ndarray | Sequence[np.ndarray]) -> Ranking:
    """Compare judged scores `[P, O]`, nan where there is none, with true ones.

    `true`: `[P, O]` on the same observations, of which those count that both have; or for each policy its own trials `[N]`, which
    are then resampled apart. Every policy must have a score in both.
    """
    if isinstance(true, np.ndarray):
        both = np.isfinite(judged_PO) & np.isfinite(true)
        judged_PO, true = np.where(both, judged_PO, np.nan), np.where(both, true, np.nan)
    finite_PO = np.isfinite(judged_PO)
    judged_P, judged_RP = _means(judged_PO, 0)
    if isinstance(true, np.ndarray):
        true_P, true_RP = _means(true, 0)  # the same seed: the same observations in each resample
        few = finite_PO.any(axis=0).sum()
    else:
        found = [_means(trials[None], 1 + p) for p, trials in enumerate(true)]
        true_P, true_RP = (np.concatenate(each, axis=-1) for each in zip(*found, strict=True))
        few = min(finite_PO.any(axis=0).sum(), *(len(trials) for trials in true))
    values = {name: float(value[0]) for name, value in statistics(judged_P[None], true_P[None]).items()}
    whole = np.isfinite(judged_RP).all(axis=1) & np.isfinite(true_RP).all(axis=1)  # each policy was drawn
    ends: tuple[np.ndarray | None, np.ndarray | None] = (None, None)
    intervals = {}
    if few >= ENOUGH and whole.any():
        judged_RP, true_RP = judged_RP[whole], true_RP[whole]
        intervals = {name: middle(value_R) for name, value_R in statistics(judged_RP, true_RP).items()}
        ends = _ends(judged_RP), _ends(true_RP)
    return Ranking(judged_P, true_P, *ends, values, intervals, int(finite_PO.any(axis=0).sum()), int(finite_PO.sum()))


def _ends(values_RP: np.ndarray) -> np.ndarray:
    return np.asarray(np.percentile(values_RP, [2.5, 97.5], axis=0).T)


def statistics(judged_RP: np.ndarray, true_RP: np.ndarray) -> dict[str, np.ndarray]:
    """Each statistic `[R]` of judged and true scores `[R, P]`. A correlation with scores that are all equal is 0."""
    blocks = []
    for begin in range(0, len(true_RP), _BLOCK):
        pair = judged_RP[begin : begin + _BLOCK], true_RP[begin : begin + _BLOCK]
        blocks.append((_correlation(*pair), _correlation(*map(_ranks, pair)), _violation(*pair)))
    return {name: np.concatenate(of) for name, of in zip(STATISTICS, zip(*blocks, strict=True), strict=True)}


def halves(true_PO: np.ndarray) -> dict[str, float]:
    """What one half of the observations says of the other, both in the true world, averaged over random halves.

    No judge can be expected to do better on as many observations as half of these.
    """
    rng, pairs = np.random.default_rng(0), []
    count = true_PO.shape[1]
    for _ in range(_HALVES):
        order = rng.permutation(count)
        parts = (true_PO[:, order[: count // 2]], true_PO[:, order[count // 2 :]])
        means = [_mean(part) for part in parts]
        if all(np.isfinite(mean_P).all() for mean_P in means):
            pairs.append(means)
    if not pairs:
        return {}
    first_RP, second_RP = (np.stack(each) for each in zip(*pairs, strict=True))
    return {name: float(value_R.mean()) for name, value_R in statistics(first_RP, second_RP).items()}


def _means(values_PO: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The means of what is there, `[P]`, and those of each resample of observations, `[R, P]`."""
    finite_PO = np.isfinite(values_PO)
    sums_R2P = resampled_means(np.concatenate([np.where(finite_PO, values_PO, 0), finite_PO]).T, seed)
    count = len(values_PO)
    with np.errstate(invalid="ignore"):
        return _mean(values_PO), sums_R2P[:, :count] / sums_R2P[:, count:]


def _mean(values_PO: np.ndarray) -> np.ndarray:
    finite_PO = np.isfinite(values_PO)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(finite_PO, values_PO, 0).sum(axis=1) / finite_PO.sum(axis=1))


def _correlation(first_RP: np.ndarray, second_RP: np.ndarray) -> np.ndarray:
    (first, varies), (second, too) = map(_spread, (first_RP, second_RP))
    return np.where(varies & too, (first * second).sum(axis=1), 0.0)


def _spread(values_RP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values about their mean with length 1, and whether they differ at all beyond rounding."""
    about_RP = values_RP - values_RP.mean(axis=1, keepdims=True)
    length_R1 = np.linalg.norm(about_RP, axis=1, keepdims=True)
    differ_R1 = length_R1 > 1e-9 * np.linalg.norm(values_RP, axis=1, keepdims=True)
    return about_RP / np.where(differ_R1, length_R1, 1), differ_R1[:, 0]


def _ranks(values_RP: np.ndarray) -> np.ndarray:
    first, second = values_RP[:, :, None], values_RP[:, None, :]
    return np.asarray((second < first).sum(axis=2) + (second == first).sum(axis=2) / 2)


def _violation(judged_RP: np.ndarray, true_RP: np.ndarray) -> np.ndarray:
    def before(values_RP: np.ndarray) -> np.ndarray:
        return np.asarray(values_RP[:, :, None] < values_RP[:, None, :])

    apart_RPP = np.abs(true_RP[:, :, None] - true_RP[:, None, :])
    wrong_RPP = before(judged_RP) != before(true_RP)
    return np.asarray((apart_RPP * wrong_RPP).max(axis=2).mean(axis=1))
