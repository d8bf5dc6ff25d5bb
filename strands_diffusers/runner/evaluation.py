"""Evaluation over a set: a sweep over observations, summed up in one table per metric.

Each row is one measured value for one combination of whatever else was swept (model, condition, sampler, ...): its mean
over the observations, seeds averaged first, with a 95 % interval, the trivial baselines over the same observations, and
the official pass line where there is one.
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from strands_diffusers.lazy import np
from strands_diffusers.outputs.horizon import MAX_CURVES, Curve
from strands_diffusers.plugin.base import Measure
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.report.axes import axes
from strands_diffusers.report.folder import Job
from strands_diffusers.runner import futures
from strands_diffusers.runner.bootstrap import RESAMPLES, SEED, interval

BASELINES = ("repeat_first_frame", "no_motion", "mean_action")
"""How a metric names the baseline of a value: `psnr_repeat_first_frame` is that of `psnr`."""

PASS_LINES: Mapping[tuple[str, str], float] = {("video", "psnr"): 14.0, ("action", "mse"): 0.05}
"""Of the official examples, which hold them for forward dynamics and policy (PSNR [dB]), inverse dynamics and policy
(MSE in model space)."""

_SAME = ("observation", "seed", "sampler.num_samples")
"""What a row averages over."""

CSV, MARKDOWN, HORIZON = "evaluation.csv", "evaluation.md", "horizon.png"


@dataclass
class Line:
    """One row of a table: one value of a metric over the observations of one group."""

    metric: str
    value: str
    group: Mapping[str, str]
    measure: Measure
    by_observation: dict[str, list[float]] = field(default_factory=dict)
    baselines: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def own(self) -> bool:
        """Whether some observation is a model's own rollout: comparing with that is no score of a prediction."""
        return any(source.startswith("run:") for source in self.by_observation)

    def cells(self) -> dict[str, Any]:
        """The row's cells by column name, in order; numbers rounded to 4 digits."""
        means = _means(self.by_observation)
        low, high = interval(means)
        line = None if self.own else PASS_LINES.get((self.metric, self.value))
        passed = None
        if line is not None:
            passed = means.mean() >= line if self.measure.better == "higher" else means.mean() <= line
        return {
            "value": self.value,
            **self.group,
            "unit": self.measure.unit,
            "better": self.measure.better,
            "observations": len(means),
            "mean": _round(means.mean()),
            "95 % low": _round(low),
            "95 % high": _round(high),
            **{name.replace("_", " "): _round(_means(values).mean()) for name, values in self.baselines.items()},
            "pass line": line,
            "passes": None if passed is None else "yes" if passed else "no",
        }


def lines(jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Line]:
    """The rows of all tables, in the order in which metrics declare their values; none below two observations."""
    measured = [(folder, record) for folder, record in jobs if record["metrics"]]
    sources = [str(record["rollout"]["observation"]["source"]) for _, record in measured]
    if len(set(sources)) < 2:
        return []
    groups = _groups(measured)
    declared = {
        (name, value): measure
        for name, metric in plugins().classes("metric").items()
        for value, measure in metric.measures.items()
    }
    found: dict[tuple[Any, ...], Line] = {}
    for (_, record), source, group in zip(measured, sources, groups, strict=True):
        for metric, values in record["metrics"].items():
            for value, number in values.items():
                main, baseline = _split(value, values)
                measure = declared.get((metric, main), Measure("", "neither", ""))
                if (metric, main) in declared and measure.better == "neither":
                    continue  # counts and shares: the jobs' own pages have them
                line = found.setdefault((metric, main, *group.values()), Line(metric, main, group, measure))
                of = line.by_observation if baseline is None else line.baselines.setdefault(baseline, {})
                of.setdefault(source, []).append(float(number))
    order = {key: place for place, key in enumerate(declared)}
    rows = [line for line in found.values() if line.by_observation]
    return sorted(rows, key=lambda line: (line.metric, order.get((line.metric, line.value), len(order))))


