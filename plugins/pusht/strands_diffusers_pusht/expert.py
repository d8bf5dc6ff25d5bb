"""A scripted pusher: five tasks in words, and the motions that a world model should have seen besides.

`Expert(task, simulator, seed).act()` gives the next target of the pusher [simulator pixels]. Everything random about
an expert (speed, tremor, strokes, pauses) comes from its seed.
"""

from __future__ import annotations

import numpy as np

from .simulator import PushT

TASKS = ("left", "right", "up", "down", "goal")
"""What the block can be asked to do."""

MOTIONS = ("free", "poke")
"""Motions without a task: wandering, and strokes at, along and past the block from any side at any speed."""

DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
"""Where a task moves the block, as a unit vector in image coordinates (y downwards)."""

_GOAL_ANGLE = np.pi / 4
GOAL_PX = np.array([256.0, 256.0]) + 45.0 * np.array([-np.sin(_GOAL_ANGLE), np.cos(_GOAL_ANGLE)])
"""Centre of mass of the green target."""

_MARGIN_PX = 22.0

_LEAD = 2.6
"""How far ahead of the pusher its target is at most while it pushes, in steps: the pusher trails behind."""

_CLEAR_PX = 28.0
"""How far from the block the pusher's centre stays (its radius is 15) until it is to touch it."""

_BERTH_PX = 54.0
"""How far beyond the block's outline its way round leads."""

_THERE_PX = 12.0
"""How close to the goal is there: nearer, a push does more harm than good."""


