"""One serializer and one visualizer: everything a plugin needs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers import Artifact, Rollout, Serializer, Visualizer, domains, errors, hookimpl

STRANDS_DIFFUSERS_API = 1
"""The version of the plugin interface that this package is written for."""


class CsvSerializer(Serializer):
    """Write the action chunk to `action.csv`: one row a step, one named column a dimension, in model space."""

    name = "example_csv"
    output_types = ("action",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write float32 [K, T, D] as K*T rows."""
        if rollout.action is None or rollout.domain is None:
            raise errors.OutputError("output=[example_csv] needs actions of a known domain. Leave it out.")
        rows_ND = rollout.action.reshape(-1, rollout.action.shape[-1])
        path = directory / "action.csv"
        with path.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([column.name for column in domains.get(rollout.domain).columns])
            writer.writerows(rows_ND.tolist())
        return [Artifact(path, "action", {"shape": list(rows_ND.shape), "dtype": "float32"})]


class FilmstripVisualizer(Visualizer):
    """Draw every nth frame of the video side by side to `filmstrip.png`."""

    @dataclass
    class Config(Visualizer.Config):
        """Options of `visualizer=[example_filmstrip]`."""

        every: int = 4
        """Show each nth frame, 1 and more."""

        def __post_init__(self) -> None:
            if self.every < 1:
                raise errors.ConfigError(f"every must be 1 or more, got {self.every}.")

    name = "example_filmstrip"
    output_types = ("video",)
    config: Config

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Draw uint8 [F, H, W, 3] as one [H, n*W, 3] picture."""
        import numpy as np  # inside: the module is imported at every start of the command
        from PIL import Image

        if rollout.video is None:
            return []
        strip_HWC = np.concatenate(list(rollout.video[:: self.config.every]), axis=1)
        path = directory / "filmstrip.png"
        Image.fromarray(strip_HWC).save(path)
        return [Artifact(path, self.name, {"shape": list(strip_HWC.shape), "dtype": "uint8"})]


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [CsvSerializer]


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [FilmstripVisualizer]
