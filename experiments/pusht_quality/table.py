"""From the jobs' values to a Markdown table: mean, 95 % interval, the trivial baseline, and what the issue asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from strands_diffusers_pusht.expert import DIRECTIONS

from strands_diffusers.evaluation.bootstrap import ENOUGH, SEED, middle

from .measure import bounds, cell

Rows = list[dict[str, Any]]


def interval_of(
    statistic: Callable[[np.ndarray], float], groups: Sequence[int] | np.ndarray, resamples: int = 1000
) -> tuple[float, float] | None:
    """The 95 % interval of any statistic of values; None for fewer than `ENOUGH` groups, which are drawn as a whole.

    `statistic` gets the places of the drawn values, `groups` says which values belong together.
    """
    _, which_N = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(which_N == group) for group in range(which_N.max(initial=-1) + 1)]
    if len(members) < ENOUGH:
        return None
    picks = np.random.default_rng(SEED).integers(0, len(members), (resamples, len(members)))
    return middle(np.array([statistic(np.concatenate([members[group] for group in pick])) for pick in picks]))


def _column(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    chosen = [row for row in rows if name in row]
    return np.array([row[name] for row in chosen], float), np.array([row["index"] for row in chosen])


def _cell(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
    return cell(*_column(rows, name), form, scale)


def _baseline(rows: Rows, name: str, form: str, scale: float = 1.0) -> str:
    return f"{np.nanmean(_column(rows, name)[0]) * scale:{form}}"


def _median_px(rows: Rows) -> str:
    values, groups = _column(rows, "pusher_px")
    return f"{np.nanmedian(values):.1f}" + bounds(interval_of(lambda pick: np.nanmedian(values[pick]), groups), ".1f")


def _ratio(rows: Rows) -> str:
    moved = [row for row in rows if "video_move_px" in row and np.isfinite(row["video_move_px"])]
    video, real = (np.array([row[name] for row in moved]) for name in ("video_move_px", "move_px"))
    found = interval_of(lambda pick: video[pick].sum() / real[pick].sum(), [row["index"] for row in moved])
    return f"{video.sum() / real.sum():.2f}x" + bounds(found, ".2f")


def markdown(results: Rows, title: str, beside: Rows | None = None) -> str:
    """The whole table. `beside`: another model's values, of which the same jobs are shown in a column of their own."""
    lines = _lines(results)
    columns = ["mode", "measure", "mean (95 % interval)", "baseline", "must", "aim"]
    if beside is not None:
        jobs = {(row["kind"], row["index"], row["task"]) for row in results}
        others = _lines([row for row in beside if (row["kind"], row["index"], row["task"]) in jobs])
        lines = [(*line[:3], other[2], *line[3:]) for line, other in zip(lines, others, strict=True)]
        columns.insert(3, "the other model")
    kinds = ("video", "short", "long", "inverse", "policy", "unseen")
    counts = {kind: sum(row["kind"] == kind for row in results) for kind in kinds}
    seconds = np.median([row["seconds"] for row in results])
    text = [f"# {title}", "", *(f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *lines)), ""]
    done = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return "\n".join([*text, f"Rollouts: {done}. Median {seconds:.2f} s a call, one thread."]) + "\n"


