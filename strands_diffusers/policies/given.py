"""The policies that look at nothing: given actions, what a person did, no motion, chance. Letters: T steps of a chunk, D action width."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers import actions, domains
from strands_diffusers.config.schema import PolicyConfig
from strands_diffusers.errors import ActionError, ConfigError
from strands_diffusers.lazy import np
from strands_diffusers.observations import action_files
from strands_diffusers.observations.resolve import array_hash
from strands_diffusers.plugin.acting import Look, Policy, Proposal, Setting, World
from strands_diffusers.plugin.manager import plugins


class _GivenPolicy(Policy):
    """A policy whose actions are known before it looks."""

    def check(self, setting: Setting) -> None:
        """Refuse actions that are missing, too few, or of another domain or size."""
        self._read(setting)

    def fingerprint(self, setting: Setting) -> str | None:
        """The content of the actions."""
        return array_hash(self._read(setting))

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin with the first action."""
        self._setting, self._actions = setting, self._read(setting)

    @abstractmethod
    def _read(self, setting: Setting) -> np.ndarray:
        """The actions of an episode. Raises: a `RequestError`."""


class ReplayPolicy(_GivenPolicy):
    """Act out given actions: the observation's own, or those of a file, one after the other, whatever is seen."""

    name = "replay"

    @dataclass
    class Config(PolicyConfig):
        """Where the actions come from."""

        actions: str | None = None
        """Action file (.json, .npy, .npz), [T, D] in model space; null: the observation's own actions."""

    config: Config

    def act(self, look: Look) -> Proposal:
        """The next T actions; where they end within the chunk, no motion follows, which is not acted on."""
        size, begin = self._setting.chunk_size, look.index * self._setting.act_steps
        return Proposal(actions.padded(self._actions[begin : begin + size], size, self._setting.space))

    def _read(self, setting: Setting) -> np.ndarray:
        steps, observation = setting.num_looks * setting.act_steps, setting.observation
        if self.config.actions is not None:
            value, what = action_files.read_actions(Path(self.config.actions)), f"action file {self.config.actions}"
        elif observation.actions is not None:
            value, what = observation.actions, f"observation {observation.source}"
        else:
            raise ActionError(
                f"policy=replay needs actions and observation {observation.source} holds none. "
                "Add policy.actions=FILE.json (nested lists [T][D] in model space)."
            )
        try:
            rows_TD = actions.check_actions(value, setting.space.domain, space=setting.space)
        except ActionError as error:
            raise ActionError(f"{what}: {error}") from error
        if len(rows_TD) < steps:
            looks = len(rows_TD) // setting.act_steps
            instead = f"Use condition.num_looks={looks}, or give" if looks else "Give"
            raise ActionError(
                f"{what} has {len(rows_TD)} steps; policy=replay needs {steps} for {setting.num_looks} looks of "
                f"{setting.act_steps} steps. {instead} more actions."
            )
        return rows_TD


class PersonPolicy(_GivenPolicy):
    """Do again what a person did, and what they let other policies do, look by look: a session of `strands-diffusers play`.

    Unlike `policy=replay` it repeats what was proposed at each look, so that the same model shows the same frames.
    """

    name = "person"

    @dataclass
    class Config(PolicyConfig):
        """Which session."""

        actions: str | None = None
        """`episode.json` of a saved session."""

    config: Config

    def act(self, look: Look) -> Proposal:
        """What was proposed at this look."""
        return Proposal(self._actions[look.index])

    def _read(self, setting: Setting) -> np.ndarray:
        if self.config.actions is None:
            raise ConfigError(
                "policy=person acts in a browser: strands-diffusers play. To repeat a saved session add policy.actions=DIR/episode.json."
            )
        name, looks, size = f"session {self.config.actions}", setting.num_looks, setting.chunk_size
        proposal_KTD = action_files.read_chunks(Path(self.config.actions).expanduser(), name)
        if proposal_KTD.ndim != 3 or proposal_KTD.shape[1] != size:
            raise ActionError(
                f"{name} has shape {list(proposal_KTD.shape)}; policy=person needs [K, {size}, D]. "
                "Use the episode.json of a saved session, or policy=replay for other actions."
            )
        actions.check_actions(proposal_KTD, setting.space.domain, space=setting.space)
        if len(proposal_KTD) < looks:
            raise ActionError(
                f"{name} has {len(proposal_KTD)} looks; {looks} are asked for. Use condition.num_looks={len(proposal_KTD)}."
            )
        return proposal_KTD[:looks]


class StillPolicy(Policy):
    """Never move: no motion in the domain's own sense, what is absolute (targets, grippers) held as it last was.

    Before the first action that is what the world says, else the first action of the observation.
    """

    name = "still"

    def check(self, setting: Setting) -> None:
        """Refuse a domain of which no motion is not known, and an episode in which it is not known what to hold."""
        self._setting = setting
        actions.no_motion(np.zeros((1, domains.get(setting.space.domain).width or 0), np.float32), setting.space)
        world = plugins().find("world", setting.config.world.name)
        if setting.observation.actions is None and world.hold is World.hold:  # which never knows
            self._held(None)

    def reset(self, setting: Setting, seed: int) -> None:
        """Nothing is kept."""
        self._setting = setting

    def act(self, look: Look) -> Proposal:
        """No motion, T times. Raises: `ActionError` where it is not known what to hold."""
        held_1D = look.actions[-1:] if len(look.actions) else self._held(look.hold)
        space = self._setting.space
        return Proposal(actions.padded(actions.no_motion(held_1D, space)[None], self._setting.chunk_size, space))

    def _held(self, hold: np.ndarray | None) -> np.ndarray:
        """What is held before the first action [1, D], by the world's own `hold` or the observation. Raises: `ActionError`."""
        space, known = self._setting.space, self._setting.observation.actions
        if hold is not None:
            return hold[None]
        if known is not None and len(known):
            return known[:1]
        if any(column.kind in ("gripper", "fingertip", "pixel") for column in domains.get(space.domain).columns):
            raise ActionError(
                f"policy=still: domain {domains.short_name(space.domain)} holds absolute values (a target, a gripper), and "
                "neither the world nor the observation gives them. Use an observation with actions, or policy=random."
            )
        return np.zeros((1, domains.get(space.domain).width or 0), np.float32)


class RandomPolicy(Policy):
    """Act by chance: every value uniform over model space's -1 to 1, every turn a small rotation that is one.

    Step t of an episode is drawn from the sample's seed alone, so that it is the same however often the policy looks.
    """

    name = "random"

    def check(self, setting: Setting) -> None:
        """Refuse a domain whose rotations cannot be encoded."""
        actions.uniform(0, 1, setting.space)

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin with the first step of this seed."""
        self._setting, self._seed = setting, seed

    def act(self, look: Look) -> Proposal:
        """T steps by chance, from the step that the episode is at."""
        done = len(look.actions)
        return Proposal(actions.uniform(self._seed, done + self._setting.chunk_size, self._setting.space)[done:])
