"""From a dataset's columns to a domain's actions, by a mapping that the user states; nothing is guessed.

Letters: F frames of a window, T steps, D action width, W width of the mapped columns.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from strands_diffusers import ActionSpace, actions, domains, errors
from strands_diffusers_lerobot.choices import Polarity, Rotation, Units

_NUMBERS = {"euler_xyz": 3, "rotvec": 3, "quat_xyzw": 4, "quat_wxyz": 4, "rot6d": 6, "matrix": 9}
"""Numbers that each rotation takes, after the three of the position."""

_PIECE = re.compile(r"(?P<name>.+?)(?::(?P<first>\d+)(?:-(?P<last>\d+))?)?")


@dataclass(frozen=True)
class Piece:
    """Columns `first` to `last` of one feature; all of it where `first` is None."""

    name: str
    first: int | None = None
    last: int | None = None

    def cut(self, rows_FW: np.ndarray) -> np.ndarray:
        """The chosen columns; `ObservationError` where the feature is narrower."""
        if self.first is None or self.last is None:
            return rows_FW
        if self.last >= rows_FW.shape[1] or self.last < self.first:
            raise errors.ObservationError(
                f"@actions: asks for columns {self.first} to {self.last} of {self.name!r}, "
                f"which has 0 to {rows_FW.shape[1] - 1}."
            )
        return rows_FW[:, self.first : self.last + 1]


def pieces(text: str) -> tuple[Piece, ...]:
    """Parse `COLUMN[:FIRST[-LAST]][+COLUMN...]`: `observation.state:0-5+action:6`."""
    found = []
    for part in text.split("+"):
        match = _PIECE.fullmatch(part.strip())
        if match is None:
            raise errors.ObservationError(
                f"@actions:{text} is not COLUMN[:FIRST[-LAST]][+COLUMN...], such as observation.state:0-5+action:6."
            )
        first = None if match["first"] is None else int(match["first"])
        last = first if match["last"] is None else int(match["last"])
        found.append(Piece(match["name"], first, last))
    return tuple(found)


@dataclass(frozen=True)
class Mapping:
    """Which columns are a domain's actions, and how they are written."""

    pieces: tuple[Piece, ...]
    units: Units
    rotation: Rotation | None = None
    gripper: Polarity | None = None
    body: Sequence[float] = field(default_factory=tuple)
    """Pose of the domain's body in the dataset's: x, y, z [m], then roll, pitch, yaw [deg] about fixed axes."""

    @property
    def columns(self) -> list[str]:
        """The features to read."""
        return [piece.name for piece in self.pieces]

    def physical(self, rows: MappingType[str, np.ndarray], domain: str) -> np.ndarray:
        """Return the actions in the physical units of `domain`'s columns, `[T, D]`, the gripper as the dataset has it.

        With `poses` each row moves frame t to frame t + 1, so that T = F - 1, and the gripper is that of row t.
        Raises: `ObservationError` where the columns are not what the domain needs.
        """
        rows_FW = self._stacked(rows)
        if self.units is Units.poses:
            return self._from_poses(rows_FW, domain)
        width = domains.get(domain).width
        if rows_FW.shape[1] != width:
            raise errors.ObservationError(
                f"@actions: gives {rows_FW.shape[1]} columns; domain {domains.get(domain).short} has {width}: "
                f"{', '.join(column.name for column in domains.get(domain).columns)}."
            )
        return rows_FW

    def model(self, rows: MappingType[str, np.ndarray], space: ActionSpace) -> np.ndarray:
        """Return the actions in model space, float32 `[T, D]`: decoded by the statistics of `space`."""
        if self.units is Units.model:
            return self.physical(rows, space.domain).astype(np.float32)
        if self.gripper is not None:
            space = dataclasses.replace(space, gripper=self.gripper.value)
        return np.asarray(actions.to_model(self.physical(rows, space.domain), space), np.float32)

    def _stacked(self, rows: MappingType[str, np.ndarray]) -> np.ndarray:
        return np.concatenate([piece.cut(rows[piece.name]) for piece in self.pieces], axis=1)

    def _from_poses(self, rows_FW: np.ndarray, domain: str) -> np.ndarray:
        known = domains.get(domain)
        if self.rotation is None:
            raise errors.ObservationError(
                f"@units:poses needs @rotation:, one of {', '.join(r.value for r in Rotation)}: how the poses are written."
            )
        turn = _NUMBERS[self.rotation.value]
        needed = len(known.columns) - (6 - turn) * len(known.poses)
        if not known.poses or rows_FW.shape[1] != needed:
            layout = f"{needed} ({_layout(domain, self.rotation)})" if known.poses else "no poses at all"
            raise errors.ObservationError(
                f"@actions: gives {rows_FW.shape[1]} columns; domain {known.short} by @rotation:{self.rotation.value} "
                f"takes {layout}."
            )
        if len(rows_FW) < 2:
            raise errors.ObservationError("actions from poses need two frames at least.")
        starts, bodies = {pose.start for pose in known.poses}, self._bodies(len(known.poses))
        out, at, column = np.empty((len(rows_FW) - 1, len(known.columns))), 0, 0
        while column < len(known.columns):
            if column in starts:
                path = _matrices(rows_FW[:, at : at + 3 + turn], self.rotation) @ bodies.pop(0)
                out[:, column : column + 9] = actions.deltas(path)
                at, column = at + 3 + turn, column + 9
            else:
                out[:, column] = rows_FW[:-1, at]
                at, column = at + 1, column + 1
        return out

    def _bodies(self, count: int) -> list[np.ndarray]:
        """One rigid transform for each pose of the domain; six numbers serve them all."""
        given = np.asarray(self.body or [0.0] * 6, np.float64)
        if given.size not in (6, 6 * count) or not np.isfinite(given).all():
            raise errors.ObservationError(
                f"body holds {given.size} numbers; give x+y+z [m] + roll+pitch+yaw [deg], once or for each of {count} poses."
            )
        sixes = np.resize(given, (count, 6))
        sixes[:, 3:] = np.deg2rad(sixes[:, 3:])
        return list(_matrices(sixes, Rotation.euler_xyz))


