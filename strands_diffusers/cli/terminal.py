"""What the command shows: one line on an error, a table at the end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from strands_diffusers import records
from strands_diffusers.errors import ConfigError, clean
from strands_diffusers.plugin.base import UNDECLARED
from strands_diffusers.plugin.manager import plugins

if TYPE_CHECKING:
    import argparse

    from strands_diffusers.runner.progress import Row


class Formatter(logging.Formatter):
    """Lines of the log without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        """As Python's own, cleaned."""
        return clean(super().format(record))


def say(text: str) -> None:
    """Print to standard error, where a pipe does not see it; silent where that is closed."""
    if sys.stderr is None:
        return
    try:
        print(clean(text), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


def write(text: str) -> None:
    """Print a verb's answer to standard output."""
    sys.stdout.write(clean(text) + "\n")


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Rows as aligned columns; the last one is free."""
    listed = [tuple(row) for row in rows]
    widths = [max(len(row[i]) for row in listed) for i in range(len(listed[0]) - 1)] if listed else []
    cells = [[*(f"{c:<{w}}" for c, w in zip(row, widths, strict=False)), row[-1]] for row in listed]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def parser(verb: str, summary: str | None) -> argparse.ArgumentParser:
    """An argument parser for a verb, flags anywhere between words; a wrong argument is a `ConfigError` of one line."""
    import argparse

    class Parser(argparse.ArgumentParser):
        def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
            return self.parse_intermixed_args(args, namespace)

        def error(self, message: str) -> NoReturn:
            raise ConfigError(f"{message}. See strands-diffusers {verb} --help.")

    return Parser(prog=f"strands-diffusers {verb}", description=summary)


def table(outcome: Any) -> str:
    """What was written, as a short table; the metrics with unit and direction; problems; then the tracker's notes."""
    record: records.Record = outcome.record
    rows = []
    for entry in record.artifacts:
        shape = "x".join(map(str, entry.details.get("shape", ())))
        size = f"{entry.bytes / 1024:,.0f} kB" if entry.bytes > 1024 else f"{entry.bytes} B"
        rows.append((f"  {entry.path}", f"{entry.details.get('dtype', '')} {shape}".strip(), f"{size:>8}"))
    stages = ", ".join(f"{k} {v:.1f}" for k, v in record.seconds.items() if isinstance(v, int | float) and v >= 0.05)
    head = f"{shown(record.directory)}  ({record.total_seconds:.1f} s: {stages})"
    problems = [f"  problem: {problem}" for problem in record.problems]
    return "\n".join(
        [head, *columns(rows).splitlines(), *metric_lines(record), *problems, *(f"  {n}" for n in outcome.notes)]
    )


def metric_lines(record: records.Record) -> list[str]:
    """Every measured value with its unit, and behind it its baselines and which way is better."""
    from strands_diffusers.evaluation import tables

    declared = plugins().measures
    rows: list[tuple[str, str]] = []
    for name, values in record.metrics.items():
        own = [value for value in values if not declared.get((name, value), UNDECLARED).baseline]
        of = {value: value if value in own else tables.main_of(value, own) for value in values}
        for main in (value for value in values if of[value] == value):
            measure = declared.get((name, main), UNDECLARED)
            baselines = [v for v in values if of[v] == main != v]
            aside = ["; ".join(f"{v.removeprefix(main + '_').replace('_', ' ')} {values[v]:.4g}" for v in baselines)]
            aside += [f"{measure.better} is better" if measure.better != "neither" else ""]
            words = ", ".join(filter(None, aside))
            number = f"{values[main]:.4g} {measure.unit}".rstrip()
            rows.append((f"  {name}.{main}", f"{number}  ({words})" if words else number))
    samples = [f"  mean over {len(record.samples)} samples:"] if len(record.samples) > 1 and rows else []
    return samples + columns(rows).splitlines()


def sweep_table(directory: Path, rows: Sequence[Row], total: int | None = None, notes: Sequence[str] = ()) -> str:
    """How a sweep ended: counts, then one line a job with what sets it apart; then how to get what is missing."""
    from strands_diffusers.config.typed import unescaped

    names = ("done", "skipped", "failed", "damaged", "earlier")
    counts = {status: sum(row.status == status for row in rows) for status in names}
    counts["not begun"] = max(0, (total or 0) - len(rows) + counts["earlier"])
    words = {status: f"{n} {status}" for status, n in counts.items() if n or status == "done"}
    words["done"] += f" ({problems} with problems)" if (problems := sum(row.problems for row in rows)) else ""
    head = ", ".join(words.values())
    own = [[unescaped(o) for o in row.overrides if not o.startswith(("output_dir=", "resume="))] for row in rows]
    common = [o for o in own[0] if all(o in others for others in own)] if len(rows) > 1 else []
    cells = [" ".join(o for o in mine if o not in common) for mine in own]
    states = [f"failed at {row.stage}" if row.status == "failed" and row.stage else row.status for row in rows]
    states = [f"{state}, problems" if row.problems else state for row, state in zip(rows, states, strict=True)]
    wide = [max((len(text) for text in texts), default=0) for texts in (states, cells)]
    lines = [f"{shown(directory)}: {head}", *([f"  all jobs: {' '.join(common)}"] if common else [])]
    for row, state, cell in zip(rows, states, cells, strict=True):
        same = f"the same rollouts as job {row.same_as}" if row.same_as else ""
        line = f"  {row.name:>4}  {state:<{wide[0]}}  {cell:<{min(wide[1], 60)}}  {row.error or same}"
        lines.append(line.rstrip())
    lines += [f"  {note}" for note in notes]
    if counts["failed"] or counts["not begun"]:
        lines.append(f"  to run only what is missing: the same command with resume={shown(directory)}")
    return "\n".join(lines)


def shown(path: Path) -> str:
    """The path relative to where the user stands, if it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
