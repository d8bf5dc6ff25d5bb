"""What the command says: one line on an error, a line that rewrites itself on long work, a table at the end."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def say(text: str) -> None:
    """Print to standard error, where a pipe does not see it."""
    print(text, file=sys.stderr, flush=True)


def table(result: Any) -> str:
    """What was written, as a short table, then the tracker's notes."""
    rows = []
    for entry in result.manifest["artifacts"]:
        shape = "x".join(map(str, entry.get("shape", ())))
        size = entry["bytes"]
        rows.append(
            (
                entry["path"],
                entry["type"],
                f"{entry.get('dtype', '')} {shape}".strip(),
                f"{size / 1024:,.0f} kB" if size > 1024 else f"{size} B",
            )
        )
    widths = [max(len(r[i]) for r in rows) for i in range(3)] if rows else [0, 0, 0]
    lines = [f"  {r[0]:<{widths[0]}}  {r[2]:<{widths[2]}}  {r[3]:>8}" for r in rows]
    metrics = [
        f"  {m}.{v} {value:.4g}" for m, values in result.manifest["metrics"].items() for v, value in values.items()
    ]
    seconds = result.manifest["seconds"]
    total = sum(v for v in seconds.values() if isinstance(v, int | float))
    stages = ", ".join(f"{k} {v:.1f}" for k, v in seconds.items() if isinstance(v, int | float) and v >= 0.05)
    head = f"{shown(result.directory)}  ({total:.1f} s: {stages})"
    return "\n".join([head, *lines, *metrics[:8], *(f"  {n}" for n in result.notes)])


def sweep_table(directory: Path, rows: Sequence[Any], total: int | None = None) -> str:
    """How a sweep ended: counts, then one line a job with what sets it apart; then how to get what is missing.

    `total`: how many jobs were asked for, where that is known; those that were never begun have no row.
    """
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "skipped", "failed")}
    counts["not begun"] = max(0, (total or 0) - len(rows))
    head = ", ".join(f"{n} {status}" for status, n in counts.items() if n or status == "done")
    own = [[o for o in row.overrides if not o.startswith(("output_dir=", "resume="))] for row in rows]
    common = [o for o in own[0] if all(o in others for others in own)] if len(rows) > 1 else []
    cells = [" ".join(o for o in mine if o not in common) for mine in own]
    states = [f"failed at {row.stage}" if row.status == "failed" and row.stage else row.status for row in rows]
    wide = [max((len(text) for text in texts), default=0) for texts in (states, cells)]
    lines = [f"{shown(directory)}: {head}", *([f"  all jobs: {' '.join(common)}"] if common else [])]
    for row, state, cell in zip(rows, states, cells, strict=True):
        seconds = f"{row.seconds:6.1f} s" if row.seconds is not None else " " * 8
        line = f"  {row.number:>4}  {state:<{wide[0]}}  {seconds}  {cell:<{min(wide[1], 60)}}  {row.error or ''}"
        lines.append(line.rstrip())
    if counts["failed"] or counts["not begun"]:
        lines.append(f"  to run only what is missing: the same command with resume={shown(directory)}")
    return "\n".join(lines)


def shown(path: Path) -> str:
    """The path relative to where the user stands, if it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def show_progress(stage: str, done: int, total: int) -> None:
    """One line that rewrites itself."""
    end = "\n" if done >= total > 0 else ""
    sys.stderr.write(f"\r\x1b[K{stage} {done}/{total}{end}")
    sys.stderr.flush()
