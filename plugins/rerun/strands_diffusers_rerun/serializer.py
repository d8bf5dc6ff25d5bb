"""`output=[rerun]`: one recording with everything there is to see of a rollout, side by side on one clock.

Entities (a group is what moves: `arm`, `left_arm`, `head`, `target`):

| entity                                | what                                                                         |
|---------------------------------------|------------------------------------------------------------------------------|
| `rollout/video`, `reference/video`    | the reference is what was observed, through the model's own transform        |
| `rollout/video/targets`               | PushT: where the actions draw the pusher, over the video                     |
| `action/GROUP/COLUMN`                 | the actions of the rollout (or given to it) in model space                   |
| `reference_action/GROUP/COLUMN`       | the true ones, where the observation has them                                |
| `physical/GROUP/COLUMN`               | decoded, with the unit in the name, where the domain has statistics          |
| `path/GROUP/...`                      | the integrated SE(3) path [m], its reference, and the body moving along it   |
| `sound`, `image/N`, `mesh`            | whatever else the rollout holds                                              |
| `about`                               | prompt, seed, domain, where it came from                                     |

Timelines: `time` [s] and `frame`. Action t stands at frame t, which it moves to frame t + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strands_diffusers import Artifact, Rollout, Serializer, errors

APPLICATION = "strands-diffusers"
"""Recordings with one application id open in one viewer, with the same layout."""


class RerunSerializer(Serializer):
    """Write everything to see of the rollout into `rollout.rrd`: videos, action curves by name, 3-D paths, one clock.

    Shapes: `video` uint8 [F, H, W, 3] as H.264; `action` (or `given_action`) [K, T, D] as one curve a column, in model
        space and, where the domain has statistics, in physical units; paths [K*T + 1, 4, 4] in metres.
    Raises: `OutputError` for a rollout with nothing to see, or actions that are not finite.
    """

    name = "rerun"
    output_types = ("rollout",)

    @dataclass
    class Config(Serializer.Config):
        """Options of `output=[rerun]`."""

        crf: int = 12
        """Quality of the H.264 videos inside, 1 (near lossless) to 51."""

        def __post_init__(self) -> None:
            if not 1 <= self.crf <= 51:
                raise errors.ConfigError(f"output.rerun.crf must be 1 to 51, got {self.crf}. Type output.rerun.crf=12.")

    config: Config

    def save(self, rollout: Rollout, directory: Path) -> list[Artifact]:
        """Write `rollout.rrd`."""
        from strands_diffusers_rerun.recording import record

        path = directory / "rollout.rrd"
        try:
            entities = record(rollout, path, self.config.crf, APPLICATION)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return [Artifact(path, self.name, {"application_id": APPLICATION, "entities": entities})]
