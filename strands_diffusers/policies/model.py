"""The policy that is a world model: it imagines the next chunk, video and actions together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from strands_diffusers.config.fields import Dtype
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.config.schema import PolicyConfig, PolicySamplerConfig
from strands_diffusers.errors import ConfigError, ModelError
from strands_diffusers.plugin.acting import Look, Policy, Proposal, Setting
from strands_diffusers.plugin.spec import hookimpl

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
        try:
            self._asked(setting).check()
        except ModelError as error:
            if self.config.repo is None:
                raise
            raise ModelError(str(error).replace("model.repo=", "policy.repo=")) from error

    def fingerprint(self, setting: Setting) -> str | None:
        """The content of the other checkpoint."""
        from strands_diffusers.pipelines import checkpoint

        return checkpoint.locate(self._model(setting)).fingerprint if self.config.repo else None

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin an episode; the model stays loaded from one to the next."""
        if self._chunks is None or self._chunks.setting is not setting:
            self._chunks = self._asked(setting)

    def act(self, look: Look) -> Proposal:
        """Imagine what follows the last frame. Raises: `EngineError`, `RolloutError`."""
        assert self._chunks is not None
        wanted = frozenset({"action", "video"} if self.config.video else {"action"})
        (sample,) = self._chunks.ask(look.frames[-1:], (look.seed,), wanted, progress=look.progress)
        assert sample.action is not None
        return Proposal(sample.action, sample.video, sample.seconds)

    def close(self) -> None:
        """Let go of the model."""
        self._chunks = None

    def _asked(self, setting: Setting) -> Chunks:
        from strands_diffusers.pipelines.chunks import Chunks

        return Chunks(setting, "policy", self.config.sampler, self._model(setting))

    def _model(self, setting: Setting) -> ModelConfig:
        model = setting.config.model
        if self.config.repo is None:
            return model
        alike = model.dtype is Dtype.auto and model.repo.startswith("asset:")  # the embedded model's own precision
        return replace(
            model, repo=self.config.repo, revision=None, dtype=Dtype.bfloat16 if alike else model.dtype, name="custom"
        )


@hookimpl
def register_policies() -> list[type[Policy]]:
    return [ModelPolicy]
