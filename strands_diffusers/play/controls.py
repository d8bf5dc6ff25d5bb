"""What a person moves: the columns of a domain's actions as controls, and what was done with them as action rows.

Letters: n steps of an input, D action width. Rows are float32 in model space; controls are in physical units (pixels of
PushT's table, metres, degrees) where the space has them, else in model space.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from strands_diffusers import actions, domains
from strands_diffusers.errors import ActionError
from strands_diffusers.lazy import np
from strands_diffusers.results import ActionSpace

FASTEST_PX = 70.0
"""How far a target moves in one step at full speed [px of 512]: as far as the model's training data go."""

FREE = 0.1
"""Most that a body moves [model units] and turns [rad] in one step where nothing is normalised."""


STILL_M, STILL_DEG = 5e-4, 0.1
"""A body that never moves or turns further in one step of the training data does not."""


class Controls:
    """The controls of an action space.

    `point`: a target on the picture, for PushT. `bodies`: what moves by pose deltas, along and about its own axes.
    `values`: every other column, held as it is set.
    """

    def __init__(self, space: ActionSpace) -> None:
        """Raises: `ActionError` for a domain without known columns."""
        self.space, self.domain = space, domains.get(space.domain)
        columns = self.domain.columns
        self._decodable = actions.decodable(space)
        self.point = space.pixel_map
        posed = {i for pose in self.domain.poses for i in range(pose.start, pose.start + 9)}
        self._values = {} if self.point else {c.name: i for i, c in enumerate(columns) if i not in posed}
        ends = np.stack([-np.ones(len(columns)), np.ones(len(columns))])
        self._ends_2D = np.sort(actions.to_physical(ends, space), axis=0) if self._decodable else ends

    def described(self, held_D: np.ndarray | None) -> dict[str, Any]:
        """What the page draws. `held_D`: the last action, where there is one."""
        now = None if held_D is None else self._physical(held_D)
        found: dict[str, Any] = {"point": None, "bodies": [], "values": []}
        if self.point:
            found["point"] = {
                "side": actions.units.PIXELS,
                "fastest": FASTEST_PX,
                "at": None if now is None else now.tolist(),
            }
        for pose in self.domain.poses:
            move, turn = self._most(pose.start)
            unit = self.domain.columns[pose.start].unit if self.space.statistics else ""
            found["bodies"].append({"name": pose.name, "unit": unit, "move": move, "turn": turn})
        for name, column in self._values.items():
            low, high = self._ends_2D[:, column].tolist()
            of = self.domain.columns[column]
            unit = of.unit if self._decodable else ""
            at = high if now is None else float(now[column])
            found["values"].append({"name": name, "kind": of.kind, "unit": unit, "low": low, "high": high, "at": at})
        return found

    def rows(self, given: Mapping[str, Any], held_D: np.ndarray | None, count: int) -> np.ndarray:
        """What was done as `count` rows, float32 `[n, D]`.

        `given`: `{"point": [x, y], "speed": px}`, `{"bodies": {NAME: {"move": [x, y, z], "turn": [x, y, z]}}, "values":
        {COLUMN: number}}`: per step, in the units of `described`, turns in degrees. What is missing does not move.

        Raises: `ActionError` for what is no finite number, or a control that is not there.
        """
        if self.point:
            return self._towards(given, held_D, count)
        row_D = np.full(len(self.domain.columns), np.nan) if held_D is None else self._physical(held_D)
        bodies, values = _mapping(given, "bodies"), _mapping(given, "values")
        for pose in self.domain.poses:
            body = _mapping(bodies, pose.name)
            turn = np.radians(_numbers(body.get("turn", [0, 0, 0]), 3, f"{pose.name}'s turn"))
            row_D[pose.start : pose.start + 3] = _numbers(body.get("move", [0, 0, 0]), 3, f"{pose.name}'s move")
            row_D[pose.start + 3 : pose.start + 9] = actions.matrix_to_rot6d(actions.rotations(turn[None])[0])
        for name, value in values.items():
            if name not in self._values:
                raise ActionError(f"{name!r} is no control of domain {self.domain.short}.")
            row_D[self._values[name]] = _numbers([value], 1, name)[0]
        if unset := [c.name for c, value in zip(self.domain.columns, row_D, strict=True) if math.isnan(value)]:
            raise ActionError(f"{', '.join(unset)} was not set, and nothing says what to hold.")
        row_D = actions.to_model(row_D, self.space) if self._decodable else row_D
        return np.tile(row_D.astype(np.float32), (count, 1))

    def _towards(self, given: Mapping[str, Any], held_D: np.ndarray | None, count: int) -> np.ndarray:
        """Targets on a straight line to the point, no faster than said; without a point the target stays."""
        at = None if held_D is None else self._physical(held_D)
        if given.get("point") is None:
            if at is None:
                raise ActionError("nothing says where the pusher's target is. Point at the picture first.")
            return np.tile(np.asarray(held_D, np.float32), (count, 1))
        goal = np.array(_numbers(given["point"], 2, "the point"))
        [speed] = _numbers([given.get("speed", FASTEST_PX)], 1, "the speed")
        start = goal if at is None else at
        length = float(np.linalg.norm(goal - start))
        share_n = np.minimum(speed * np.arange(1, count + 1) / max(length, 1e-9), 1.0)
        return actions.to_model(start + share_n[:, None] * (goal - start), self.space).astype(np.float32)

    def _physical(self, row_D: np.ndarray) -> np.ndarray:
        return actions.to_physical(row_D, self.space) if self._decodable else np.array(row_D, np.float64)

    def _most(self, start: int) -> tuple[list[float], list[float]]:
        """The most that a body moves along x, y, z and turns about them [degrees] in a step: half of what the training
        data span, and 0 where that is nothing (the head of a robot that holds it still).
        """
        if self.space.statistics is None:
            return [FREE] * 3, [math.degrees(FREE)] * 3
        half_D = (self._ends_2D[1] - self._ends_2D[0]) / 2
        turns = [math.degrees(half_D[start + 3 + i]) for i in (5, 2, 1)]  # r32, r31, r21 of a small rotation
        moves = half_D[start : start + 3].tolist()
        return [m if m > STILL_M else 0.0 for m in moves], [t if t > STILL_DEG else 0.0 for t in turns]


def _mapping(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = given.get(key) or {}
    if not isinstance(value, Mapping):
        raise ActionError(f"{key} is {type(value).__name__}; it must be an object.")
    return value


def _numbers(value: Any, count: int, what: str) -> list[float]:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != count or any(isinstance(v, bool) or not isinstance(v, int | float) for v in numbers):
        raise ActionError(f"{what} is {str(value)[:60]}; it must be {count} numbers.")
    if not all(math.isfinite(v) and abs(v) < 1e6 for v in numbers):
        raise ActionError(f"{what} is {str(value)[:60]}: not finite, or beyond any world.")
    return [float(v) for v in numbers]
