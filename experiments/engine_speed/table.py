"""The measured rows as a Markdown table."""

from __future__ import annotations

import statistics
from typing import Any

COLUMNS = ("encode", "text", "denoise", "decode", "else")


def markdown(results: list[dict[str, Any]]) -> str:
    """One line per case and engine: medians per rollout, ratios to eager, differences, memory."""
    head = (
        "| case | engine | total | " + " | ".join(COLUMNS) + " | faster (wall) | faster (processor) | difference | MB |"
    )
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for result in results:
        lines += [_line(result, name) for name in result["engines"]]
    return "\n".join(lines) + "\n"


def median(rows: list[dict[str, Any]], column: str) -> float:
    """The median of one column over the repeats."""
    return statistics.median(row[column] for row in rows)


def ratio(result: dict[str, Any], name: str, column: str) -> float:
    """How many times faster than eager: the median over repeats, each taken in turn, so that load on the machine cancels."""
    pairs = zip(result["engines"]["eager"]["repeats"], result["engines"][name]["repeats"], strict=True)
    return statistics.median(eager[column] / other[column] for eager, other in pairs)


def _line(result: dict[str, Any], name: str) -> str:
    engine = result["engines"][name]
    if "refused" in engine:
        return f"| {result['case']} | {name} | refused |" + " |" * (len(COLUMNS) + 4)
    rows = engine["repeats"]
    stages = " | ".join(f"{median(rows, f'{column}_s'):.2f}" for column in COLUMNS)
    faster = ["", ""] if name == "eager" else [f"{ratio(result, name, c):.2f}x" for c in ("wall_s", "processor_s")]
    memory = f"{median(rows, 'peak_memory_mb'):.0f}"
    title = f"{result['case']}, {result['frame_size'][0]}x{result['frame_size'][1]}"
    cells = [title, name, f"{median(rows, 'wall_s'):.2f}", stages, *faster, _difference(engine["distance"]), memory]
    return "| " + " | ".join(cells) + " |"


def _difference(found: dict[str, float]) -> str:
    if not found:
        return ""
    parts = []
    if "video_levels" in found:
        parts.append("video 0" if not found["video_levels"] else f"video {found['video_psnr_db']:.1f} dB")
    if "action_largest" in found:
        largest = found["action_largest"]
        parts.append("action 0.0" if not largest else f"action {found['action_mean']:.1e} (max {largest:.1e})")
    return ", ".join(parts)
