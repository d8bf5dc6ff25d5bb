"""Compute the statistics of a domain's columns from data of one's own, in one pass and constant memory.

Minimum, maximum, mean and standard deviation (of the population) are exact. Quantiles are exact for up to
`EXACT_VALUES` numbers; beyond that the rows are folded into at most `BINS` weighted points per column, fine at the ends
and coarse in the middle (a merging digest with the scale function arcsin(2q - 1)). What then comes out as q01 lies
between the true quantiles of 0.99 and 1.01 %, and q99 likewise (tested to half of that). Measured on 3 million rows,
normal, sorted, skewed, heavy-tailed, two-valued and drifting: ranks off by at most 0.0005 percentage points.

Letters: N rows, D columns.
"""

from typing import Any

from strands_diffusers import domains
from strands_diffusers.actions.poses import Array
from strands_diffusers.actions.statistics import ARRAYS, Statistics
from strands_diffusers.errors import ActionError
from strands_diffusers.lazy import np

EXACT_VALUES = 4_000_000
"""Numbers (rows times columns) that are kept as they are: 32 MB."""

BINS = 2000
"""Points per column that stand for all rows once they are too many."""

_QUANTILES = {"q01": 0.01, "q99": 0.99}


class Fit:
    """Statistics of rows that arrive in pieces."""

    def __init__(self, width: int, exact_values: int = EXACT_VALUES) -> None:
        self.width, self.rows = width, 0
        self._room = max(2 * BINS, exact_values // width)
        self._kept: list[Array] = []
        self._waiting = 0
        self._points: list[tuple[Array, Array]] = []
        """Per column: values in order, and how many rows each stands for."""
        self._min, self._max = np.full(width, np.inf), np.full(width, -np.inf)
        self._mean, self._squares = np.zeros(width), np.zeros(width)

    @property
    def exact(self) -> bool:
        """Whether the quantiles are those of the rows themselves."""
        return not self._points

    def add(self, rows_ND: Any) -> None:
        """Take in rows `[N, D]`; `ActionError` for another width or values that are not finite."""
        rows = np.asarray(rows_ND, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise ActionError(f"rows have shape {list(rows.shape)}; the domain needs [N, {self.width}].")
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            raise ActionError(f"row {self.rows + row} holds {rows[row, column]} in column {column}.")
        for begin in range(0, len(rows), self._room):
            self._take(rows[begin : begin + self._room].copy())

    def _take(self, rows: Array) -> None:
        count, total = len(rows), self.rows + len(rows)
        mean = rows.mean(0)
        gap = mean - self._mean  # Chan's update: no large sums to cancel
        self._squares += ((rows - mean) ** 2).sum(0) + gap**2 * (self.rows * count / total)
        self._mean += gap * (count / total)
        self._min, self._max = np.minimum(self._min, rows.min(0)), np.maximum(self._max, rows.max(0))
        self.rows = total
        self._kept.append(rows)
        self._waiting += count
        if self._waiting > self._room:
            self._fold()

    def _fold(self) -> None:
        """Let the rows that wait, and the points so far, become at most `BINS` points per column."""
        rows = np.concatenate(self._kept)
        old = self._points or [(np.empty(0), np.empty(0))] * self.width
        self._points = [_folded(*old[d], rows[:, d]) for d in range(self.width)]
        self._kept, self._waiting = [], 0

    def statistics(self, domain: str, source: str) -> Statistics:
        """Return what was found, as statistics of `domain`; `ActionError` for fewer than two rows."""
        if self.rows < 2:
            raise ActionError(f"{self.rows} rows of actions have no statistics. Give a dataset.")
        if self._points and self._kept:
            self._fold()
        if self._points:
            found = {name: self._estimate(q) for name, q in _QUANTILES.items()}
        else:
            rows = np.concatenate(self._kept)
            found = {name: np.quantile(rows, q, axis=0) for name, q in _QUANTILES.items()}
        std = np.sqrt(self._squares / self.rows)
        return Statistics(
            domains.get(domain).name, source, source, found["q01"], found["q99"], self._min, self._max, self._mean, std
        )

    def _estimate(self, q: float) -> Array:
        """The quantile between the points, each of which stands in the middle of its rows."""
        place = q * (self.rows - 1) + 0.5
        estimates = np.empty(self.width)
        for d, (values, weights) in enumerate(self._points):
            middles = np.concatenate([[0.5], np.cumsum(weights) - weights / 2, [self.rows - 0.5]])
            estimates[d] = np.interp(place, middles, np.concatenate([[self._min[d]], values, [self._max[d]]]))
        return estimates


def _folded(values: Array, weights: Array, fresh: Array) -> tuple[Array, Array]:
    """Merge points and fresh values into bins of equal width in arcsin(2q - 1), q the rank from 0 to 1."""
    values, weights = np.concatenate([values, fresh]), np.concatenate([weights, np.ones(len(fresh))])
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    ranks = (np.cumsum(weights) - weights / 2) / weights.sum()
    bins = np.floor(BINS * (np.arcsin(2 * ranks - 1) / np.pi + 0.5))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(bins)) + 1])
    total = np.add.reduceat(weights, starts)
    return np.add.reduceat(values * weights, starts) / total, total


def statistics_record(statistics: Statistics, **facts: Any) -> dict[str, Any]:
    """Return what a file that `load_statistics` reads holds, JSON-ready; `facts` stand beside the numbers."""
    known = domains.get(statistics.domain)
    record: dict[str, Any] = {"domains": [known.name], "source": statistics.source, **facts}
    record["columns"] = [column.name for column in known.columns]
    return record | {name: value.tolist() for name in ARRAYS if (value := getattr(statistics, name)) is not None}
