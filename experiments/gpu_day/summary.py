"""All results as one page of Markdown."""

from __future__ import annotations

from typing import Any

from .plan import PARTS


def markdown(runs: dict[str, Any]) -> str:
    """A section per device and code: a line per part, Nano's table and the aims."""
    lines = ["# The day a GPU was there", ""]
    for key, run in runs.items():
        dry = ", a dry run at tiny sizes: no number below means anything" if run.get("dry_run") else ""
        lines += [f"## {key} (commit {run.get('commit')}, {run.get('time')}{dry})", ""]
        lines += ["| part | status | seconds | result |", "|---|---|---|---|"]
        for part in PARTS:
            result = run["parts"].get(part.name, {"status": "not run", "line": f"would show: {part.shows}"})
            lines.append(
                f"| {part.name} | {result['status']} | {result.get('seconds', '')} | {_cell(result.get('line', ''))} |"
            )
        lines += ["", *_nano(run["parts"].get("nano", {}))]
    return "\n".join(lines) + "\n"


def _nano(result: dict[str, Any]) -> list[str]:
    if "aims" not in result:
        return []
    lines = ["| aim | measured | aim | reached | published |", "|---|---|---|---|---|"]
    for aim in result["aims"]:
        measured = "" if aim["measured"] is None else f"{aim['measured']:.2f} {aim['unit']}"
        reached = {None: "", True: "yes", False: "no"}[aim["reached"]]
        lines.append(f"| {aim['name']} | {measured} | {aim['aim']} {aim['unit']} | {reached} | {aim['published']} |")
    return [*lines, "", result["table"]]


def _cell(text: str) -> str:
    return str(text).replace("|", "/").replace("\n", " ")
