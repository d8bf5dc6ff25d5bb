"""`world=gymnasium`: an environment answers actions with its image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strands_diffusers import Setting, Stepped, World, errors

from .adapter import Adapter, fitted, merged, open_environment
from .options import Options

if TYPE_CHECKING:
    import numpy as np


class GymnasiumWorld(World):
    """A gymnasium environment whose observation or rendering is an image.

    It begins where `reset` with its seed puts it, and shows that instead of the observation's first frame, which only gives
    the size: use `observation=gymnasium:ID@seed:N` for both to be the same.
    Shapes: frames uint8 `[n, H, W, 3]`; one action is one step of the environment.
    State: `{"observation": numbers or null, "reward": r, "terminated": b, "truncated": b}` for each frame. Once it has ended its
        last frame stays, with reward 0: there is nothing to step.
    Raises: `ConfigError` before anything is loaded where the environment cannot be made, has no image or takes other actions.
    """

    name = "gymnasium"
    reaches_out = True  # its id and adapter name modules, which it imports
    Config = Options
    _adapter: Adapter | None = None

    def check(self, setting: Setting) -> None:
        """Make the environment, look at it once, close it again."""
        adapter = self._open(setting)
        try:
            adapter.check()
            self._frame(adapter, adapter.begin(self._seed(setting, 0)), setting)
        finally:
            adapter.env.close()

    def fingerprint(self, setting: Setting) -> str:
        """The environment and its start, as far as the observation decides them, and the version of gymnasium."""
        import dataclasses
        import json
        from importlib.metadata import version

        options = dataclasses.asdict(merged(self.config, setting.observation.details))
        return json.dumps([options, self._seed(setting, 0), version("gymnasium")], sort_keys=True, default=str)

    def reset(self, setting: Setting, seed: int) -> tuple[np.ndarray, Any]:
        """Reset the environment with the seed of `_seed`."""
        if self._adapter is None:
            self._adapter = self._open(setting)
        self._setting = setting
        observation = self._adapter.begin(self._seed(setting, seed))
        self._state = {
            "observation": self._adapter.state(observation, {}),
            "reward": 0.0,
            "terminated": False,
            "truncated": False,
        }
        self._last = self._frame(self._adapter, observation, setting)
        return self._last, self._state

    def step(self, actions: np.ndarray, num_steps: int, progress: Any = None) -> Stepped:
        """Step the environment through the first `num_steps` actions, until it ends."""
        import numpy as np

        adapter = self._adapter
        assert adapter is not None
        frames, states = [], []
        for row in actions[:num_steps]:
            if self._state["terminated"] or self._state["truncated"]:
                self._state = {**self._state, "reward": 0.0}
            else:
                observation, reward, terminated, truncated, info = adapter.env.step(adapter.action(row))
                self._last = self._frame(adapter, observation, self._setting)
                self._state = {
                    "observation": adapter.state(observation, info),
                    "reward": float(reward),
                    "terminated": bool(terminated),
                    "truncated": bool(truncated),
                }
            frames.append(self._last)
            states.append(self._state)
        return Stepped(np.stack(frames), states)

    def close(self) -> None:
        """Close the environment and its window."""
        adapter, self._adapter = self._adapter, None
        if adapter is not None:
            adapter.env.close()

    def _open(self, setting: Setting) -> Adapter:
        options = merged(self.config, setting.observation.details)
        if options.id is None:
            raise errors.ConfigError(
                "world=gymnasium needs an environment. Add world.id=CartPole-v1, or use observation=gymnasium:CartPole-v1."
            )
        return open_environment(options, setting.space)

    def _seed(self, setting: Setting, seed: int) -> int:
        details, own = setting.observation.details, self.config.seed
        if own is not None:
            return int(own)
        of_observation = details.get("kind") == "gymnasium" and self.config.id in (None, details["id"])
        return int(details["seed"]) if of_observation else seed % 2**32

    def _frame(self, adapter: Adapter, observation: Any, setting: Setting) -> np.ndarray:
        size, seen = adapter.options.size, setting.observation.frames
        if size is None and seen is not None:
            size = list(seen.shape[1:3])
        return fitted(adapter.image(observation), size, stretch=adapter.options.size is not None)