def _layout(domain: str, rotation: Rotation) -> str:
    """What the columns of a pose mapping are, in order: `arm position 3 + euler_xyz 3, gripper`."""
    known = domains.get(domain)
    starts = {pose.start: pose.name for pose in known.poses}
    inside = {start + offset for start in starts for offset in range(1, 9)}
    parts = []
    for index, column in enumerate(known.columns):
        if index in starts:
            parts.append(f"{starts[index]} position 3 + {rotation.value} {_NUMBERS[rotation.value]}")
        elif index not in inside:
            parts.append(column.name)
    return ", ".join(parts)


def _matrices(rows_FW: np.ndarray, rotation: Rotation) -> np.ndarray:
    """Rigid motions [F, 4, 4] of rows that hold a position and a rotation."""
    pose_F44 = np.tile(np.eye(4), (len(rows_FW), 1, 1))
    pose_F44[:, :3, 3] = rows_FW[:, :3]
    pose_F44[:, :3, :3] = _rotations(rows_FW[:, 3:], rotation)
    return pose_F44


def _rotations(values: np.ndarray, rotation: Rotation) -> np.ndarray:
    if rotation is Rotation.euler_xyz:  # about the fixed axes x, then y, then z: roll, pitch, yaw
        x, y, z = (actions.rotations(values[:, i : i + 1] * np.eye(3)[i]) for i in range(3))
        return np.asarray(z @ y @ x)
    if rotation is Rotation.rotvec:
        return np.asarray(actions.rotations(values))
    if rotation is Rotation.rot6d:
        return np.asarray(actions.rot6d_to_matrix(values))
    if rotation is Rotation.matrix:  # row by row
        matrix = values.reshape(-1, 3, 3)
        return np.asarray(actions.rot6d_to_matrix(np.concatenate([matrix[:, :, 0], matrix[:, :, 1]], axis=1)))
    if rotation is Rotation.quat_wxyz:
        values = np.roll(values, -1, axis=1)
    length = np.linalg.norm(values, axis=1, keepdims=True)
    if (np.abs(length - 1) > 0.05).any():
        raise errors.ObservationError(
            f"a quaternion has length {float(length[np.argmax(np.abs(length - 1))][0]):.3g}, not 1: is @rotation: right?"
        )
    x, y, z, w = (values / length).T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
            np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
            np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
        ],
        1,
    )
