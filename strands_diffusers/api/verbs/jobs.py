"""Finished jobs, from their files and without a model: measure them again, draw them again, show them on a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from strands_diffusers.api.request import Reply, Request, ok, only
from strands_diffusers.errors import ConfigError, StrandsDiffusersError


def measure(request: Request) -> Reply:
    """Measure the jobs of `inputs` again, with the metrics of `parameters.metric`, else with their own."""
    return _again(request, "metric")


def redraw(request: Request) -> Reply:
    """Draw the jobs of `inputs` again, with the visualizers of `parameters.visualizer`, else with their own."""
    return _again(request, "visualizer")


def report(request: Request) -> Reply:
    """Write one page that shows the jobs or sweeps of `inputs`."""
    from strands_diffusers.report.page import write_report

    only(request.parameters, {}, request.action)
    path = str(write_report(*_folders(request)))
    return ok(f"the page is {path}", data={"path": path}, artifacts=[path])


def _again(request: Request, group: str) -> Reply:
    from strands_diffusers.runner import again

    chosen = only(request.parameters, {group: (list, str), "anew": bool}, request.action)
    names = chosen.get(group, [])
    names = [names] if isinstance(names, str) else names
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ConfigError(f"{group}={name!r} is not the name of a {group}. Give a list of names.")
    overrides = [f"{group}=[{','.join(names)}]"] if names else []
    anew = chosen.get("anew", group == "visualizer")
    rows: list[dict[str, Any]] = []
    failed = 0
    for one in again.each(_folders(request), group, overrides, workers=1, anew=anew):
        request.control(request.action, len(rows), len(rows) + 1)
        failed += one.status == "failed"
        values = {"metrics": dict(one.record.metrics)} if group == "metric" else {}
        error = {"error": one.error} if one.error else {}
        rows.append({"directory": str(one.record.directory), "status": one.status, **error, **values})
    lines = [f"  {row['directory']}: {row['status']} {row.get('error', '')}".rstrip() for row in rows[:40]]
    if failed == len(rows):
        raise StrandsDiffusersError(f"{request.action} failed for every job: {rows[0].get('error', '')}")
    return ok("\n".join([f"{request.action}: {len(rows)} jobs, {failed} failed", *lines]), data=rows)


def _folders(request: Request) -> list[Path]:
    """The folders of `inputs`, one or a list, in which the verb may write."""
    given = [request.inputs] if isinstance(request.inputs, str | Path) else request.inputs
    if not isinstance(given, list | tuple) or not given or not all(isinstance(each, str | Path) for each in given):
        raise ConfigError(f"action='{request.action}' needs inputs=FOLDER, of a job or sweep, or a list of folders.")
    folders = [request.access.writable(each, "inputs") for each in given]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"inputs: {folder} is no folder.")
        request.access.readable(folder, "inputs")
    return folders
