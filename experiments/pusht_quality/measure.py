"""The measures, each with its trivial baseline. One call gives the values of one episode."""

from __future__ import annotations

import numpy as np
from strands_diffusers_pusht import tracking
from strands_diffusers_pusht.expert import DIRECTIONS, progress_px

from strands_diffusers.evaluation.bootstrap import interval

from .episodes import Clip


def psnr_db(video: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of uint8 pixels [dB]."""
    error = np.mean((video.astype(float) - truth) ** 2)
    return float(-10 * np.log10(max(error, 1e-6) / 255**2))


def compare_videos(video: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """A video [17, 96, 96, 3] against the true one, frame 0 left out."""
    still = np.repeat(truth[:1], len(truth), 0)
    changed = np.abs(truth.astype(int) - still).max(-1) > 20
    pusher, pusher_true = tracking.pusher_px(video)[1:], tracking.pusher_px(truth)[1:]
    block, block_true = tracking.block_px(video)[1:], tracking.block_px(truth)[1:]
    return {
        "psnr": psnr_db(video[1:], truth[1:]),
        "psnr_changed": psnr_db(video[changed], truth[changed]),
        "pusher_px": float(np.nanmean(np.linalg.norm(pusher - pusher_true, axis=1))),
        "block_px": float(np.nanmean(np.linalg.norm(block - block_true, axis=1))),
        "iou": float(tracking.overlap(tracking.block_mask(video[-1]), tracking.block_mask(truth[-1]))),
        "pusher_seen": float(np.isfinite(pusher).all(1).mean()),
    }


def forward_dynamics(video: np.ndarray, again: np.ndarray, clip: Clip) -> dict[str, float]:
    """Measures of a forward-dynamics video, of repeating the first frame (`*_still`) and of `again` (`*_again`).

    `again` is the true video through the autoencoder alone, which no video of the model can beat.
    """
    still = compare_videos(np.repeat(clip.frames[:1], len(clip.frames), 0), clip.frames)
    best = compare_videos(again, clip.frames)
    return (
        compare_videos(video, clip.frames)
        | {f"{name}_still": value for name, value in still.items()}
        | {f"{name}_again": value for name, value in best.items()}
        | {"vae_psnr": psnr_db(again, clip.frames)}
    )


def last_frame(video: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Where the block is in the last frame of a video, against the true one, and that of repeating the first frame."""
    values = {}
    for name, frame in (("", video[-1]), ("_still", truth[0])):
        gap = tracking.block_px(frame) - tracking.block_px(truth[-1])
        values[f"block_px{name}"] = float(np.linalg.norm(gap))
        values[f"iou{name}"] = float(tracking.overlap(tracking.block_mask(frame), tracking.block_mask(truth[-1])))
    return values


def inverse_dynamics(actions: np.ndarray, clip: Clip, mean_action: np.ndarray) -> dict[str, float]:
    """Mean absolute error in model space, and that of always answering the training data's mean action."""
    return {
        "mae": float(np.abs(actions - clip.actions).mean()),
        "mae_mean": float(np.abs(mean_action - clip.actions).mean()),
    }


def policy(
    video: np.ndarray, simulated: np.ndarray, states: np.ndarray, expert_states: np.ndarray, task: str
) -> dict[str, float]:
    """A policy's video, the simulator under its actions (frames, states), and the expert from the same start.

    `video_move_px` and `move_px` are along the task's direction (only given for directions).
    """
    move, expert = progress_px(states, task), progress_px(expert_states, task)
    pusher = tracking.pusher_px(video)[1:]
    values = {
        "move_px": move,
        "wrong": float(move < -10),
        "expert_px": expert,
        "expert_wrong": float(expert < -10),
        "pusher_seen": float(np.isfinite(pusher).all(1).mean()),
        "pusher_px": float(np.nanmedian(np.linalg.norm(pusher - states[1:, :2], axis=1))),
        "iou": float(tracking.overlap(tracking.block_mask(video[-1]), tracking.block_mask(simulated[-1]))),
    }
    if task in DIRECTIONS:
        block = tracking.block_px(video[[0, -1]])
        values["video_move_px"] = float((block[1] - block[0]) @ np.array(DIRECTIONS[task]))
    return values


def cell(values: np.ndarray, groups: np.ndarray, form: str, scale: float = 1.0) -> str:
    """Mean and bootstrapped 95 % interval as text; the values of one start (`groups`) are drawn as a whole."""
    values = np.asarray(values, float) * scale
    finite = np.isfinite(values)
    values, groups = values[finite], np.asarray(groups)[finite]
    return f"{values.mean() if len(values) else np.nan:{form}}" + bounds(interval(values, groups), form)


def bounds(found: tuple[float, float] | None, form: str) -> str:
    """An interval as text; nothing where there is none."""
    return f" ({found[0]:{form}} to {found[1]:{form}})" if found else ""