class Expert:
    """One pusher with one task. Call `act()` once per frame; it reads the simulator's state."""

    def __init__(self, task: str, simulator: PushT, seed: int) -> None:
        if task not in (*TASKS, *MOTIONS):
            raise ValueError(f"task {task!r} is not one of {', '.join((*TASKS, *MOTIONS))}.")
        self.task, self.sim = task, simulator
        self.rng = rng = np.random.default_rng([seed, 1])
        self.tremor_px = rng.uniform(0, 2.5)
        self.approach_px = rng.uniform(45, 72)
        self.push_px = rng.uniform(16, 30)
        self.pause_chance = rng.choice([0.0, 0.0, 0.03])
        self.pause_left = 0
        self.pushing = False
        self.target = simulator.pusher_px
        self._turn = 0.0
        self._waypoint = np.zeros(2)
        self._stroke()

    def act(self) -> np.ndarray:
        """The next action [2], in simulator pixels."""
        if self.pause_left == 0 and self.rng.random() < self.pause_chance:
            self.pause_left = int(self.rng.integers(2, 7))
        if self.pause_left:
            self.pause_left -= 1
        elif self.task == "free":
            self._wander()
        elif self.task == "poke":
            self._poke()
        elif self.task == "goal":
            self._to_goal()
        else:
            self._push(np.array(DIRECTIONS[self.task]), self.push_px)
        self.target = np.clip(self.target, _MARGIN_PX, 512 - _MARGIN_PX)
        return self.target + self.rng.normal(0, self.tremor_px, 2)

    def _step_towards(self, point: np.ndarray, speed_px: float) -> None:
        gap = point - self.target
        distance = float(np.linalg.norm(gap))
        self.target = self.target + gap * min(1.0, speed_px / max(distance, 1e-6))

    def _to_goal(self) -> None:
        gap = GOAL_PX - self.sim.block_px
        distance = float(np.linalg.norm(gap))
        if distance < _THERE_PX:  # there: let go, so that the pusher's own way back does not push on
            self.pushing = False
            away = self.sim.pusher_px - self.sim.block_px
            touching = self.sim.clearance_px(self.sim.pusher_px) < 25
            self.target = self.sim.pusher_px + touching * 12 * away / np.linalg.norm(away)
            return
        direction = gap / distance
        if self.pushing and self._side @ direction < 0.6:
            self.pushing = False
        self._push(direction, min(self.push_px, max(2.0, distance / _LEAD)))  # never drawn beyond the goal

    def _push(self, direction: np.ndarray, speed_px: float, offset_px: float = 0.0) -> None:
        """Go behind the block as seen along `direction`, then push along a line `offset_px` beside its centre."""
        block, pusher = self.sim.block_px, self.sim.pusher_px
        across = np.array([-direction[1], direction[0]])
        line = block @ across + offset_px
        along = self.sim.corners_px @ direction
        behind_px = float(block @ direction - along.min())
        lateral, depth = pusher @ across - line, (pusher - block) @ direction
        if not self.pushing:
            self._approach(direction * (block @ direction - behind_px - 30) + across * line)
            if abs(lateral) < 12 and depth < -(behind_px + 10):
                self.pushing, self._side = True, direction
        else:
            lead = pusher @ direction + _LEAD * speed_px
            reach = min(max(self.target @ direction, pusher @ direction) + speed_px, lead)
            self.target = direction * reach + across * line
            if abs(lateral) > 55 or depth > 0:
                self.pushing = False

    def _approach(self, point: np.ndarray) -> None:
        """Move towards `point`; where the block is in the way, towards the furthest visible place on a way round it."""
        block, here = self.sim.block_px, self.sim.pusher_px
        if self._in_view(point):
            self._turn = 0.0
            self._step_towards(point, self.approach_px)
            return
        angle = np.arctan2(*(here - block)[::-1])
        if self._turn == 0.0:
            gap = (np.arctan2(*(point - block)[::-1]) - angle + np.pi) % (2 * np.pi) - np.pi
            self._turn = float(np.sign(gap)) or 1.0
        for ahead in (1.0, 0.8, 0.6, 0.4, 0.2):
            spoke = np.array([np.cos(angle + self._turn * ahead), np.sin(angle + self._turn * ahead)])
            outline_px = ((self.sim.corners_px - block) @ spoke).max()
            place = block + spoke * (outline_px + _BERTH_PX)
            if self._in_view(place):
                break  # else, too near the block to see any: the nearest, which leads away from it
        self._step_towards(place, self.approach_px)

    def _in_view(self, point: np.ndarray) -> bool:
        """Whether the straight way from the pusher itself, which trails its target, keeps clear of the block."""
        path = np.linspace(self.sim.pusher_px, point, 7)[1:]
        return all(self.sim.clearance_px(p) > _CLEAR_PX for p in path)

    def _wander(self) -> None:
        rng = self.rng
        if np.linalg.norm(self._waypoint - self.target) < 10 or rng.random() < 0.06:
            anywhere = rng.random() < 0.6
            self._waypoint = rng.uniform(40, 472, 2) if anywhere else self.sim.block_px + rng.normal(0, 50, 2)
            self._wander_px = rng.uniform(4, 46)
        self._step_towards(self._waypoint, self._wander_px)

    def _stroke(self) -> None:
        """Choose the next stroke: its direction, its speed, and how far beside the centre it goes (over 75: a miss)."""
        rng, angle = self.rng, self.rng.uniform(-np.pi, np.pi)
        self._side = self._stroke_direction = np.array([np.cos(angle), np.sin(angle)])
        self._stroke_offset_px, self._stroke_px = rng.uniform(-85, 85), rng.uniform(3, 34)
        self._stroke_left = int(rng.integers(6, 16))
        self._waypoint, self._wander_px = rng.uniform(40, 472, 2), rng.uniform(4, 46)

    def _poke(self) -> None:
        self._push(self._stroke_direction, self._stroke_px, self._stroke_offset_px)
        self._stroke_left -= self.pushing
        if self._stroke_left <= 0:
            self._stroke()
            self.pushing = False


def play(simulator: PushT, task: str, seed: int, num_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Let the expert act from the simulator's present state.

    Shapes: -> frames uint8 [T + 1, 96, 96, 3], actions float32 [T, 2] (simulator pixels), states [T + 1, 5].
    """
    expert = Expert(task, simulator, seed)
    frames, states, actions = [simulator.render()], [simulator.state], []
    for _ in range(num_steps):
        action = expert.act()
        actions.append(action)
        states.append(simulator.step(action))
        frames.append(simulator.render())
    return np.stack(frames), np.asarray(actions, np.float32), np.stack(states)


def progress_px(states: np.ndarray, task: str) -> float:
    """Block's move from the first to the last of `states` [F, 5], along a task's direction or towards the goal [pixels]."""
    first, last = states[0, 2:4], states[-1, 2:4]
    if task == "goal":
        return float(np.linalg.norm(GOAL_PX - first) - np.linalg.norm(GOAL_PX - last))
    return float((last - first) @ np.array(DIRECTIONS[task]))
