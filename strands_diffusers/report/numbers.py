"""The numbers of the page: metrics with their directions, metrics against what was swept, verdicts, tables, panels."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from strands_diffusers.errors import StrandsDiffusersError, one_line
from strands_diffusers.evaluation.bootstrap import interval
from strands_diffusers.evaluation.tables import SEED_KEYS, Row, against
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import UNDECLARED, Panel, Table
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import SWEEP, Axis, Metrics, Record, flat
from strands_diffusers.records.sweep import Entries
from strands_diffusers.report.addresses import address
from strands_diffusers.report.curves import rounded
from strands_diffusers.report.sweeps import FOLDER

Json = dict[str, Any]

MAX_VALUES = 24
"""A key with more values than this is not drawn: its marks could not be told apart."""

PANEL_LIMIT_S = 60.0
"""How long a plugin's panel may take [s]."""


def metric_columns(measured: Iterable[Metrics]) -> list[Json]:
    """Return the measured values in the order in which their metrics declare them.

    `of` is the place of the value that a value is a variant of (a baseline, one body): that whose name it begins with.
    A table first shows those that are better in one direction and no variant. A metric whose plugin is not installed
    any more has no direction: nothing of it is called best.
    """
    found: dict[tuple[str, str], None] = {}
    for metrics in measured:
        found |= dict.fromkeys((metric, value) for metric, values in metrics.items() for value in values)
    declared = plugins().measures
    order = {key: index for index, key in enumerate(declared)}
    keys = sorted(found, key=lambda key: (key not in order, order.get(key, 0)))
    columns = []
    for key in keys:
        measure, of = declared.get(key, UNDECLARED), _main(key, keys)
        columns.append(
            {
                "metric": key[0],
                "value": key[1],
                "unit": measure.unit,
                "better": measure.better,
                "meaning": measure.meaning,
                "of": of,
                "baseline": measure.baseline,
                "main": of is None and (measure.better != "neither" or measure is UNDECLARED),
            }
        )
    return columns


def _main(key: tuple[str, str], keys: Sequence[tuple[str, str]]) -> int | None:
    """The place of the value with the shortest name that this one's name continues, of the same metric."""
    metric, value = key
    starts = [other for other in keys if other[0] == metric and value.startswith(f"{other[1]}_")]
    return keys.index(min(starts, key=lambda other: len(other[1]))) if starts else None


