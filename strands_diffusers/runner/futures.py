"""The finished futures of a sweep, read back from its folders: what verdicts and tables are computed from.

Films are the mp4 files on disk, which are lossy: two films differ by their compression too, a level or so. Actions are
exact.

Letters: F frames, H height, W width, T steps of all chunks, D action width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers.lazy import np
from strands_diffusers.observations.action_files import read_actions
from strands_diffusers.observations.media import read_clip
from strands_diffusers.report.axes import flat
from strands_diffusers.runner import manifest

MOVING = 16
"""A pixel moves where a colour is more than this off the film's own first frame [levels of 255]: the video metric's."""

_ASIDE = ("tracker", "output_dir", "resume", "sweep", "source", "output", "visualizer", "metric", "engine")
"""Config nodes that do not tell two futures apart."""


@dataclass(frozen=True)
class Future:
    """One sample of one finished job."""

    job: str
    """Its folder's name."""

    seed: int
    """The sample's own seed."""

    config: Mapping[str, str]
    """The job's resolved config, flat, without what does not change a future, seed and number of samples."""

    entry: Mapping[str, Any]
    """What the manifest says of the sample: mode, prompt, observation, the actions that were given."""

    metrics: Mapping[str, Mapping[str, float]]
    """Of the job."""

    film: Path | None
    actions: Path | None

    def group(self, *without: str) -> tuple[tuple[str, str], ...]:
        """What the future shares with those that it can be compared to: its config without some keys."""
        return tuple((key, value) for key, value in self.config.items() if key not in without)

    def frames(self) -> np.ndarray | None:
        """The film, uint8 `[F, H, W, 3]`."""
        return None if self.film is None else read_clip(self.film).frames_FHWC

    def rows(self) -> np.ndarray | None:
        """The predicted actions, float64 `[T, D]` in model space."""
        return None if self.actions is None else np.asarray(read_actions(self.actions), np.float64)


def finished(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The complete jobs of a sweep's folder with their manifests, by number."""
    for folder in sorted((p for p in directory.iterdir() if p.is_dir()), key=lambda p: (len(p.name), p.name)):
        if record := manifest.read(folder):
            yield folder, record


def read(jobs: Sequence[tuple[Path, Mapping[str, Any]]]) -> list[Future]:
    """Every sample of every finished job."""
    found = []
    for folder, record in jobs:
        tree = {key: value for key, value in record["config"].items() if key not in _ASIDE}
        config = {k: v for k, v in flat(tree).items() if k not in ("seed", "sampler.num_samples")}
        for entry in record["samples"] or [record["rollout"]]:
            prefix = "" if entry["sample"] is None else f"sample_{entry['sample']:02d}/"
            paths = [a["path"] for a in record["artifacts"] if a["path"].startswith(prefix)]
            film, actions = (
                folder / f"{prefix}{name}" if f"{prefix}{name}" in paths else None
                for name in ("video.mp4", "action.json")
            )
            found.append(Future(folder.name, entry["seed"], config, entry, record["metrics"], film, actions))
    return found


def groups(futures: Sequence[Future], *without: str) -> list[list[Future]]:
    """The futures that are alike but for their seeds and the keys `without`, in order."""
    found: dict[tuple[tuple[str, str], ...], list[Future]] = {}
    for future in futures:
        found.setdefault(future.group(*without), []).append(future)
    return list(found.values())


def films_apart(first_FHWC: np.ndarray, second_FHWC: np.ndarray) -> tuple[float, float | None]:
    """Mean absolute difference of two films [levels of 255] without frame 0: on all pixels, and on the moving ones.

    A pixel is moving where either film left its own first frame by more than `MOVING`; None where nothing moved.
    """
    count = min(len(first_FHWC), len(second_FHWC))
    apart = total = moving = 0.0
    for first, second in zip(first_FHWC[1:count], second_FHWC[1:count], strict=True):
        difference_HW = np.abs(first.astype(np.int16) - second).mean(axis=-1)
        moved_HW = _moved(first, first_FHWC[0]) | _moved(second, second_FHWC[0])
        total += float(difference_HW.mean())
        apart += float(difference_HW[moved_HW].sum())
        moving += int(moved_HW.sum())
    return total / max(count - 1, 1), apart / moving if moving else None


def _moved(frame_HWC: np.ndarray, still_HWC: np.ndarray) -> np.ndarray:
    return np.asarray(np.abs(frame_HWC.astype(np.int16) - still_HWC).max(axis=-1) > MOVING)


def actions_apart(first_TD: np.ndarray, second_TD: np.ndarray) -> float:
    """Mean absolute difference of two action chunks in model space."""
    return float(np.abs(first_TD - second_TD).mean())
