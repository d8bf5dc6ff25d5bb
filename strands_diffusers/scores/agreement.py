"""`score=[agreement]`: does the model, asked what was done, find the actions that were executed?

Letters: F frames, T steps of the model's chunk, D action width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strands_diffusers.lazy import np
from strands_diffusers.plugin.acting import Score, Setting, Track
from strands_diffusers.plugin.base import Measure

if TYPE_CHECKING:
    from strands_diffusers.pipelines.chunks import Chunks


class AgreementScore(Score):
    """Inverse dynamics of the frames by the chosen model, against the executed actions: needs no label.

    The frames are read in chunks of the model's own size T. At the end the last T steps are read once more, or where there are
    fewer than T the last frame is repeated. The value of a frame is the error of the action that led to it: the mean over
    columns of |found - executed| in model space, float64 `[F]`; nan for the first frame.
    """

    name = "agreement"
    uses_model = True
    measure = Measure(
        "", "lower", "Mean absolute error of the actions that inverse dynamics finds in the frames, in model space."
    )
    _chunks: Chunks | None = None

    def check(self, setting: Setting) -> None:
        """Refuse a model that cannot do it."""
        self._asked(setting).check()

    def reset(self, setting: Setting) -> None:
        """The model stays loaded from one episode to the next."""
        if self._chunks is None or self._chunks.setting is not setting:
            self._chunks = self._asked(setting)

    def compute(self, track: Track) -> np.ndarray:
        """Error of each action, float64 `[F]`."""
        assert self._chunks is not None
        size, steps = self._chunks.setting.chunk_size, len(track.actions)
        frames = track.frames
        if steps < size:
            frames = np.concatenate([frames, np.repeat(frames[-1:], size - steps, axis=0)])
        found_TD = np.full((max(steps, size), track.actions.shape[1]), np.nan)
        for begin in dict.fromkeys([*range(0, len(found_TD) - size + 1, size), len(found_TD) - size]):
            part = frames[begin : begin + size + 1]
            (sample,) = self._chunks.ask(part, (track.seed,), frozenset({"action"}), None, track.progress)
            assert sample.action is not None
            fresh = np.isnan(found_TD[begin : begin + size, :1])
            found_TD[begin : begin + size] = np.where(fresh, sample.action, found_TD[begin : begin + size])
        return np.concatenate([[np.nan], np.abs(found_TD[:steps] - track.actions).mean(axis=1)])

    def close(self) -> None:
        """Let go of the model."""
        self._chunks = None

    def _asked(self, setting: Setting) -> Chunks:
        from strands_diffusers.pipelines.chunks import Chunks

        return Chunks(setting, "inverse_dynamics")
