"""`world=pusht`: the simulator answers actions, and gives its state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strands_diffusers import Setting, Stepped, World, errors

if TYPE_CHECKING:
    import numpy as np

    from .simulator import PushT


class PushTWorld(World):
    """The PushT simulator, with its state.

    An episode begins at the table of an observation of `pusht:`, with the block's motion where that observation begins later.
    Walls hold the block unless `source.pusht.solid_walls=false`.
    Shapes: frames uint8 `[n, H, H, 3]` as large as the observation's, at 10 Hz; actions float32 `[T, 2]`, pixel / 256 - 1.
    State: `{"pusher_px": [x, y], "block_px": [x, y], "angle_rad": a, "coverage": c}` after each action: pixels of the 512 x 512
        table, the block's centre of mass, and gym-pusht's coverage of the target, 0 to 1.
    Raises: `ObservationError` for an observation that is no PushT table, `ConfigError` for actions or a rate of another kind.
    """

    name = "pusht"

    def check(self, setting: Setting) -> None:
        """Refuse other observations, actions and rates than the simulator's."""
        check(setting, "world=pusht")

    def fingerprint(self, setting: Setting) -> str:
        """The table with all that its picture does not show, and the simulator's physics."""
        return physics(setting)

    def reset(self, setting: Setting, seed: int) -> tuple[np.ndarray, Any]:
        """Set the table as the observation has it."""
        assert setting.observation.frames is not None  # checked
        self._simulator = start(setting, setting.observation.frames.shape[1])
        return self._simulator.render(), state_of(self._simulator)

    def step(self, actions: np.ndarray, num_steps: int, progress: Any = None) -> Stepped:
        """Draw the pusher towards each of the first `num_steps` targets, 0.1 s each."""
        import numpy as np

        from .simulator import to_pixels

        frames, states = [], []
        for target in to_pixels(actions[:num_steps]):
            self._simulator.step(target)
            frames.append(self._simulator.render())
            states.append(state_of(self._simulator))
        return Stepped(np.stack(frames), states)

    def hold(self) -> np.ndarray:
        """The pusher's own place as its target: nothing moves."""
        from .simulator import to_model_space

        return to_model_space(self._simulator.pusher_px)


def check(setting: Setting, who: str) -> None:
    """Refuse what is no table of the simulator, for `who` is to act on one. Raises: a `RequestError`."""
    from .simulator import FPS

    if setting.space.domain != "pusht" or not setting.space.pixel_map:
        raise errors.ConfigError(
            f"{who} reads actions as pixel / 256 - 1, and those of domain {setting.space.domain!r} of this model are others. "
            "Use domain=pusht and a model with model.pixel_map=true."
        )
    if setting.fps != FPS:
        raise errors.ConfigError(
            f"{who} makes {FPS} steps a second, and domain.fps is {setting.fps:g}. Use domain.fps={FPS}."
        )
    seen, frames = table(setting), setting.observation.frames
    if not seen or frames is None or frames.shape[1] != frames.shape[2]:
        raise errors.ObservationError(
            f"{who} begins at a table of the simulator, and {setting.observation.source or 'the observation'} is none. "
            "Use observation=pusht:500000@task:goal, or another number."
        )


def physics(setting: Setting) -> str:
    """What decides how an episode goes on from the observation beside its frame and the actions."""
    import importlib.metadata
    import json

    options: Any = setting.config.source["pusht"]
    version = importlib.metadata.version("gym-pusht")
    return json.dumps([table(setting), options.solid_walls, version], sort_keys=True)


def table(setting: Setting) -> dict[str, Any] | None:
    """What the observation knows of its table: `state` [5 numbers], `seed`, `start` and `task`; None where it is no table."""
    import math

    details = setting.observation.details
    state = details.get("state")
    if details.get("kind") != "pusht" or not isinstance(state, list | tuple) or len(state) != 5:
        return None
    if not all(isinstance(value, float | int) and math.isfinite(value) for value in state):
        return None
    return {"seed": 0, "start": 0, "task": "left", **details}


def start(setting: Setting, frame_px: int | None = None) -> PushT:
    """A simulator at the observation's table.

    Where the observation's seed leads to its state, that way is gone, so that a block that moves goes on moving; any other
    state is entered at rest.
    """
    import numpy as np

    from .expert import play
    from .simulator import FRAME_PX, PushT

    seen: Any = table(setting)
    options: Any = setting.config.source["pusht"]
    simulator = PushT(frame_px or FRAME_PX, options.solid_walls)
    simulator.start(seen["seed"])
    if seen["start"]:
        play(simulator, seen["task"], seen["seed"], seen["start"])
    if not np.allclose(simulator.state, seen["state"], rtol=0, atol=1e-6):
        simulator.state = np.array(seen["state"])
    return simulator


def state_of(simulator: PushT) -> dict[str, Any]:
    """What the world gives as the simulator's state."""
    *place, angle = simulator.state.tolist()
    return {"pusher_px": place[:2], "block_px": place[2:], "angle_rad": angle, "coverage": simulator.coverage}