def _lines(results: Rows) -> list[tuple[str, ...]]:
    """Mode, measure, value, baseline, must, aim. Baselines: repeat the first frame; the mean action; the expert."""
    by_kind = {kind: [r for r in results if r["kind"] == kind] for kind in ("video", "inverse", "policy", "unseen")}
    video, inverse, policy = by_kind["video"], by_kind["inverse"], by_kind["policy"]
    lines: list[tuple[str, ...]] = []

    def add(mode: str, measure: str, value: str, baseline: str, must: str, aim: str) -> None:
        lines.append((mode, measure, value, baseline, must, aim))

    if video:
        add("autoencoder", "PSNR, 17-frame clips [dB]", _cell(video, "vae_psnr", ".1f"), "", "35", "38")
        for name, text, form, must, aim in (
            ("psnr", "PSNR without frame 0 [dB]", ".1f", "30", "33"),
            ("psnr_changed", "PSNR on pixels that change [dB]", ".1f", "17.5", "21"),
            ("pusher_px", "pusher error [px]", ".1f", "3", "2"),
            ("block_px", "block error [px]", ".1f", "3", "2"),
            ("iou", "overlap of the T in the last frame", ".2f", "0.82", "0.90"),
            ("pusher_seen", "pusher visible", ".3f", "", ""),
        ):
            still, again = (_baseline(video, f"{name}_{other}", form) for other in ("still", "again"))
            beside = f"{still} (repeat first frame), {again} (the autoencoder alone)"
            add("forward_dynamics", text, _cell(video, name, form), beside, must, aim)
    for kind, task, mode in (("short", "8", "chunks of 8"), ("short", "4", "chunks of 4"), ("long", "", "six chunks")):
        rows = [r for r in results if r["kind"] == kind and r["task"] == task]
        if rows:
            musts = ("15", "8", "0.55", "0.70") if kind == "long" else ("3", "2", "0.82", "0.90")
            still = [_baseline(rows, f"{name}_still", ".2f") for name in ("block_px", "iou")]
            text = f"forward_dynamics, {mode}"
            add(
                text,
                "block error in the last frame [px]",
                _cell(rows, "block_px", ".1f"),
                f"{still[0]} (repeat first frame)",
                *musts[:2],
            )
            add(
                text,
                "overlap of the T in the last frame",
                _cell(rows, "iou", ".2f"),
                f"{still[1]} (repeat first frame)",
                *musts[2:],
            )
    if inverse:
        mean = _baseline(inverse, "mae_mean", ".3f")
        add(
            "inverse_dynamics",
            "action MAE, model space",
            _cell(inverse, "mae", ".4f"),
            f"{mean} (mean action)",
            "0.012",
            "0.010",
        )
    for kind, rows in (("policy", policy), ("policy, unseen wordings", by_kind["unseen"])):
        directed = [r for r in rows if r["task"] in DIRECTIONS]
        goal = [r for r in rows if r["task"] == "goal"]
        if not directed:
            continue
        expert = _baseline(directed, "expert_px", ".0f")
        seen = kind == "policy"
        add(
            kind,
            "block's move along the command [px]",
            _cell(directed, "move_px", ".1f"),
            f"{expert} (expert)",
            "50" * seen,
            "55" * seen,
        )
        for task in DIRECTIONS:
            own = [r for r in directed if r["task"] == task]
            add(
                kind,
                f"... {task}",
                _cell(own, "move_px", ".1f"),
                _baseline(own, "expert_px", ".0f"),
                "35" * seen,
                "45" * seen,
            )
        wrong = _baseline(directed, "expert_wrong", ".1f", 100)
        add(
            kind,
            "moved the wrong way by over 10 px [%]",
            _cell(directed, "wrong", ".1f", 100),
            f"{wrong} (expert)",
            "1" * seen,
            "0.5" * seen,
        )
        add(
            kind,
            "pusher visible in the video [%]",
            _cell(directed, "pusher_seen", ".1f", 100),
            "",
            "99.5" * seen,
            "100" * seen,
        )
        add(kind, "video against simulator, median pusher error [px]", _median_px(directed), "", "9" * seen, "5" * seen)
        add(kind, "video's block move over the simulator's", _ratio(directed), "1", "1.07x" * seen, "1.03x" * seen)
        add(
            kind,
            "overlap of the T, video and simulator, last frame",
            _cell(directed, "iou", ".2f"),
            "",
            "0.72" * seen,
            "0.85" * seen,
        )
        if goal:
            expert = _baseline(goal, "expert_px", ".0f")
            add(
                kind,
                "goal task: block nearer to the goal by [px]",
                _cell(goal, "move_px", ".1f"),
                f"{expert} (expert)",
                "",
                "",
            )
    return lines