def by_key(records: Sequence[Record], axes: Sequence[Axis], columns: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return each score against each swept key, `[{axis, metric, over, paired, points}]`.

    `metric` is a place in `columns`; a point is `{at, mean, low, high, n, baselines}` with `at` the place of the key's
    value. Means are over rollouts that every value of the key has, seeds averaged first; without such rollouts there
    are no points, and the page draws the single jobs alone. Where nothing but seeds was swept, the axis is None and the
    one point is over all seeds.
    """
    scores = [index for index, column in enumerate(columns) if column["main"] and column["better"] != "neither"]
    keys = [(place, axis) for place, axis in enumerate(axes) if axis.key not in SEED_KEYS]
    if not keys and axes:
        return [chart for index in scores if (chart := _over_seeds(records, columns[index], index))]
    charts, drawn = [], set()
    for place, axis in keys:
        if len(axis.values) > MAX_VALUES:
            continue
        rows: dict[tuple[str, str], list[Row]] = {}
        for row in _against(records, axis.key):
            rows.setdefault((row.metric, row.value), []).append(row)
        if not rows and axis.of_job in drawn:
            continue  # another key with as little to compare divides the jobs alike
        drawn.add(axis.of_job)
        for index in scores:
            some = rows.get((columns[index]["metric"], columns[index]["value"]), [])
            points = [
                _point(axis.values.index(next(iter(row.group.values()))), row.mean, row.interval, row.count,
                       {name: _mean(map(_mean, of.values())) for name, of in row.baselines.items()})
                for row in some
            ]  # fmt: skip
            charts.append({"axis": place, "metric": index, "over": some[0].over if some else "", "points": points})
    return charts


def _against(records: Sequence[Record], key: str) -> list[Row]:
    """The rows against a key, paired within each folder where the folders share rollouts, else over all of them."""
    if rows := against(records, key):
        return rows
    whole = [replace(r, overrides=tuple(o for o in r.overrides if not o.startswith(f"{FOLDER}="))) for r in records]
    return against(whole, key)


def _point(
    at: int, mean: float, ends: tuple[float, float] | None, count: int, baselines: Mapping[str, float] | None = None
) -> Json:
    low, high = (None, None) if ends is None else map(rounded, ends)
    drawn = [[name, rounded(value)] for name, value in (baselines or {}).items()]
    return {"at": at, "mean": rounded(mean), "low": low, "high": high, "n": count, "baselines": drawn}


def _over_seeds(records: Sequence[Record], column: Mapping[str, Any], index: int) -> Json | None:
    """One score over all rollouts of a sweep over seeds."""
    samples = [sample for record in records for sample in record.samples]
    found = [sample.metrics.get(column["metric"], {}).get(column["value"]) for sample in samples]
    values = [number for number in found if number is not None and number == number]
    if len(values) < 2:
        return None
    points = [_point(0, _mean(values), interval(values), len(values))]
    return {"axis": None, "metric": index, "over": "seeds", "points": points}


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def verdicts(sweep: Entries, prose: Callable[[str], str]) -> list[Json]:
    """Return the verdicts of a sweep, `[{name, verdict, holds, numbers: [[label, value]]}]`."""
    return [
        {
            "name": each["name"],
            "verdict": prose(each["verdict"]),
            "holds": None if each.get("holds") is None else each["holds"] is True,
            "numbers": [[_words(key), prose(value)] for key, value in flat(each["numbers"]).items()],
        }
        for each in sweep.get("verdicts", ())
    ]


def _words(key: str) -> str:
    """`policy.video_moving_levels` as `policy: video moving levels`."""
    return re.sub(r"\.", ": ", key).replace("_", " ")


def tables(sweep: Entries) -> list[Json]:
    """Return the tables of a sweep, `[{name, columns: [text], rows: [[value]], note}]`.

    Those against one swept key are left out: the page computes and draws them itself.
    """
    return [
        _table(each["name"], each["columns"], each["rows"], str(each.get("note") or ""))
        for each in sweep.get("tables", ())
        if not each["name"].startswith("by ")
    ]


def _table(name: str, columns: Sequence[Any], rows: Sequence[Sequence[Any]], note: str) -> Json:
    cells = [[_cell(value) for value in row] for row in rows]
    return {"name": name, "columns": [str(column) for column in columns], "rows": cells, "note": note}


def _cell(value: Any) -> Any:
    """A finite number stays one; anything else becomes text, nothing an empty cell."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf"):
        return value
    return flat({"": value}).popitem()[1] if not isinstance(value, float) else str(value)


def pictures(sweep: Entries, directory: Path, notes: list[str]) -> list[Json]:
    """Return the pictures of a sweep that lie inside `directory`, as `{name, href}`."""
    found = []
    for item in sweep.get("pictures", ()):
        try:
            path = directory / item["path"]
            inside = path.resolve().is_relative_to(directory.resolve()) and path.is_file()
        except (ValueError, OSError):
            inside = False
        if inside:
            found.append({"name": item["name"], "href": address(path, directory)})
        else:
            notes.append(f"{item['path']}, a picture that {SWEEP} names, is not in its folder: left out.")
    return found


def panels(directory: Path, records: Sequence[Record], notes: list[str]) -> list[Json]:
    """Return what plugins show of the records: `[{title, table}]` or `[{title, html}]`. One that fails is named."""
    found = []
    for entry in plugins().registrations:
        if entry.group != "panel":
            continue
        panel: type[Panel] = entry.value
        what = f"panel {entry.name}"
        call = partial(_content, panel, directory, records)
        try:
            content = guard.panel(entry.plugin, what, call, limit_s=PANEL_LIMIT_S)
        except StrandsDiffusersError as error:
            said = one_line(error, 300)
            notes.append(said if isinstance(error, guard.PluginFault) else f"{what}: {said}")
            continue
        if isinstance(content, Table):
            found.append({"title": panel.title, "table": _table("", content.columns, content.rows, content.note)})
        elif content is not None:
            found.append({"title": panel.title, "html": content})
    return found


def _content(panel: type[Panel], directory: Path, records: Sequence[Record]) -> Any:
    return panel().content(directory, records)
