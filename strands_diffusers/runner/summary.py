"""What a sweep leaves behind: `sweep.json`, its tables, its page and its tracker's summary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from strands_diffusers import evaluation, records
from strands_diffusers.errors import StrandsDiffusersError, first_few, one_line
from strands_diffusers.plugin import guard
from strands_diffusers.plugin.base import Tracker
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import Record
from strands_diffusers.runner.progress import Row, row_of
from strands_diffusers.runner.tracking import sweep_info

log = logging.getLogger(__name__)


def conclude(
    directory: Path,
    ended: Sequence[Row] = (),
    total: int | None = None,
    tracker: Tracker | None = None,
    *,
    resumed: bool = False,
) -> tuple[list[Row], list[str]]:
    """Write what a sweep of `total` jobs leaves behind; return a row for each job of its folder, and lines to show.

    `ended`: how this command's jobs ended, for those whose folder holds no record (a full disk). The folder's other jobs
    are another sweep's (`earlier`), unless this one goes on with it (`resumed`).
    """
    found = records.jobs(directory)
    now = {row.name: row for row in ended}
    other = "skipped" if resumed else "earlier"
    rows = [now.get(record.name) or row_of(record, other if record.done and now else None) for record in found]
    troubled = {record.name for record in found if record.problems}
    rows = [replace(row, problems=row.status == "done" and row.name in troubled) for row in rows]
    rows += [row for row in ended if row.name not in {record.name for record in found}]
    rows.sort(key=lambda row: records.record.by_number(Path(row.name)))
    notes = [record.error for record in found if record.status == "damaged"]
    notes += _references(found)
    judged = evaluation.judge(directory, found)
    notes += [f"{each.name}: {each.verdict}" for each in judged]
    kept = ("name", "verdict", "holds", "numbers")
    content = {"verdicts": [{name: getattr(each, name) for name in kept} for each in judged]}
    try:
        tables, files, pictures = evaluation.write_tables(directory, found, total or len(found), judged)
        content |= {"tables": tables, "pictures": pictures}
        notes += [f"tables: {path}" for path in files if path.suffix == ".md"]
        notes += [f"{each['name']}: {directory / each['path']}" for each in pictures]
    except (StrandsDiffusersError, OSError) as error:
        notes.append(f"the tables could not be written: {one_line(error)}")
    whole = {"schema_version": records.SCHEMA_VERSION, "finished": records.now(), "jobs": [asdict(row) for row in rows]}
    records.write_json(directory / records.SWEEP, whole | content | {"notes": notes})  # trackers and plugins read it
    told = len(notes)
    limits = [record.config["hook_timeout_s"] for record in found if "hook_timeout_s" in record.config]
    limit_s = limits[-1] if limits else guard.LIMIT_S
    problems = plugins().notify("on_sweep_end", limit_s=limit_s, directory=directory, records=found)
    if tracker:
        try:
            info = sweep_info(directory, found)
            notes += guard.run(
                "",
                f"tracker {tracker.name}",
                lambda: guard.listed(tracker.summarize(info, found), str),
                tracker.limit_s,
            )
        except StrandsDiffusersError as error:
            notes.append(f"the sweep could not be summarized: {one_line(error)}")
    notes += [str(problem) for problem in problems]
    if len(notes) > told:
        records.write_json(directory / records.SWEEP, whole | content | {"notes": notes})
    return rows, [*notes, page_note(directory)]


def page_note(directory: Path) -> str:
    """Write the page of a sweep or a job, and return the line that says where it is, or why it could not be written."""
    from strands_diffusers.report import write_report  # draws with numpy, which no other command needs

    try:
        return f"page: {write_report(directory)}"
    except (StrandsDiffusersError, OSError) as error:
        return f"the page could not be written: {one_line(error)}"


def _references(found: Sequence[Record]) -> list[str]:
    """What each job says of its reference, once, with the jobs that say it where others do not."""
    jobs: dict[str, list[str]] = {}
    for record in found:
        for line in dict.fromkeys(str(s.details["reference"]) for s in record.samples if s.details.get("reference")):
            jobs.setdefault(line, []).append(record.name)
    lines = []
    for line, names in jobs.items():
        lines.append(line if len(names) == len(found) else f"job {first_few(names, 8)}: {line}")
    return lines
