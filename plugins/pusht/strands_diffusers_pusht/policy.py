"""`policy=pusht_expert`: the scripted pusher, looking ahead in a simulator of its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strands_diffusers import Look, Policy, Proposal, Setting, errors

from . import world
from .source import WORDS

if TYPE_CHECKING:
    import numpy as np

    from .expert import Expert
    from .simulator import PushT


class PushTExpert(Policy):
    """The scripted pusher of the simulator, which plans its next step after every step.

    It has a simulator of its own and steps it through the actions that were executed; where the world gives a state
    (`world=pusht`), that state holds. With `world=model`, which gives none, it therefore acts on what would truly have
    happened, not on what was imagined.
    Task: the prompt, which must be one of the source's sentences; without one the observation's own task.
    Seed: the table's number plus the sample's seed.
    Raises: as `world=pusht`, and `ConfigError` for a prompt that it does not know.
    """

    name = "pusht_expert"
    keeps_state = True

    @dataclass
    class Config(Policy.Config):
        """Options of the scripted pusher."""

        noise_px: float = 0.0
        """Standard deviation of a random error that is added to each target [px of 512], 0 and more: a worse expert."""

        def __post_init__(self) -> None:
            if not 0 <= self.noise_px <= 512:
                raise errors.ConfigError(
                    f"policy.noise_px={self.noise_px:g} is not within 0 and 512 pixels. Use policy.noise_px=20."
                )

    def check(self, setting: Setting) -> None:
        """Refuse an observation that is no table, and a prompt that names no task."""
        world.check(setting, "policy=pusht_expert")
        _task(setting)

    def fingerprint(self, setting: Setting) -> str:
        """As of `world=pusht`: it looks ahead in a simulator of its own."""
        return world.physics(setting)

    def reset(self, setting: Setting, seed: int) -> None:
        """Stand at the observation's table."""
        from .simulator import PushT

        seen: Any = world.table(setting)
        self._setting, self._seeds = setting, (seen["seed"] + seed, 5)
        self._other = PushT(solid_walls=setting.config.source["pusht"].solid_walls)  # type: ignore[attr-defined]
        self._begin()

    def act(self, look: Look) -> Proposal:
        """What it would do next: as many steps as are acted on exactly, the rest of the chunk nearly."""
        import numpy as np

        from .simulator import to_model_space, to_pixels

        self._follow(look)
        rows = []
        expert, simulator = self._expert, self._simulator
        for row in range(self._setting.chunk_size):
            if row == self._setting.act_steps:  # the rest is not acted on before the next look: in a copy
                expert, simulator = self._ahead()
            target = expert.act()
            if self.config.noise_px:
                step = len(look.actions) + row
                target = target + np.random.default_rng([*self._seeds, step]).normal(0, self.config.noise_px, 2)
            rows.append(to_model_space(target))
            if row < self._setting.act_steps:
                self._done.append(rows[-1])
            simulator.step(to_pixels(rows[-1]))
            if look.progress:
                look.progress("plan", row + 1, self._setting.chunk_size)
        return Proposal(np.stack(rows))

    def _begin(self) -> None:
        from .expert import Expert

        self._simulator: PushT = world.start(self._setting)
        self._expert: Expert = Expert(_task(self._setting), self._simulator, self._seeds[0])
        self._done: list[np.ndarray] = []

    def _follow(self, look: Look) -> None:
        """Stand where the executed actions lead, and where the world says that it is."""
        import numpy as np

        from .simulator import to_pixels

        if not np.array_equal(np.array(self._done).reshape(-1, 2), look.actions):  # others were executed than planned
            self._begin()
            for row in look.actions:
                self._expert.act()
                self._done.append(row)
                self._simulator.step(to_pixels(row))
        if isinstance(look.state, dict) and {"pusher_px", "block_px", "angle_rad"} <= look.state.keys():
            state = np.array([*look.state["pusher_px"], *look.state["block_px"], look.state["angle_rad"]])
            if not np.allclose(state, self._simulator.state, rtol=0, atol=1e-6):
                self._simulator.state = state

    def _ahead(self) -> tuple[Expert, PushT]:
        """A copy of the pusher in a copy of its simulator."""
        self._other.copy_state(self._simulator)
        expert = copy.copy(self._expert)
        expert.rng, expert.sim = copy.deepcopy(self._expert.rng), self._other
        return expert, self._other


def _task(setting: Setting) -> str:
    """The task that the prompt names, else the observation's."""
    said = " ".join(setting.prompt.lower().split()).rstrip(".")
    tasks = {words.lower().rstrip("."): task for task, words in WORDS.items()}
    if said and said not in tasks:
        known = ", ".join(map(repr, WORDS.values()))
        raise errors.ConfigError(f"policy=pusht_expert does not know the task {setting.prompt!r}; it knows {known}.")
    return tasks[said] if said else (world.table(setting) or {})["task"]
