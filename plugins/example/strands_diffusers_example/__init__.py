"""One serializer and one visualizer: everything a plugin needs."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strands_diffusers import Artifact, Rollout, Serializer, Visualizer, domains, hookimpl


class CsvSerializer(Serializer):
    """Write the action chunk to `action.csv`: one row a step, one named column a dimension, in model space."""

    name = "csv"
    output_types = ("action",)

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write float32 [K, T, D] as K*T rows."""
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
        """Options of `visualizer=[filmstrip]`."""

        every: int = 4
        """Show each nth frame, 1 and more."""

    name = "filmstrip"
    output_types = ("video",)

    def draw(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Draw uint8 [F, H, W, 3] as one [H, n*W, 3] picture."""
        from PIL import Image

        strip_HWC = np.concatenate(list(rollout.video[:: self.config.every]), axis=1)
        path = directory / "filmstrip.png"
        Image.fromarray(strip_HWC).save(path)
        return [Artifact(path, "filmstrip", {"shape": list(strip_HWC.shape), "dtype": "uint8"})]


@hookimpl
def register_serializers() -> list[type[Serializer]]:
    return [CsvSerializer]


@hookimpl
def register_visualizers() -> list[type[Visualizer]]:
    return [FilmstripVisualizer]
