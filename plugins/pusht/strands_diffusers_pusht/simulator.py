"""The PushT simulator: gym-pusht's own physics and drawing, stepped without its reward.

Units: simulator pixels of a 512 x 512 table, x to the right, y downwards; angles in radians.
State: float64 [5] = pusher x, y, block centre of mass x, y, block angle. (gym-pusht's own state holds the
    origin of the block's body instead, which is not a point of interest in a picture.)
Action: float [2], the position the pusher is drawn to, in simulator pixels. In model space it is pixel / 256 - 1.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

TABLE_PX = 512
"""Side of the table [simulator pixels]."""

FRAME_PX = 96
"""Side of a rendered frame [image pixels]."""

FPS = 10
"""Frames, and actions, per second of simulated time."""

HELD_OUT_SEED = 500_000
"""Seeds from here on are never trained on: use them to evaluate."""

PUSHER_RADIUS_PX = 15
"""Radius of the round pusher [simulator pixels]."""

_SUBSTEPS = 10  # 10 x 0.01 s = one frame, as in PushTEnv.step
_WALL_PX = 9.0  # the walls stand at 5 and 506 and are 2 thick; a block comes to rest a little off them
_INSIDE_PX = (6.0, 505.0)  # a held block's corners: the walls' faces, less one pixel for the solver to see the contact
_REACH_PX = (16.0, 496.0)  # targets beyond the walls would press the pusher into them


def to_model_space(action_px: np.ndarray) -> np.ndarray:
    """Simulator pixels [..., 2] to the model's action space, float32 about [-1, 1]."""
    return (np.asarray(action_px, np.float64) / 256 - 1).astype(np.float32)


def to_pixels(action: np.ndarray) -> np.ndarray:
    """The model's action space [..., 2] back to simulator pixels, float64."""
    return (np.asarray(action, np.float64) + 1) * 256


