"""Stage `table`: means with 95 % intervals, and what differs from the model that ships, table by table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

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
    rows = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda row: row["index"])
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
