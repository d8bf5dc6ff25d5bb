"""The numbers of the page: metrics with their directions, and what an evaluation left in `sweep.json`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.plugin.base import Measure
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.report.axes import flat, text
from strands_diffusers.report.entries import address
from strands_diffusers.report.folder import Job

Json = dict[str, Any]


def metrics_of(job: Job) -> Mapping[str, Mapping[str, float]]:
    """What was measured: `{metric: {value name: value}}`."""
    record = job.manifest or job.row
    return record.get("metrics") or {}


def metric_columns(jobs: Sequence[Job]) -> list[Json]:
    """Return the measured values in the order in which their metrics declare them.

    `of` is the place of the value that a value is a variant of (a baseline, one body): that whose name it begins with.
    A table first shows those that are better in one direction and no variant. A metric whose plugin is not installed
    any more has no direction: nothing of it is called best.
    """
    found: dict[tuple[str, str], None] = {}
    for job in jobs:
        found |= dict.fromkeys((metric, value) for metric, values in metrics_of(job).items() for value in values)
    declared: dict[tuple[str, str], Measure] = {
        (name, value): measure
        for name, metric in plugins().classes("metric").items()
        for value, measure in metric.measures.items()
    }
    order = {key: index for index, key in enumerate(declared)}
    keys = sorted(found, key=lambda key: (key not in order, order.get(key, 0)))
    unknown = Measure("", "neither", "The plugin that measured this is not installed where this page was made.")
    columns = []
    for key in keys:
        measure = declared.get(key, unknown)
        of = _main(key, keys)
        columns.append(
            {
                "metric": key[0],
                "value": key[1],
                "unit": measure.unit,
                "better": measure.better,
                "meaning": measure.meaning,
                "of": of,
                "main": of is None and (measure.better != "neither" or measure is unknown),
            }
        )
    return columns


def _main(key: tuple[str, str], keys: Sequence[tuple[str, str]]) -> int | None:
    """The place of the value with the shortest name that this one's name continues, of the same metric."""
    metric, value = key
    starts = [other for other in keys if other[0] == metric and value.startswith(f"{other[1]}_")]
    return keys.index(min(starts, key=lambda other: len(other[1]))) if starts else None


def verdicts(sweep: Mapping[str, Any], notes: list[str]) -> list[Json]:
    """Return `sweep.json`'s `verdicts`: `[{name, verdict, numbers: {name: value}}]`, one line each for people."""
    found = []
    for item in sweep.get("verdicts") or ():
        try:
            numbers = [[key, value] for key, value in flat(item["numbers"]).items()]
            found.append({"name": str(item["name"]), "verdict": str(item["verdict"]), "numbers": numbers})
        except (KeyError, TypeError, AttributeError):
            notes.append("sweep.json holds a verdict that is not {name, verdict, numbers}: left out.")
    return found


def tables(sweep: Mapping[str, Any], notes: list[str]) -> list[Json]:
    """Return `sweep.json`'s `tables`: `[{name, columns: [text], rows: [[value]], note}]`, `note` optional."""
    found = []
    for item in sweep.get("tables") or ():
        try:
            columns = [str(column) for column in item["columns"]]
            rows = [[_cell(value) for value in row] for row in item["rows"]]
            found.append(
                {"name": str(item["name"]), "columns": columns, "rows": rows, "note": str(item.get("note") or "")}
            )
        except (KeyError, TypeError, AttributeError):
            notes.append("sweep.json holds a table that is not {name, columns, rows}: left out.")
    return found


def pictures(sweep: Mapping[str, Any], directory: Path, notes: list[str]) -> list[Json]:
    """Return `sweep.json`'s `pictures` of the whole, `[{name, path}]` with paths inside `directory`, as `{name, href}`."""
    found = []
    for item in sweep.get("pictures") or ():
        try:
            path = directory / item["path"]
            inside = path.resolve().is_relative_to(directory.resolve())
            if inside and path.is_file():
                found.append({"name": str(item["name"]), "href": address(path, directory)})
            else:
                notes.append(f"{item['path']}, a picture that sweep.json names, is not in its folder: left out.")
        except (KeyError, TypeError):
            notes.append("sweep.json holds a picture that is not {name, path}: left out.")
    return found


def _cell(value: Any) -> Any:
    """A number stays one; anything else becomes text, nothing an empty cell."""
    if value is None:
        return ""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text(value)
