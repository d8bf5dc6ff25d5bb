"""The policy that is a person: what somebody did in `strands-diffusers play`, kept so that it can be done again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strands_diffusers.config.schema import PolicyConfig
from strands_diffusers.errors import ActionError, ConfigError
from strands_diffusers.plugin.acting import Look, Policy, Proposal, Setting
from strands_diffusers.plugin.spec import hookimpl

if TYPE_CHECKING:
    import numpy as np


class PersonPolicy(Policy):
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

    def check(self, setting: Setting) -> None:
        """Refuse a session that is not there, too short, or of other sizes."""
        self._proposals(setting)

    def fingerprint(self, setting: Setting) -> str | None:
        """The content of the session."""
        from strands_diffusers.observations.resolve import array_hash

        return array_hash(self._proposals(setting))

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin with the first look."""
        self._proposal_KTD = self._proposals(setting)

    def act(self, look: Look) -> Proposal:
        """What was proposed at this look."""
        return Proposal(self._proposal_KTD[look.index])

    def _proposals(self, setting: Setting) -> np.ndarray:
        from strands_diffusers import actions
        from strands_diffusers.observations import action_files

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


@hookimpl
def register_policies() -> list[type[Policy]]:
    return [PersonPolicy]
