"""`WorldEnv`: a world model as an environment of gymnasium, for other people's code to act in.

Letters: H height, W width, n actions of one step, T actions of the model's chunk, D action width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from strands_diffusers import domains
from strands_diffusers.config import compose
from strands_diffusers.errors import ActionError, ConfigError, MissingPackageError, RolloutError
from strands_diffusers.plugin.acting import Score, Setting, Track, World
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.results import Observation
from strands_diffusers.runner import job

try:
    import gymnasium
except ImportError:
    gymnasium = None

_Base: Any = object if gymnasium is None else gymnasium.Env


class WorldEnv(_Base):  # type: ignore[misc] # Any
    """A world of `condition=closed_loop`, by default the world model, as a `gymnasium.Env`.

        env = WorldEnv("condition.act_steps=4", observation="pusht:500000@task:goal", reward="pusht_coverage")
        frame, info = env.reset(seed=0)
        frame, reward, terminated, truncated, info = env.step(env.action_space.sample())

    One step is n = `condition.act_steps` actions, by default the model's whole chunk (T, 16 for PushT), which is what it imagines
    best and fastest: one chunk of the model a step. With fewer, each step imagines the chunk from where it began, with the actions
    so far and no motion behind them, and shows the new frames: it costs a whole chunk too, and frames within a chunk may change
    a little from step to step. Other worlds (`world=pusht`) are stepped as they are.

    Spaces: `action_space` is Box(-1, 1) float32 `[n, D]`, or `[D]` where n is 1, in model space, whose values may go beyond
        (nothing is clipped); `observation_space` is Box(0, 255) uint8 `[H, W, 3]`: the last frame, at the model's own size.
    Reward: the score `reward` of the last frame, negated where lower is better; 0 without one.
    End: `terminated` and `truncated` where the world's state says so, and `truncated` after `max_steps` steps.
    Info: `frames` uint8 `[n, H, W, 3]` of the step, `state` as the world gives it, `prompt`.
    Seeds: `reset(seed=...)` decides the model's noise and which observation is drawn; the same seed and actions give the same.

    Args:
        overrides: Of the config, as on the command line; `condition=closed_loop` is set.
        observation: Where episodes begin: an address, an `Observation`, or several, of which each reset draws one.
        reward: Name of a score: `pusht_coverage`, `goal_image`, ...; its options are `score.<name>.*` overrides.
        max_steps: Steps of an episode.

    The model is loaded here. Raises: a `RequestError` for what cannot work; `step` raises `ActionError` for actions of another
    shape or not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    _frame: np.ndarray
    _state: Any
    _chunk_TD: np.ndarray | None

    def __init__(
        self,
        *overrides: str,
        observation: str | Observation | Sequence[str | Observation] | None = None,
        reward: str | None = None,
        max_steps: int | None = None,
        render_mode: str | None = "rgb_array",
    ) -> None:
        if gymnasium is None:
            raise MissingPackageError("WorldEnv needs gymnasium: pip install 'strands-diffusers[gymnasium]'")
        if max_steps is not None and max_steps < 1:
            raise ConfigError(f"max_steps={max_steps} leaves no step. Use 1 or more, or None for no end.")
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode={render_mode!r} is not known. Use 'rgb_array' or None.")
        self.render_mode, self.max_steps = render_mode, max_steps
        starts = [observation] if observation is None or isinstance(observation, str | Observation) else [*observation]
        if not starts:
            raise ConfigError("observation is an empty list. Give one observation or more, or None for the config's.")
        self._starts = [self._checked(overrides, start, reward) for start in starts]
        self._world: World = self._starts[0].world
        self._score: Score | None = self._starts[0].scores[reward] if reward else None
        setting = self._starts[0].setting
        self.metadata = {**type(self).metadata, "render_fps": setting.fps}  # type: ignore[misc]
        self._begin(setting, 0)
        width, n = domains.get(setting.space.domain).width or 0, setting.act_steps
        self.action_space = gymnasium.spaces.Box(-1, 1, (width,) if n == 1 else (n, width), np.float32)
        self.observation_space = gymnasium.spaces.Box(0, 255, self._frame.shape, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode. Returns the first frame and what is known of it."""
        super().reset(seed=seed)
        start = self._starts[int(self.np_random.integers(len(self._starts)))]
        self._begin(start.setting, int(self.np_random.integers(2**31)))
        if self._frame.shape != self.observation_space.shape:
            raise RolloutError(
                f"the frames of {start.setting.observation.source} are {list(self._frame.shape)}, and those of the first observation "
                f"{list(self.observation_space.shape)}. Use observations of one size."
            )
        return self._frame, self._info(self._frame[:0].reshape(0, *self._frame.shape))

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act. Returns the last frame, the reward, whether it ended by itself or by the number of steps, and more."""
        rows = np.asarray(action, np.float32)
        if rows.shape != self.action_space.shape or not np.isfinite(rows).all():
            raise ActionError(
                f"step takes finite actions of shape {list(self.action_space.shape)}, got shape {list(rows.shape)}."
                if rows.shape != self.action_space.shape
                else "step takes finite actions, and these hold NaN or inf."
            )
        rows = rows.reshape(self._setting.act_steps, -1)
        before, state = self._frame, self._state
        frames, states = self._advance(rows)
        self._frame, self._state = frames[-1], states[-1] if states else None
        self._steps += 1
        reward = 0.0
        if self._score is not None:
            track = Track(
                np.concatenate([before[None], frames]), rows, [state, *states] if states else None, self._seed
            )
            value = float(self._score.compute(track)[-1])
            if not np.isfinite(value):
                raise RolloutError(
                    f"the score {self._score.name} gave {value} for step {self._steps}: that is no reward."
                )
            reward = value if self._score.measure.better == "higher" else -value
        flags = self._state if isinstance(self._state, dict) else {}
        truncated = bool(flags.get("truncated")) or (self.max_steps is not None and self._steps >= self.max_steps)
        return self._frame, reward, bool(flags.get("terminated")), truncated, self._info(frames)

    def render(self) -> np.ndarray | None:
        """The last frame, uint8 `[H, W, 3]`; None with `render_mode=None`."""
        return self._frame if self.render_mode else None

    def close(self) -> None:
        """Let go of the model and of what the world holds."""
        for start in self._starts:
            start.close()

    def _checked(self, overrides: tuple[str, ...], start: str | Observation | None, reward: str | None) -> Any:
        """Who takes part, checked, from one observation."""
        prepare()
        fixed = ["condition=closed_loop", "policy=random", "output=[]", "visualizer=[]", "metric=[]", "tracker=none"]
        scores = [f"score=[{reward}]"] if reward else []
        values = {"observation": start} if isinstance(start, str) else None
        config = compose.compose([*fixed, *scores, *overrides], values=values)
        cast = job.check(config, None if isinstance(start, str) else start).cast
        if cast is None:
            raise ConfigError("WorldEnv acts in condition=closed_loop; leave condition= as it is.")
        if reward and reward not in cast.scores:
            raise ConfigError(
                f"reward={reward!r} is none of score={[*cast.scores]}. Leave score= out, or add it there."
            )
        return cast

    def _begin(self, setting: Setting, seed: int) -> None:
        self._setting, self._seed, self._steps, self._chunk_TD = setting, seed, 0, None
        frame, state = self._world.reset(setting, seed)
        self._frame, self._state = np.asarray(frame), state
        if self._score is not None:
            self._score.reset(setting)

    def _advance(self, rows: np.ndarray) -> tuple[np.ndarray, list[Any]]:
        """The frames after the rows, and the world's states there."""
        n, size = len(rows), self._setting.chunk_size
        imagine = getattr(self._world, "imagine", None)
        if imagine is None or n == size:
            stepped = self._world.step(rows, n)
            return stepped.frames, list(stepped.states or [])
        done = self._chunk_TD
        if done is not None and len(done) + n > size:
            self._world.step(done, len(done))
            done = None
        whole = rows if done is None else np.concatenate([done, rows])
        if len(whole) == size:
            stepped, self._chunk_TD = self._world.step(whole, size), None
            return stepped.frames[-n:], []
        (sample,) = imagine(whole[None])
        self._chunk_TD = whole
        return sample.video[len(whole) - n + 1 : len(whole) + 1], []

    def _info(self, frames: np.ndarray) -> dict[str, Any]:
        return {"frames": frames, "state": self._state, "prompt": self._setting.prompt}