class PushT:
    """One table. `start(seed)`, then `step(action_px)` and `render()`; `state` can be read and set.

    Args:
        frame_px: Side of a rendered frame.
        solid_walls: gym-pusht's pusher has a force without limit and drives the block through the walls. With solid walls
            the block stays on the table, and the pusher stops at it. Where no wall is touched both are the same.
    """

    def __init__(self, frame_px: int = FRAME_PX, solid_walls: bool = True) -> None:
        self.solid_walls = solid_walls
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import cv2
        import gym_pusht  # type: ignore[import-untyped]  # noqa: F401  (registers the environment)
        import gymnasium

        cv2.setNumThreads(1)
        size: dict[str, Any] = {"observation_width": frame_px, "observation_height": frame_px}
        environment: Any = gymnasium.make("gym_pusht/PushT-v0", obs_type="pixels", **size)
        self._env = environment.unwrapped
        self._env._setup()

    @property
    def pusher_px(self) -> np.ndarray:
        """Centre of the pusher, [2]."""
        return np.array(self._env.agent.position)

    @property
    def block_px(self) -> np.ndarray:
        """Centre of mass of the block, [2]."""
        block = self._env.block
        return np.array(block.local_to_world(block.center_of_gravity))

    @property
    def corners_px(self) -> np.ndarray:
        """The corners of the block's two rectangles, [8, 2]."""
        block = self._env.block
        return np.array([block.local_to_world(v) for s in self._env._block_shapes for v in s.get_vertices()])

    @property
    def block_at_wall(self) -> bool:
        """Whether the block touches a wall, or is beyond one (see `solid_walls`)."""
        return bool(self.corners_px.min() < _WALL_PX or self.corners_px.max() > TABLE_PX - _WALL_PX)

    @property
    def coverage(self) -> float:
        """Share of the green target that the block covers, 0 to 1: gym-pusht's own measure of success (above 0.95)."""
        from gym_pusht.envs.pusht import pymunk_to_shapely  # type: ignore[import-untyped]

        env = self._env  # gym-pusht takes the shapes from a set, whose order changes the last digit
        bodies = env.get_goal_pose_body(env.goal_pose), env.block
        goal, block = (pymunk_to_shapely(body, env._block_shapes) for body in bodies)
        return float(goal.intersection(block).area / goal.area)

    @property
    def state(self) -> np.ndarray:
        """Pusher x, y, block x, y, block angle: [5]."""
        return np.array([*self.pusher_px, *self.block_px, self._env.block.angle])

    @state.setter
    def state(self, state: np.ndarray) -> None:
        env = self._env
        touched: list[Any] = []
        for body in (env.agent, env.block):
            body.each_arbiter(touched.append)
        if touched:  # contacts where the bodies were would be drawn, and push in the next step
            env._setup()
        env.agent.position = tuple(map(float, state[:2]))
        env.block.angle = float(state[4])
        env.block.position = (0, 0)
        env.block.position = tuple(np.asarray(state[2:4], float) - self.block_px)
        for body in (env.agent, env.block):
            body.velocity = (0, 0)
            env.space.reindex_shapes_for_body(body)
        env.block.angular_velocity = 0

    def copy_state(self, other: PushT) -> None:
        """Be in the state of another table, with the same velocities; what its contacts remember stays behind."""
        self._env._setup()
        self.state = other.state
        for name in ("agent", "block"):
            mine, its = getattr(self._env, name), getattr(other._env, name)
            mine.velocity, mine.angular_velocity = its.velocity, its.angular_velocity

    def clearance_px(self, point: np.ndarray) -> float:
        """Distance from a point to the block; negative inside it."""
        return float(min(s.point_query(tuple(map(float, point))).distance for s in self._env._block_shapes))

    def has_room(self, point: np.ndarray) -> bool:
        """Whether the pusher can start there: clear of the walls and of the block."""
        inside = point.min() > 26 and point.max() < 486
        return bool(inside and self.clearance_px(point) > PUSHER_RADIUS_PX + 4)

    def start(self, seed: int) -> np.ndarray:
        """Draw a start from `seed`: a block clear of the walls, a pusher clear of the block, both at rest. -> state."""
        rng = np.random.default_rng(seed)
        self._env._setup()
        while True:
            block, angle = rng.uniform(110, 402, 2), rng.uniform(-np.pi, np.pi)
            near = rng.random() < 0.4
            pusher = block + rng.normal(0, 85, 2) if near else rng.uniform(30, 482, 2)
            self.state = np.array([*pusher, *block, angle])
            corners = self.corners_px
            if corners.min() > 14 and corners.max() < 498 and self.has_room(pusher):
                return self.state

    def step(self, action_px: np.ndarray) -> np.ndarray:
        """Draw the pusher towards `action_px` [2] for one frame (0.1 s). -> state."""
        env = self._env
        target = np.clip(np.asarray(action_px, float), *_REACH_PX)
        for _ in range(_SUBSTEPS):
            (x, y), (vx, vy) = env.agent.position, env.agent.velocity
            ax = env.k_p * (target[0] - x) - env.k_v * vx
            ay = env.k_p * (target[1] - y) - env.k_v * vy
            env.agent.velocity = (vx + ax * env.dt, vy + ay * env.dt)
            env.space.step(env.dt)
            if self.solid_walls:
                self._hold()
        return self.state

    def _hold(self) -> None:
        """Put a block that a wall was pushed into back on the table, and the pusher back out of the block."""
        corners = self.corners_px
        low, high = _INSIDE_PX
        back = np.maximum(low - corners.min(0), 0) + np.minimum(high - corners.max(0), 0)
        if not back.any():
            return
        env = self._env
        env.block.position = tuple(np.array(env.block.position) + back)
        env.space.reindex_shapes_for_body(env.block)
        centre = tuple(env.agent.position)
        near = min((s.point_query(centre) for s in env._block_shapes), key=lambda query: query.distance)
        depth = PUSHER_RADIUS_PX - near.distance
        if depth > 0:
            env.agent.position = tuple(np.array(centre) + depth * np.array(near.gradient))
            env.agent.velocity = (0, 0)
            env.space.reindex_shapes_for_body(env.agent)

    def render(self) -> np.ndarray:
        """The frame that a camera above the table sees: uint8 [96, 96, 3], RGB."""
        return np.asarray(self._env._render())

    def run(self, actions_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Step through actions [T, 2] from the present state. -> frames uint8 [T + 1, 96, 96, 3], states [T + 1, 5]."""
        frames, states = [self.render()], [self.state]
        for action in actions_px:
            states.append(self.step(action))
            frames.append(self.render())
        return np.stack(frames), np.stack(states)
