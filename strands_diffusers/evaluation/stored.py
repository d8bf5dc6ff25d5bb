"""The rollouts of finished jobs, read back from their folders: what verdicts and tables are computed from.

Videos are the mp4 files on disk, which are lossy: two videos differ by their compression too, by a level or so. Actions
are exact.

Letters: F frames, H height, W width, T steps of all chunks, D action width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strands_diffusers.errors import SweepError
from strands_diffusers.lazy import np
from strands_diffusers.metrics.video import MOVING
from strands_diffusers.observations.rollouts import of_type, read_action, read_video
from strands_diffusers.records.axes import flat

if TYPE_CHECKING:
    from strands_diffusers.records import Record, SampleRecord

_ASIDE = ("tracker", "output_dir", "resume", "sweep", "source", "output", "visualizer", "metric", "engine")
"""Config nodes that do not tell two rollouts apart."""


@dataclass(frozen=True)
class StoredRollout:
    """One sample of one finished job."""

    record: Record
    sample: SampleRecord

    config: Mapping[str, str]
    """The job's resolved config, flat, without what does not change a rollout, seed and number of samples."""

    @property
    def seed(self) -> int:
        """The sample's own seed."""
        return self.sample.seed or 0

    @property
    def source(self) -> str:
        """Address of its observation."""
        return str(self.sample.observation.get("source") or "")

    def has(self, type_: str) -> bool:
        """Whether its job wrote its `video`, or its `action`."""
        return bool(of_type(self.record.files_of(self.sample), type_, ".mp4", "action.json"))

    def video(self) -> np.ndarray:
        """The video, uint8 `[F, H, W, 3]`. Raises: `SweepError` where the job wrote none."""
        if clip := read_video(self.record, self.record.files_of(self.sample)):
            return clip.frames_FHWC
        raise SweepError(f"job {self.record.name} wrote no video.mp4.")

    def actions(self) -> np.ndarray:
        """The predicted actions, float64 `[T, D]` in model space. Raises: `SweepError` where the job wrote none."""
        rows_TD = read_action(self.record, self.sample)
        if rows_TD is None:
            raise SweepError(f"job {self.record.name} wrote no action.json.")
        return rows_TD.astype(np.float64)


def rollouts(records: Iterable[Record]) -> list[StoredRollout]:
    """Every rollout of every finished job, in order."""
    found = []
    for record in records:
        tree = {key: value for key, value in record.config.items() if key not in _ASIDE}
        config = {k: v for k, v in flat(tree).items() if k not in ("seed", "sampler.num_samples")}
        found += [StoredRollout(record, sample, config) for sample in record.samples if record.done]
    return found


def groups(found: Sequence[StoredRollout], *without: str) -> list[list[StoredRollout]]:
    """The rollouts that are alike but for their seeds and the config keys `without`, in order."""
    alike: dict[tuple[tuple[str, str], ...], list[StoredRollout]] = {}
    for rollout in found:
        key = tuple((key, value) for key, value in rollout.config.items() if key not in without)
        alike.setdefault(key, []).append(rollout)
    return list(alike.values())


def measured(found: Sequence[StoredRollout], metric: str, value: str) -> float | None:
    """The mean of a measured value; None where a rollout lacks it."""
    values = [rollout.sample.metrics.get(metric, {}).get(value) for rollout in found]
    known = [v for v in values if v is not None and np.isfinite(v)]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def video_distance(first_FHWC: np.ndarray, second_FHWC: np.ndarray) -> tuple[float, float]:
    """Mean absolute difference of two videos [levels of 255] without frame 0: on all pixels, and on the moving ones.

    A pixel is moving where either video left its own first frame by more than `MOVING` levels; 0 where nothing moves.
    """
    count = min(len(first_FHWC), len(second_FHWC))
    apart = total = moving = 0.0
    for first, second in zip(first_FHWC[1:count], second_FHWC[1:count], strict=True):
        difference_HW = np.abs(first.astype(np.int16) - second).mean(axis=-1)
        moved_HW = _moved(first, first_FHWC[0]) | _moved(second, second_FHWC[0])
        total += float(difference_HW.mean())
        apart += float(difference_HW[moved_HW].sum())
        moving += int(moved_HW.sum())
    return total / max(count - 1, 1), apart / moving if moving else 0.0


def _moved(frame_HWC: np.ndarray, first_HWC: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(frame_HWC.astype(np.int16) - first_HWC).max(axis=-1) > MOVING)


def action_distance(first_TD: np.ndarray, second_TD: np.ndarray) -> float:
    """Mean absolute difference of two action chunks in model space."""
    return float(np.abs(first_TD - second_TD).mean())
