"""Single chunks of a loaded model, from one frame each: how a policy and a world that are models reach the engine.

Letters: T steps of a chunk, D action width, B action chunks side by side, F frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from strands_diffusers.config import checks
from strands_diffusers.config.fields import Dtype
from strands_diffusers.config.models import ModelConfig
from strands_diffusers.config.schema import DenoisingConfig, SamplerConfig
from strands_diffusers.errors import ModelError
from strands_diffusers.pipelines import arguments, checkpoint, generate, loader, pretrained
from strands_diffusers.pipelines import canvas as canvases
from strands_diffusers.pipelines.engine import Sample
from strands_diffusers.pipelines.request import Request, check_checkpoint
from strands_diffusers.plugin.acting import Progress, Setting


class Chunks:
    """One model in one of the three action modes, asked for a chunk at a time through the engine that the config chose.

    It is loaded at the first chunk and shared with whoever asks for the same; what does not change between chunks (the
    prompt as read, the schedule) is the engine's to keep, and a frame that two modes look at is encoded once.
    """

    def __init__(
        self,
        setting: Setting,
        mode: str,
        sampler: DenoisingConfig | None = None,
        repo: str | None = None,
        key: str = "model.repo",
    ) -> None:
        """`mode`: policy, forward_dynamics or inverse_dynamics. `sampler`: null values are the model's recommended ones.

        `repo`: another checkpoint with the model's own conventions, a folder or a Hub id, that `key` of the config names.
        """
        config = setting.config
        preset = checks.recommended(config, mode)
        given = {each.name: getattr(sampler, each.name, None) for each in fields(DenoisingConfig)}
        values = {name: getattr(preset, name) if value is None else value for name, value in given.items()}
        self.config = replace(config, model=_other(config.model, repo), sampler=SamplerConfig(**values))
        self.setting, self.mode, self._key = setting, mode, key
        self._model: loader.WorldModel | None = None
        self._canvas: canvases.Canvas | None = None

    def check(self) -> None:
        """Refuse what the model cannot do, from its preset and its files. Raises: a `RequestError`."""
        checks.check_trained(self.config)
        try:
            found = checkpoint.locate(self.config.model)
            check_checkpoint(self.config, self.mode, found)
            pretrained.check(found)
        except ModelError as error:
            raise type(error)(str(error).replace("model.repo=", f"{self._key}=")) from error

    @property
    def fingerprint(self) -> str | None:
        """The content of the other checkpoint, where there is one."""
        other = self.config.model is not self.setting.config.model
        return checkpoint.locate(self.config.model).fingerprint if other else None

    def load(self, progress: Progress | None = None) -> loader.WorldModel:
        """The loaded model."""
        if self._model is None:
            if progress is not None:
                progress("load", 0, 1)
            self._model, _ = loader.load(self.config.model)
        return self._model

    def shown(self, frames_FHWC: np.ndarray) -> np.ndarray:
        """Frames as the model itself would show them, uint8 `[F, H, W, 3]` of its video's size."""
        pipe = self.load().pipe
        return canvases.transform(frames_FHWC, pipe, self._canvas_of(frames_FHWC, pipe))

    def ask(
        self,
        frames_FHWC: np.ndarray,
        seeds: Sequence[int],
        wanted: frozenset[str],
        actions_BTD: np.ndarray | None = None,
        progress: Progress | None = None,
        num_frames: int | None = None,
    ) -> list[Sample]:
        """The chunk that follows the frame, one sample per seed; with `actions_BTD`, one per action chunk and its seed.

        `frames_FHWC`: one frame; in inverse dynamics all T + 1. `num_frames`: how many frames of each video are needed;
        there may be more. What several chunks share is worked out once.
        """
        model = self.load(progress)
        canvas = self._canvas_of(frames_FHWC, model.pipe)
        asked, given = self.setting, None if actions_BTD is None else actions_BTD[:1]
        request = Request(
            self.mode, asked.prompt, asked.observation, asked.space, 1, asked.chunk_size, given, frames_FHWC=frames_FHWC
        )
        call = arguments.chunk_call(self.config, request, canvas, 0, None, wanted, tuple(seeds))
        call = replace(call, num_frames=num_frames, actions=actions_BTD)
        return generate.draw(model, self.config, call, progress)

    def forget(self) -> None:
        """Let go of the model; it stays warm for the next job."""
        self._model = self._canvas = None

    def _canvas_of(self, frames_FHWC: np.ndarray, pipe: Any) -> canvases.Canvas:
        """The canvas of these frames, at the resolution tier of the first ones of the episode."""
        canvas = canvases.canvas_of(
            self.config, frames_FHWC, int(pipe.vae_scale_factor_spatial), self._canvas.tier if self._canvas else None
        )
        self._canvas = self._canvas or canvas
        return canvas


def _other(model: ModelConfig, repo: str | None) -> ModelConfig:
    """The model's own config, with another checkpoint where one is named."""
    if repo is None:
        return model
    alike = model.dtype is Dtype.auto and model.repo.startswith("asset:")  # the embedded model's own precision
    return replace(model, repo=repo, revision=None, dtype=Dtype.bfloat16 if alike else model.dtype, name="custom")
