"""Stage `table`: means with 95 % intervals, and what differs from the model that ships, table by table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from experiments.pusht_quality import work
from experiments.pusht_quality.measure import cell

COLUMNS = {
    "block_px": ("block [px]", ".1f", 1.0),
    "pusher_px": ("pusher [px]", ".1f", 1.0),
    "psnr_changed": ("moving [dB]", ".1f", 1.0),
    "inverse_px": ("inverse [px]", ".1f", 1.0),
    "move_px": ("policy's move [px]", ".0f", 1.0),
    "wrong": ("wrong way [%]", ".0f", 100.0),
    "sensitivity": ("sensitivity", ".1f", 1.0),
    "coverage": ("closed loop", ".2f", 1.0),
}
"""By measure: heading, format, factor."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The rows of a file, by measure, in order of their table."""
    rows = sorted(work.read(path), key=lambda row: row["index"])
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def markdown(folder: Path) -> str:
    """A line for each model on each variant that was evaluated."""
    lines = ["| variant | model | tables | " + " | ".join(heading for heading, _, _ in COLUMNS.values()) + " |"]
    lines.append("|---" * (3 + len(COLUMNS)) + "|")
    for path in sorted(folder.glob("*.jsonl"), key=lambda p: p.stem):
        variant, _, model = path.stem.partition("-")
        values = read(path)
        cells = [cell(values[name], values["index"], form, scale) for name, (_, form, scale) in COLUMNS.items()]
        lines.append(f"| {variant} | {model} | {len(values['index'])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def goals(folder: Path) -> str:
    """A line for each adapted model: means over the tables that both have, divided by the shipped model's on its own table.

    `block`: error of the block on the variant. `original`: of each measure on the original table, what is left of it, so
    that 1 is nothing forgotten (errors over 1 and moves below 1 are worse); a dash where actions have another meaning now.
    """
    shipped = read(folder / "original-shipped.jsonl")
    lines = ["| adapted to | with | block, variant | wrong way [%] | original: block | inverse | move | closed loop |"]
    lines.append("|---" * 8 + "|")
    names = [
        re.fullmatch(r"(\w+)-(\d+)_(\w+)", path.stem) for path in folder.glob("*.jsonl")
    ]  # not original-VARIANT_...
    for variant, episodes, what in sorted((n[1], int(n[2]), n[3]) for n in names if n):
        there = read(folder / f"{variant}-{episodes}_{what}.jsonl")
        kept = folder / f"original-{variant}_{episodes}_{what}.jsonl"
        cells = [f"{ratio(there, shipped, 'block_px'):.2f}", f"{100 * there['wrong'].mean():.0f}"]
        measures = ("block_px", "inverse_px", "move_px", "coverage")
        cells += [f"{ratio(read(kept), shipped, name):.2f}" if kept.is_file() else "-" for name in measures]
        lines.append(f"| {variant} | {episodes} episodes, {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def ratio(values: dict[str, np.ndarray], base: dict[str, np.ndarray], name: str) -> float:
    """The mean of a measure over that of `base`, over the tables that both have."""
    _, ours, theirs = np.intersect1d(values["index"], base["index"], return_indices=True)
    return float(values[name][ours].mean() / base[name][theirs].mean())
