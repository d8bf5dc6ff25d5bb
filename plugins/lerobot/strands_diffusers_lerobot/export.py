"""A rollout becomes an episode."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import Artifact, Rollout, actions, domains, errors
from strands_diffusers_lerobot.choices import ExportUnits
from strands_diffusers_lerobot.writer import EpisodeData, write_dataset

WORLD, REFERENCE = "observation.images.world", "observation.images.reference"
FOLDER = "lerobot"


def export(rollout: Rollout, directory: Path, config: Any) -> list[Artifact]:
    """Write the folder `lerobot/` and return its files; `config` is the serializer's."""
    if rollout.video is None or rollout.fps is None:
        raise errors.OutputError(
            "output=[lerobot] needs a video with a rate; this rollout has none. Leave lerobot out."
        )
    root = directory / FOLDER
    shutil.rmtree(root, ignore_errors=True)
    action_KTD = rollout.action if rollout.action is not None else rollout.given_action
    columns: dict[str, np.ndarray] = {}
    names: dict[str, list[str]] = {}
    marker: dict[str, Any] = {"mode": rollout.mode, "seed": rollout.seed}
    length = len(rollout.video)
    if action_KTD is not None and rollout.space is not None:
        rows_ND, facts = _rows(action_KTD, rollout, config.units)
        if len(rows_ND) + 1 != length:
            raise errors.OutputError(
                f"{length} frames and {len(rows_ND)} actions do not make an episode: there must be one frame more."
            )
        if config.last_frame:
            rows_ND = np.concatenate([rows_ND, rows_ND[-1:]])
        else:
            length -= 1
        columns["action"] = rows_ND
        names["action"] = [column.name for column in domains.get(rollout.space.domain).columns]
        marker |= {**facts, "last_row_repeats": config.last_frame}
    columns["next.done"] = np.arange(length) == length - 1
    videos: dict[str, np.ndarray | Path] = {WORLD: rollout.video[:length]}
    if rollout.reference_video is not None and len(rollout.reference_video) >= length > 1:
        videos[REFERENCE] = rollout.reference_video[:length]
    episode = EpisodeData(rollout.prompt or rollout.observation.task or "", videos, columns)
    robot = domains.short_name(rollout.space.domain) if rollout.space else "world_model"
    try:
        files = write_dataset(
            root, [episode], rollout.fps, names=names, robot_type=robot, marker=marker, crf=config.crf
        )
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return [Artifact(path, FOLDER, {"frames": length} if path.suffix == ".mp4" else {}) for path in files]


def _rows(action_KTD: np.ndarray, rollout: Rollout, units: ExportUnits) -> tuple[np.ndarray, dict[str, Any]]:
    """The actions as exported, float32 [N, D], and what the marker says of them."""
    assert rollout.space is not None
    space = rollout.space
    facts: dict[str, Any] = {"domain": space.domain, "units": units.value}
    rows_ND = action_KTD.reshape(-1, action_KTD.shape[-1])
    if not np.isfinite(rows_ND).all():
        raise errors.OutputError("the actions hold NaN or inf; no dataset was written.")
    if units is ExportUnits.physical:
        if not actions.decodable(space):
            raise errors.OutputError(
                f"domain {domains.short_name(space.domain)} has no statistics here: its actions have no physical units. "
                "Type output.lerobot.units=model."
            )
        rows_ND = actions.to_physical(rows_ND, space)
        facts |= {"gripper": space.gripper, "statistics": space.statistics, "normalization": space.normalization}
    return rows_ND.astype(np.float32), facts
