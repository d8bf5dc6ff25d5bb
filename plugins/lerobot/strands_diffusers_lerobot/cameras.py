"""Which cameras an observation is made of, and their exact frames. Letters: F frames, H height, W width, C colours."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from strands_diffusers import errors, frame_times, read_clip
from strands_diffusers_lerobot.dataset import Dataset, Episode, Shot
from strands_diffusers_lerobot.rows import read_pictures


def choose_cameras(dataset: Dataset, episode: Episode, asked: str | None) -> list[str]:
    """Return the full names of the cameras to read: one, or three for `concat_view`.

    Raises: `ObservationError` naming those that are there, where none is asked for and the choice is not obvious.
    """
    there = [key for key in dataset.cameras if key in episode.shots or dataset.features[key]["dtype"] == "image"]
    gone = [key for key in dataset.cameras if key not in there]
    listed = f"there are {', '.join(there)}" if len(there) > 1 else f"there is {there[0] if there else 'none'}"
    if gone:
        listed += f" (declared, but without a file here: {', '.join(gone)})"
    if asked is None:
        if len(there) != 1:
            raise errors.ObservationError(f"{dataset.name} needs @camera:NAME: {listed}.")
        return there
    found = []
    for name in asked.split("+"):
        matches = [name] if name in there else [key for key in there if key.rsplit(".", 1)[-1] == name]
        if len(matches) > 1:
            raise errors.ObservationError(
                f"{dataset.name} has {len(matches)} cameras {name!r}: {', '.join(matches)}. Type the full name."
            )
        if not matches:
            shorts = [key.rsplit(".", 1)[-1] for key in there]
            raise errors.ObservationError(
                f"{dataset.name} has no camera {name!r} for episode {episode.index}; {listed}."
                f"{errors.near_miss(name, [*there, *shorts])}"
            )
        found.append(matches[0])
    if len(found) not in (1, 3):
        raise errors.ObservationError(f"@camera:{asked} names {len(found)} cameras; give one, or WRIST+LEFT+RIGHT.")
    return found


def read_frames(dataset: Dataset, episode: Episode, key: str, start: int, stride: int, count: int) -> np.ndarray:
    """Return frames `start`, `start + stride`, ... of an episode, `count` of them, uint8 [F, H, W, 3].

    The video is sought, not decoded from its beginning, once its time stamps are where meta/ says, to a quarter frame.
    Raises: `ObservationError` where the file ends early, is damaged, or has its frames elsewhere.
    """
    feature = dataset.features[key]
    info = feature.get("info") or feature.get("video_info")
    if isinstance(info, dict) and info.get("video.is_depth_map"):
        raise dataset.error(f"camera {key!r} is a depth map, which is no picture.")
    if feature["dtype"] == "image":
        frames_FHWC = read_pictures(dataset, episode, key, range(start, start + stride * count, stride))
    else:
        frames_FHWC = _read_video(dataset, episode, episode.shots[key], start, stride, count)
    size = feature.get("shape")
    if isinstance(size, list) and len(size) == 3 and not {*frames_FHWC.shape[1:3]} <= {*size}:
        raise dataset.damaged(
            f"camera {key!r} gives {list(frames_FHWC.shape[1:])} in episode {episode.index}, and {size} in meta/info.json."
        )
    return frames_FHWC


def _read_video(dataset: Dataset, episode: Episode, shot: Shot, start: int, stride: int, count: int) -> np.ndarray:
    period_s, file = 1.0 / dataset.fps, shot.path.relative_to(dataset.root)
    name = f"{dataset.name}: {file}"
    times_F = _check_times(dataset, episode, shot)
    # A seek keeps the first frame at or after its time: half a frame early, that can only be the one wanted.
    clip = read_clip(
        shot.path, num_frames=count, stride=stride, name=name, from_s=max(0.0, times_F[start] - 0.5 * period_s)
    )
    frames_FHWC = clip.frames_FHWC
    if len(frames_FHWC) < count or abs(clip.first_s - times_F[start]) > 0.25 * period_s:
        raise dataset.damaged(
            f"{file} gives {len(frames_FHWC)} of {count} frames, the first at {clip.first_s:g} s instead of "
            f"{times_F[start]:g} s."
        )
    return frames_FHWC


def _check_times(dataset: Dataset, episode: Episode, shot: Shot) -> np.ndarray:
    """Time stamps of an episode's frames in its video file [F] [s], once they are where meta/ says they are."""
    status, file = shot.path.stat(), shot.path.relative_to(dataset.root)
    times = _stamps(shot.path, f"{dataset.name}: {file}", status.st_mtime_ns, status.st_size)
    wanted_F = shot.from_s + np.arange(episode.length) / dataset.fps
    after = np.searchsorted(times, wanted_F)
    before_F, after_F = times[np.maximum(after - 1, 0)], times[np.minimum(after, len(times) - 1)]
    nearest_F = np.where(wanted_F - before_F < after_F - wanted_F, before_F, after_F)
    off = np.abs(nearest_F - wanted_F) * dataset.fps > 0.25
    if off.any():
        missing = int((off & (wanted_F > times[-1])).sum())
        if missing == off.sum():
            raise dataset.damaged(f"{file} ends {missing} frames before episode {episode.index} does.")
        frame = int(off.argmax())
        raise dataset.error(
            f"{file} does not have its frames at {dataset.fps:g} Hz from {shot.from_s:g} s, as meta/ says of episode "
            f"{episode.index}: frame {frame} should be at {wanted_F[frame]:.4g} s, the nearest is at {nearest_F[frame]:.4g} s."
        )
    if shot.frames_in_file not in (None, len(times)):
        raise dataset.damaged(
            f"{file} holds {len(times)} frames, and meta/ counts {shot.frames_in_file} in the file of episode "
            f"{episode.index}."
        )
    return nearest_F


@lru_cache(maxsize=64)
def _stamps(path: Path, name: str, _changed_ns: int, _size: int) -> np.ndarray:
    times = frame_times(path, name)
    if not len(times):
        raise errors.ObservationError(f"{name} holds no video frames.")
    return times


def concat_view(wrist_FHWC: np.ndarray, left_FHWC: np.ndarray, right_FHWC: np.ndarray) -> np.ndarray:
    """Return the canvas of Cosmos 3's `concat_view`: the wrist camera above, two outer ones at half size below.

    Shapes: three times uint8 [F, H, W, 3] with even H and W -> [F, 3H/2, W, 3].
    Source: NVIDIA cosmos-framework, `droid_lerobot_dataset.py`; halving is the mean of 2 x 2 pixels, as there.
    """
    height, width = wrist_FHWC.shape[1:3]
    halves = []
    for view in (left_FHWC, right_FHWC):
        if view.shape != wrist_FHWC.shape or height % 2 or width % 2:
            raise errors.ObservationError(
                f"the three cameras must have one even size; they are {wrist_FHWC.shape[1:3]} and {view.shape[1:3]}."
            )
        blocks = view.reshape(len(view), height // 2, 2, width // 2, 2, 3).astype(np.float32).mean((2, 4))
        halves.append(np.round(blocks).astype(np.uint8))
    return np.concatenate([wrist_FHWC, np.concatenate(halves, axis=2)], axis=1)
