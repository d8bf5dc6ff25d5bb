"""The world that is a world model: forward dynamics, chunk after chunk, each from the last frame that was acted to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strands_diffusers import actions
from strands_diffusers.config.schema import WorldConfig, WorldSamplerConfig
from strands_diffusers.errors import RolloutError
from strands_diffusers.lazy import np
from strands_diffusers.plugin.acting import SEED_STEP, Progress, Setting, Stepped, World

if TYPE_CHECKING:
    from strands_diffusers.pipelines.chunks import Chunks


class ModelWorld(World):
    """Imagine what the actions lead to: forward dynamics of the chosen model, each chunk from the last frame.

    The first frame is shown as the model shows it. Actions beyond those that are acted on are the model's context; where
    there are fewer than its chunk has, no motion follows them.
    """

    name = "model"
    uses_model = True
    key = "world.repo"
    """The option that names another checkpoint."""

    @dataclass
    class Config(WorldConfig):
        """How the model is asked, and what it is compared with."""

        sampler: WorldSamplerConfig = field(default_factory=WorldSamplerConfig)
        """The denoising loop of the world."""

        repo: str | None = None
        """Another checkpoint with the model's own conventions, a folder or a Hub id; null: the chosen model itself."""

        reference: str | None = None
        """Another world (`pusht`) in which the same actions are acted out, to compare with; null: none."""

    config: Config
    _chunks: Chunks | None = None

    def check(self, setting: Setting) -> None:
        """Refuse what the checkpoint cannot do."""
        self._asked(setting).check()

    def fingerprint(self, setting: Setting) -> str | None:
        """The content of the other checkpoint."""
        return self._asked(setting).fingerprint

    def reset(self, setting: Setting, seed: int) -> tuple[np.ndarray, Any]:
        """Begin with the observation's first frame; the model stays loaded from one episode to the next."""
        chunks = self.open(setting)
        frames = setting.observation.frames
        assert frames is not None
        self._last_1HWC, self._seed, self._chunk = frames[:1], seed, 0
        return chunks.shown(frames[:1])[0], None

    def open(self, setting: Setting) -> Chunks:
        """Be ready to imagine."""
        if self._chunks is None or self._chunks.setting is not setting:
            self._chunks = self._asked(setting)
        return self._chunks

    def step(self, actions_TD: np.ndarray, num_steps: int, progress: Progress | None = None) -> Stepped:
        """Imagine the chunk and keep its first `num_steps` frames."""
        (sample,) = self.imagine(actions_TD[None], progress, num_steps)
        frames_FHWC = sample.video[1 : num_steps + 1]
        self._last_1HWC, self._chunk = frames_FHWC[-1:], self._chunk + 1
        return Stepped(frames_FHWC, seconds=sample.seconds)

    def imagine(
        self,
        actions_BTD: np.ndarray,
        progress: Progress | None = None,
        num_steps: int | None = None,
        frame_1HWC: np.ndarray | None = None,
        seed: int | None = None,
    ) -> list[Any]:
        """What each of B action chunks would lead to from here, as engine samples with video; the world stays here.

        `num_steps`: how many steps are to be seen; None: all. `frame_1HWC` and `seed`: begin there instead.
        """
        assert self._chunks is not None
        setting = self._chunks.setting
        if actions_BTD.shape[1] > setting.chunk_size:
            raise RolloutError(
                f"world=model was given {actions_BTD.shape[1]} actions at once; its chunk has {setting.chunk_size}."
            )
        shown = None if num_steps is None else num_steps + 1
        whole = [actions.padded(rows_TD, setting.chunk_size, setting.space) for rows_TD in actions_BTD]
        seeds = [self._seed + SEED_STEP * self._chunk if seed is None else seed] * len(whole)
        begin_1HWC = self._last_1HWC if frame_1HWC is None else frame_1HWC
        return self._chunks.ask(begin_1HWC, seeds, frozenset({"video"}), np.stack(whole), progress, shown)

    def restore(self, frames: np.ndarray, actions: np.ndarray, act_steps: int) -> None:
        """Continue from the last frame."""
        self._last_1HWC, self._chunk = frames[-1:], len(actions) // act_steps

    def show(self, frames: np.ndarray) -> np.ndarray:
        """Frames of another world through the model's own frame transform."""
        assert self._chunks is not None
        return self._chunks.shown(frames)

    def close(self) -> None:
        """Let go of the model."""
        self._chunks = None

    def _asked(self, setting: Setting) -> Chunks:
        from strands_diffusers.pipelines.chunks import Chunks

        repo = self.config.repo
        return Chunks(setting, "forward_dynamics", self.config.sampler, repo, self.key if repo else "model.repo")
