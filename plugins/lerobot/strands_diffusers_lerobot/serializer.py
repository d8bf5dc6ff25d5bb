"""`output=[lerobot]`: a rollout as a LeRobot v3 dataset of one episode."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strands_diffusers import Artifact, Rollout, Serializer, errors
from strands_diffusers_lerobot.choices import ExportUnits


class LeRobotSerializer(Serializer):
    """Write the rollout as a LeRobot v3 dataset of one episode: video, action, task, statistics.

    Shapes: `observation.images.world` F frames, and `observation.images.reference` where all F were observed;
        `action` float32 [F, D], exact. F = K*T + 1: the last frame comes after the last action, so that its row repeats
        that action and has `next.done` true.
    Units: model space, or physical with `output.lerobot.units=physical`; info.json says which, under
        `strands_diffusers`, and `observation=lerobot:DIR` reads it back.
    Raises: `OutputError` for a rollout without a video, or without the units asked for.
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
        """Quality of the H.264 video, 1 (near lossless) to 51."""

        def __post_init__(self) -> None:
            if not 1 <= self.crf <= 51:
                raise errors.ConfigError(
                    f"output.lerobot.crf must be 1 to 51, got {self.crf}. Type output.lerobot.crf=12."
                )

    config: Config

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write the folder `lerobot/`: meta/, data/, videos/."""
        from strands_diffusers_lerobot.export import export

        return export(rollout, directory, self.config)
