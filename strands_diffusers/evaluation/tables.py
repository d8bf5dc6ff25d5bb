"""Tables over a finished sweep: what was measured over a set of observations, and against each key that was swept.

A row is one measured value: its mean with a 95 % interval, the trivial baselines over the same rollouts, and the
official pass line where there is one. Seeds and samples of one observation are averaged first.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strands_diffusers.evaluation.bootstrap import ENOUGH, RESAMPLES, SEED, interval
from strands_diffusers.evaluation.rounding import rounded
from strands_diffusers.lazy import np
from strands_diffusers.plugin.base import UNDECLARED, Measure
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Axis, Record, SampleRecord, swept, write_text

PASS_LINES: Mapping[tuple[str, str], float] = {("video", "psnr"): 14.0, ("action", "mse"): 0.05}
"""Of the official examples, which hold them for forward dynamics and policy (PSNR [dB]), inverse dynamics and policy
(MSE in model space)."""

SEED_KEYS = ("seed", "sampler.num_samples")
"""What draws another rollout of the same request."""

CSV, MARKDOWN = "evaluation.csv", "evaluation.md"


@dataclass
class Row:
    """One value of a metric over the rollouts of one group: a row of a table, a point of a plot."""

    metric: str
    value: str
    measure: Measure
    group: Mapping[str, str]
    """What the rollouts have in common, of what was swept: label and value."""

    over: str = "observations"
    """What is averaged over: `observations`, or `seeds` of one observation."""

    found: dict[str, list[float]] = field(default_factory=dict)
    """The numbers of each observation, or seed."""

    baselines: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many observations, or seeds, there are."""
        return len(self.found)

    @property
    def mean(self) -> float:
        """Mean over observations, or seeds."""
        return float(_means(self.found).mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The mean's 95 % interval; None for fewer than 5 observations or seeds."""
        return interval(_means(self.found))

    @property
    def of_rollouts(self) -> bool:
        """Whether some observation is a model's own rollout: comparing with that is no score of a prediction."""
        return self.over == "observations" and any(source.startswith("run:") for source in self.found)

    def cells(self) -> dict[str, Any]:
        """The row's cells by column name, in order; numbers rounded to 4 digits."""
        low, high = self.interval or (None, None)
        line = None if self.of_rollouts else PASS_LINES.get((self.metric, self.value))
        passed = line is not None and (self.mean >= line if self.measure.better == "higher" else self.mean <= line)
        numbers = {"mean": self.mean, "95 % low": low, "95 % high": high}
        numbers |= {name.replace("_", " "): float(_means(of).mean()) for name, of in self.baselines.items()}
        return {
            "value": self.value,
            **self.group,
            "unit": self.measure.unit,
            "better": self.measure.better,
            self.over: self.count,
            **rounded(numbers),
            "pass line": line,
            "passes": None if line is None else "yes" if passed else "no",
        }


def over_observations(records: Sequence[Record]) -> list[Row]:
    """The rows over a set of observations, one for each combination of what else was swept; none below two observations.

    Rollouts without a reference, such as those of a policy under another task than the observation's, are not in it.
    """
    done = _measured(records)
    if len({_source(sample) for record in done for sample in record.samples if any(sample.metrics.values())}) < 2:
        return []
    return _rows(done, groups(done), "observations")


def compared_axes(records: Sequence[Record]) -> list[Axis]:
    """What was swept, observations and seeds aside: rollouts are averaged over those."""
    return [axis for axis in swept(records)[0] if axis.key not in ("observation", *SEED_KEYS)]


def groups(records: Sequence[Record]) -> list[dict[str, str]]:
    """The values of each job of what was swept, observations and seeds aside, by label."""
    axes = compared_axes(records)
    return [{axis.label: axis.values[axis.of_job[index]] for axis in axes} for index in range(len(records))]


def against(records: Sequence[Record], axis: Axis | str, metric: str | None = None) -> list[Row]:
    """What was measured against one swept key: a row for each of its values and each measured value.

    Only rollouts that every value of the key has count (the same observation, seed and other swept keys), so that the
    rows differ in nothing but the key. Means and intervals are over observations, seeds averaged first; with one
    observation, over seeds.

    Args:
        records: The jobs of one sweep or of several.
        axis: A swept key, as `records.swept` returns it, or its name: `sampler.guidance_scale`.
        metric: A metric (`video`), or one value of it (`video.psnr`); None: all.

    Returns: Each measured value's rows, in order of the key's values; none where the key was not swept, nothing was
        measured, or no two values of the key share a rollout.
    """
    done = _measured(records)
    axes = swept(done)[0]
    key = axis if isinstance(axis, str) else axis.key
    own = next((each for each in axes if key in (each.key, each.label)), None)
    if own is None:
        return []
    others = [each for each in axes if each is not own and each.key not in SEED_KEYS]

    def rest(job: int, sample: SampleRecord) -> tuple[Any, ...]:
        return (_source(sample), sample.seed, *(each.of_job[job] for each in others))

    have: dict[tuple[Any, ...], set[int]] = {}
    for job, record in enumerate(done):
        for sample in record.samples:
            if any(sample.metrics.values()):
                have.setdefault(rest(job, sample), set()).add(own.of_job[job])
    present = set().union(*have.values()) if have else set()
    shared = {cell for cell, values in have.items() if values == present}
    if not shared or len(present) < 2:
        return []
    over = "observations" if len({cell[0] for cell in shared}) > 1 else "seeds"
    values = [{own.label: own.values[place]} for place in own.of_job]
    rows = _rows(done, values, over, lambda job, sample: rest(job, sample) in shared)
    chosen = [row for row in rows if metric in (None, row.metric, f"{row.metric}.{row.value}")]
    order = list(dict.fromkeys((row.metric, row.value) for row in chosen))
    return sorted(
        chosen, key=lambda row: (order.index((row.metric, row.value)), own.values.index(row.group[own.label]))
    )


def tables(records: Sequence[Record], total: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The tables of a sweep of `total` jobs: `{name, columns, rows, note}` each, and all their rows for the CSV file."""
    done = _measured(records)
    axes = compared_axes(done)
    missing = (
        f" {total - len(done)} of {total} jobs left no measurement and are not in it." if len(done) < total else ""
    )
    overall = over_observations(done)
    named = [("evaluation", overall)]
    if len(axes) > 1 or not overall:  # one swept key over observations is the table above
        named += [(f"by {axis.label}", against(done, axis)) for axis in axes]
    made, rows = [], []
    for name, some in named:
        for metric in dict.fromkeys(row.metric for row in some):
            of_metric = [row for row in some if row.metric == metric]
            cells = [row.cells() for row in of_metric]
            columns = [c for c in _columns(cells) if any(row.get(c) not in (None, "") for row in cells)]
            lines = [[row.get(column) for column in columns] for row in cells]
            note = _note(of_metric, name) + missing
            made.append({"name": f"{name}: {metric}", "columns": columns, "rows": lines, "note": note})
            rows += [{"table": name, "metric": metric, **row} for row in cells]
    return made, rows


def write(directory: Path, made: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write `evaluation.csv` (all rows, with the names of table and metric) and `evaluation.md` (a table per metric)."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _columns(rows), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    text = "\n".join(_markdown(table) for table in made)
    return [write_text(directory / CSV, stream.getvalue()), write_text(directory / MARKDOWN, text)]


def _measured(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if r.done and any(any(sample.metrics.values()) for sample in r.samples)]


def _source(sample: SampleRecord) -> str:
    return str(sample.observation.get("source") or "")


def _rows(
    records: Sequence[Record],
    groups: Sequence[Mapping[str, str]],
    over: str,
    counts: Callable[[int, SampleRecord], bool] = lambda job, sample: True,
) -> list[Row]:
    """The rows of the samples that count, in the order in which metrics declare their values."""
    declared = plugins().measures
    found: dict[tuple[Any, ...], Row] = {}
    for job, (record, group) in enumerate(zip(records, groups, strict=True)):
        for sample in record.samples:
            if not counts(job, sample):
                continue
            unit = _source(sample) if over == "observations" else str(sample.seed)
            for metric, values in sample.metrics.items():
                for value, number in values.items():
                    baseline = declared.get((metric, value), UNDECLARED).baseline
                    main = main_of(value, values) if baseline else value
                    measure = declared.get((metric, main), UNDECLARED)
                    if (measure is not UNDECLARED and measure.better == "neither") or not math.isfinite(number):
                        continue  # counts and shares are on the page, with each job
                    key = (metric, main, *group.items())
                    row = found.setdefault(key, Row(metric, main, measure, group, over))
                    of = row.baselines.setdefault(value.removeprefix(f"{main}_"), {}) if baseline else row.found
                    of.setdefault(unit, []).append(float(number))
    order = {key: place for place, key in enumerate(declared)}
    rows = [row for row in found.values() if row.found]
    return sorted(rows, key=lambda row: (row.metric, order.get((row.metric, row.value), len(order))))


def _markdown(table: Mapping[str, Any]) -> str:
    def row(cells: Sequence[Any]) -> str:
        return f"| {' | '.join('' if cell is None else str(cell).replace('|', '/') for cell in cells)} |"

    columns = table["columns"]
    body = [row(columns), row(["---"] * len(columns)), *(row(cells) for cells in table["rows"])]
    return "\n".join([f"## {table['name']}", "", table["note"], "", *body, ""])


def _note(some: Sequence[Row], name: str) -> str:
    over = some[0].over
    text = f"Means over {over}{' (seeds averaged first)' if over == 'observations' else ' of one observation'}"
    if any(row.interval for row in some):
        text += f"; 95 % intervals by bootstrap over {over}, {RESAMPLES:,} resamples, seed {SEED}"
    else:
        text += f"; no intervals: they need {ENOUGH} {over}"
    text += "; baselines over the same rollouts."
    if name != "evaluation":
        text += " Only rollouts that each value has (same observation, seed and other keys) count."
    if any(row.of_rollouts for row in some):
        text += " Observations are rollouts of a model: this is consistency, no score of a prediction."
    return text


def _columns(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The union of the rows' columns in order, the pass line last."""
    names = list(dict.fromkeys(name for row in cells for name in row))
    last = [name for name in ("pass line", "passes") if name in names]
    return [name for name in names if name not in last] + last


def main_of(baseline: str, values: Iterable[str]) -> str:
    """The value that a baseline belongs to: `psnr` of `psnr_repeat_first_frame`, `psnr_moving` of the longer name."""
    return max((name for name in values if baseline.startswith(f"{name}_")), key=len, default=baseline)


def _means(found: Mapping[str, list[float]]) -> np.ndarray:
    return np.array([float(np.mean(values)) for values in found.values()])
