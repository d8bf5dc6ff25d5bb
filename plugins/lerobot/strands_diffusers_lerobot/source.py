"""`observation=lerobot:DIR@episode:0@start:120@camera:NAME`: a window of an episode, with its task and its actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from strands_diffusers import ActionRows, Observation, ObservationRequest, Source, split_address
from strands_diffusers_lerobot.choices import Polarity, Rotation, Units

OPTIONS = (
    "episode", "start", "stride", "fps", "camera", "task", "actions", "units", "rotation", "gripper", "body",
)  # fmt: skip
"""The keys of an address."""


class LeRobotSource(Source):
    """Episodes of LeRobot datasets on this machine, v3 and v2, read without the lerobot package.

    Address: `DIR[@episode:0][@start:0][@camera:NAME][@stride:N][@fps:F][@task:TEXT]`, and for the actions
        `[@actions:COLUMNS][@units:...][@rotation:...][@gripper:...][@body:...]`, each also an option of the config.
    Shapes: frames uint8 `[F, H, W, 3]`; actions float32 `[T, D]`, T <= F - 1, only where a mapping says what they are.
    Raises: `ObservationError` for a dataset, version, file, episode, frame, camera or column that is not there.
    """

    scheme = "lerobot"

    @dataclass
    class Config(Source.Config):
        """Options of `observation=lerobot:...`; what the address says goes first."""

        camera: str | None = None
        """Camera, by its full name or the part after the last dot; `WRIST+LEFT+RIGHT`: the three-camera canvas that
        Cosmos 3 calls concat_view. null: the only one there is."""

        actions: str | None = None
        """Columns that are the actions, `COLUMN[:FIRST[-LAST]][+COLUMN...]`; null: none, or what an export of this
        plugin says of itself."""

        units: Units | None = None
        """What these columns hold: model (model space), physical (the domain's own columns and units), or poses
        (an absolute pose per frame and body, then the gripper: their motion from frame to frame becomes the action)."""

        rotation: Rotation | None = None
        """How `units=poses` writes rotations, after the three numbers of the position [m]: euler_xyz (roll, pitch, yaw
        about fixed axes [rad]), rotvec [rad], quat_xyzw, quat_wxyz, rot6d or matrix (row by row)."""

        gripper: Polarity | None = None
        """What 1 means for the gripper in the dataset; null: as domain.gripper."""

        body: list[float] | None = None
        """Pose of the domain's moving body in the dataset's: x, y, z [m], roll, pitch, yaw [deg]; null: the same body."""

    config: Config

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read the window at `address`, as many frames as `request` needs."""
        from strands_diffusers_lerobot.window import read_window

        return read_window(split_address(address, OPTIONS), self.config, request)

    def action_rows(self, address: str, domain: str) -> ActionRows:
        """Return the actions of every episode (or of `@episode:N`), which are read as they are iterated over."""
        from strands_diffusers_lerobot.window import read_action_rows

        return read_action_rows(split_address(address, OPTIONS), self.config, domain)

    def episodes(self, address: str) -> list[tuple[str, int]]:
        """Return every episode (or `@episode:N`) with its length at the address's rate."""
        from strands_diffusers_lerobot.window import list_episodes

        return list_episodes(split_address(address, OPTIONS))

    def absolute(self, address: str, cwd: Path) -> str:
        """Make the dataset's folder absolute."""
        return str(split_address(address, OPTIONS, cwd=cwd).absolute(cwd))
