"""The policy that is a world model: it imagines the next chunk, video and actions together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strands_diffusers.config.schema import PolicyConfig, PolicySamplerConfig
from strands_diffusers.errors import ConfigError
from strands_diffusers.plugin.acting import Look, Policy, Proposal, Setting

if TYPE_CHECKING:
    from strands_diffusers.pipelines.chunks import Chunks


class ModelPolicy(Policy):
    """Act as the world model says, in its policy mode: the chosen model, or another checkpoint of its kind.

    It sees the last frame alone. Its own video of each chunk is kept beside what the world answered.
    """

    name = "model"
    uses_model = True

    @dataclass
    class Config(PolicyConfig):
        """How the model is asked."""

        sampler: PolicySamplerConfig = field(default_factory=PolicySamplerConfig)
        """The denoising loop of the policy."""

        repo: str | None = None
        """Another checkpoint with the model's own conventions, a folder or a Hub id; null: the chosen model itself."""

        video: bool = True
        """Whether its own video is decoded and kept, too."""

    config: Config
    _chunks: Chunks | None = None

    def check(self, setting: Setting) -> None:
        """Refuse an episode without a task, and what the checkpoint cannot do."""
        if not setting.prompt.strip():
            raise ConfigError(
                "policy=model needs a task: add 'prompt=\"Put the pot to the left.\"'; the observation holds none."
            )
        self._asked(setting).check()

    def fingerprint(self, setting: Setting) -> str | None:
        """The content of the other checkpoint."""
        return self._asked(setting).fingerprint

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin an episode; the model stays loaded from one to the next."""
        if self._chunks is None or self._chunks.setting is not setting:
            self._chunks = self._asked(setting)

    def act(self, look: Look) -> Proposal:
        """Imagine what follows the last frame. Raises: `EngineError`, `RolloutError`."""
        return self.answers(look, [look.seed])[0]

    def answers(self, look: Look, seeds: Sequence[int]) -> list[Proposal]:
        """Several samples of what follows the last frame, as one batch."""
        assert self._chunks is not None
        wanted = frozenset({"action", "video"} if self.config.video else {"action"})
        samples = self._chunks.ask(look.frames[-1:], seeds, wanted, progress=look.progress)
        return [Proposal(sample.action, sample.video, sample.seconds) for sample in samples]  # type: ignore[arg-type]

    def close(self) -> None:
        """Let go of the model."""
        self._chunks = None

    def _asked(self, setting: Setting) -> Chunks:
        from strands_diffusers.pipelines.chunks import Chunks

        repo = self.config.repo
        return Chunks(setting, "policy", self.config.sampler, repo, "policy.repo" if repo else "model.repo")
