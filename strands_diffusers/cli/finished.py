"""`report`, `measure` and `redraw`: what can be made of finished jobs, from their files, without a model."""

from __future__ import annotations

import time
from pathlib import Path

from strands_diffusers import records
from strands_diffusers.cli.terminal import parser, say, shown, write
from strands_diffusers.config import typed


def report(arguments: list[str]) -> int:
    """The page of a sweep or a job, written again; of several sweeps, one page that compares them."""
    from strands_diffusers.report import write_report

    options_of = parser("report", report.__doc__)
    options_of.add_argument("directory", nargs="+", help="the folder of a sweep or a job")
    folders = [Path(each).expanduser().absolute() for each in options_of.parse_args(arguments).directory]
    write(str(write_report(*folders)))
    return 0


def measure(arguments: list[str]) -> int:
    """Measure finished jobs again, from their files: strands-diffusers measure DIR... metric=[video,action]."""
    return _again("measure", "metric", arguments, measure.__doc__)


def redraw(arguments: list[str]) -> int:
    """Draw finished jobs again, from their files: strands-diffusers redraw DIR... visualizer=[timeseries]."""
    return _again("redraw", "visualizer", arguments, redraw.__doc__)


def _again(verb: str, group: str, arguments: list[str], summary: str | None) -> int:
    from strands_diffusers.plugin.choices import prepare
    from strands_diffusers.runner import again
    from strands_diffusers.runner import summary as sweeps

    options_of = parser(verb, summary)
    options_of.add_argument(
        "what", nargs="+", metavar="DIR", help="folders of jobs or sweeps, then overrides KEY=VALUE"
    )
    options_of.add_argument("--workers", type=int, help="jobs side by side; default: one per core")
    options_of.add_argument("--anew", action="store_true", help="also what is there already, with equal options")
    options = options_of.parse_args(arguments)
    prepare()
    overrides = [word for word in options.what if "=" in word and not Path(word).exists()]
    folders = [Path(word).expanduser().absolute() for word in options.what if word not in overrides]
    started, counts, problems = time.monotonic(), {"done": 0, "skipped": 0, "failed": 0}, 0
    for one in again.each(folders, group, typed.as_typed(overrides), options.workers, options.anew):
        counts[one.status] += 1
        mine = [p for p in one.record.problems if p.what.startswith(f"{group} ")]
        problems += len(mine)
        for line in ([one.error] if one.error else []) + [f"problem: {problem}" for problem in mine]:
            say(f"{shown(one.record.directory)}: {line}")
    for folder in folders:
        if (folder / records.SWEEP).is_file():
            sweeps.conclude(folder)
    ended = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    say(f"{verb}: {ended} in {time.monotonic() - started:.1f} s")
    return 1 if counts["failed"] or problems else 0