def _groups(jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[dict[str, str]]:
    """What was swept besides observation and seed, and each job's value of it."""
    swept, _ = axes([Job(folder.name, "done", folder, record) for folder, record in jobs])
    others = [axis for axis in swept if axis.key not in _SAME]
    return [{axis.label: axis.values[axis.of_job[index]] for axis in others} for index in range(len(jobs))]


def along_horizon(jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Curve]:
    """The error of predicted actions at each step, a curve for each group, and that of the true mean action last.

    As in the tables, seeds are averaged first; bands are the 95 % intervals over observations, for up to three curves.
    Empty where no job predicted actions whose truth is known. Every step that all observations of a curve reach counts.
    """
    labels = {folder.name: group for (folder, _), group in zip(jobs, _groups(jobs), strict=True)}
    errors: dict[str, dict[str, list[np.ndarray]]] = {}
    baseline: dict[str, list[np.ndarray]] = {}
    for future in futures.read(jobs):
        truth = future.entry.get("reference_action")
        rows_TD = future.rows() if truth else None
        if rows_TD is None:
            continue
        true_TD = np.concatenate(np.asarray(truth, np.float64))
        group = labels[future.job]
        label = " · ".join(group.values() if len(group) > 1 else map(" ".join, group.items())) or "predicted"
        source = str(future.entry["observation"]["source"])
        errors.setdefault(label, {}).setdefault(source, []).append(np.abs(rows_TD - true_TD).mean(axis=1))
        baseline.setdefault(source, []).append(np.abs(true_TD.mean(axis=0) - true_TD).mean(axis=1))
    if not errors or len(errors) >= MAX_CURVES:
        return []
    curves = [_curve(label, of, banded=len(errors) <= 3) for label, of in errors.items()]
    return [*curves, replace(_curve("the true actions' own mean", baseline, banded=False), baseline=True)]


def _curve(label: str, by_observation: Mapping[str, list[np.ndarray]], *, banded: bool) -> Curve:
    steps = min(len(error_T) for errors in by_observation.values() for error_T in errors)
    error_OT = np.stack([np.mean([e[:steps] for e in errors], axis=0) for errors in by_observation.values()])
    band = None
    if banded and len(error_OT) > 1:
        band = np.array([interval(error_O) for error_O in error_OT.T], np.float64)
    return Curve(label, error_OT.mean(axis=0), band)


def tables(found: Sequence[Line], jobs: int, total: int) -> list[dict[str, Any]]:
    """One table per metric, as `sweep.json` and the page hold them: `{name, columns, rows, note}`."""
    made = []
    for metric in dict.fromkeys(line.metric for line in found):
        some = [line for line in found if line.metric == metric]
        cells = [line.cells() for line in some]
        columns = [c for c in _columns(cells) if any(row.get(c) not in (None, "") for row in cells)]
        rows = [[row.get(column) for column in columns] for row in cells]
        made.append(
            {"name": f"evaluation: {metric}", "columns": columns, "rows": rows, "note": _note(some, jobs, total)}
        )
    return made


def write(directory: Path, found: Sequence[Line], made: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Write `evaluation.csv` (all rows, with the metric's name) and `evaluation.md` (a table per metric)."""
    cells = [{"metric": line.metric, **line.cells()} for line in found]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _columns(cells), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(cells)
    text = "\n".join(_markdown(table) for table in made)
    return [_replace(directory / CSV, stream.getvalue()), _replace(directory / MARKDOWN, text)]


def _replace(path: Path, text: str) -> Path:
    """Write beside the file and rename: readers see a whole file."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    partial.write_text(text, encoding="utf-8")
    return partial.replace(path)


def _markdown(table: Mapping[str, Any]) -> str:
    def row(cells: Sequence[Any]) -> str:
        return f"| {' | '.join('' if cell is None else str(cell).replace('|', '/') for cell in cells)} |"

    columns = table["columns"]
    body = [row(columns), row(["---"] * len(columns)), *(row(cells) for cells in table["rows"])]
    return "\n".join([f"## {table['name']}", "", table["note"], "", *body, ""])


def _note(some: Sequence[Line], jobs: int, total: int) -> str:
    own = (
        " Observations are rollouts of a model: this is consistency, no score of a prediction."
        if any(line.own for line in some)
        else ""
    )
    missing = f" {total - jobs} of {total} jobs left no measurement and are not in it." if jobs < total else ""
    return (
        "Means over observations (seeds averaged first); 95 % intervals by bootstrap over observations, "
        f"{RESAMPLES:,} resamples, seed {SEED}; baselines over the same jobs.{missing}{own}"
    )


def _columns(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The union of the rows' columns in order, the pass line last."""
    names = list(dict.fromkeys(name for row in cells for name in row))
    last = [name for name in ("pass line", "passes") if name in names]
    return [name for name in names if name not in last] + last


def _split(value: str, values: Mapping[str, float]) -> tuple[str, str | None]:
    """`psnr_repeat_first_frame` -> `psnr`, `repeat_first_frame`, where `psnr` was measured too."""
    for baseline in BASELINES:
        main = value.removesuffix(f"_{baseline}")
        if main != value and main in values:
            return main, baseline
    return value, None


def _means(by_observation: Mapping[str, list[float]]) -> np.ndarray:
    return np.array([float(np.mean(values)) for values in by_observation.values()])


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
