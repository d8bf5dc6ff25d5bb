"""`output=[lerobot]`: a rollout as a LeRobot v3 dataset of one episode."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import Artifact, Rollout, Serializer, actions, domains, errors
from strands_diffusers_lerobot.writer import EpisodeData, write_dataset

WORLD, REFERENCE = "observation.images.world", "observation.images.reference"
FOLDER = "lerobot"


class ExportUnits(str, Enum):
    """What the exported action column holds."""

    model = "model"
    physical = "physical"


class LeRobotSerializer(Serializer):
    """Write the rollout as a LeRobot v3 dataset of one episode: film, action, task, statistics.

    Shapes: `observation.images.world` F frames, and `observation.images.reference` where all F were observed;
        `action` float32 [F, D], exact. F = K*T + 1: the last frame comes after the last action, so that its row repeats
        that action and has `next.done` true.
    Units: model space, or physical with `output.lerobot.units=physical`; info.json says which, under
        `strands_diffusers`, and `observation=lerobot:DIR` reads it back.
    Raises: `OutputError` for a rollout without a film, or without the units asked for.
    """

    name = "lerobot"
    output_types = ("rollout",)

    @dataclass
    class Config(Serializer.Config):
        """Options of `output=[lerobot]`."""

        units: ExportUnits = ExportUnits.model
        """Units of the action column: model (model space, as the world model speaks) or physical (needs statistics)."""

        last_frame: bool = True
        """Keep the frame after the last action; its row repeats that action. false: the dataset ends one frame early."""

        crf: int = 12
        """Quality of the H.264 film, 1 (near lossless) to 51."""

        def __post_init__(self) -> None:
            if not 1 <= self.crf <= 51:
                raise errors.ConfigError(
                    f"output.lerobot.crf must be 1 to 51, got {self.crf}. Type output.lerobot.crf=12."
                )

    config: Config

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write the folder `lerobot/`: meta/, data/, videos/."""
        if rollout.video is None or rollout.fps is None:
            raise errors.OutputError(
                "output=[lerobot] needs a film with a rate; this rollout has none. Leave lerobot out."
            )
        root = directory / FOLDER
        shutil.rmtree(root, ignore_errors=True)
        action_KTD = rollout.action if rollout.action is not None else rollout.given_action
        columns: dict[str, np.ndarray] = {}
        names: dict[str, list[str]] = {}
        marker: dict[str, Any] = {"mode": rollout.mode, "seed": rollout.seed}
        length = len(rollout.video)
        if action_KTD is not None and rollout.space is not None:
            rows_ND, facts = self._rows(action_KTD, rollout)
            if len(rows_ND) + 1 != length:
                raise errors.OutputError(
                    f"{length} frames and {len(rows_ND)} actions do not make an episode: there must be one frame more."
                )
            if self.config.last_frame:
                rows_ND = np.concatenate([rows_ND, rows_ND[-1:]])
            else:
                length -= 1
            columns["action"] = rows_ND
            names["action"] = [column.name for column in domains.get(rollout.space.domain).columns]
            marker |= {**facts, "last_row_repeats": self.config.last_frame}
        columns["next.done"] = np.arange(length) == length - 1
        films: dict[str, np.ndarray | Path] = {WORLD: rollout.video[:length]}
        if rollout.reference_video is not None and len(rollout.reference_video) >= length > 1:
            films[REFERENCE] = rollout.reference_video[:length]
        episode = EpisodeData(rollout.prompt or rollout.observation.task or "", films, columns)
        robot = domains.short_name(rollout.space.domain) if rollout.space else "world_model"
        try:
            files = write_dataset(
                root, [episode], rollout.fps, names=names, robot_type=robot, marker=marker, crf=self.config.crf
            )
        except BaseException:
            shutil.rmtree(root, ignore_errors=True)
            raise
        return [Artifact(path, FOLDER, {"frames": length} if path.suffix == ".mp4" else {}) for path in files]

    def _rows(self, action_KTD: np.ndarray, rollout: Rollout) -> tuple[np.ndarray, dict[str, Any]]:
        """The actions as exported, float32 [N, D], and what the marker says of them."""
        assert rollout.space is not None
        space = rollout.space
        facts: dict[str, Any] = {"domain": space.domain, "units": self.config.units.value}
        rows_ND = action_KTD.reshape(-1, action_KTD.shape[-1])
        if not np.isfinite(rows_ND).all():
            raise errors.OutputError("the actions hold NaN or inf; no dataset was written.")
        if self.config.units is ExportUnits.physical:
            if not actions.decodable(space):
                raise errors.OutputError(
                    f"domain {domains.short_name(space.domain)} has no statistics here: its actions have no physical units. "
                    "Type output.lerobot.units=model."
                )
            rows_ND = actions.to_physical(rows_ND, space)
            facts |= {"gripper": space.gripper, "statistics": space.statistics, "normalization": space.normalization}
        return rows_ND.astype(np.float32), facts
