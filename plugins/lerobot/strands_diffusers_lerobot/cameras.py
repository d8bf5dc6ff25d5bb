"""Which cameras an observation is made of, and their exact frames. Letters: F frames, H height, W width, C colours."""

from __future__ import annotations

import numpy as np

from strands_diffusers import errors, read_clip
from strands_diffusers_lerobot.dataset import Dataset, Episode
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
        if len(matches) != 1:
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

    The film is sought, not decoded from its beginning, and each frame must stand where meta/ says, to a quarter frame.
    Raises: `ObservationError` where the file ends early, is damaged, or has its frames elsewhere.
    """
    if dataset.features[key]["dtype"] == "image":
        return read_pictures(dataset, episode, key, range(start, start + stride * count, stride))
    shot, period_s = episode.shots[key], 1.0 / dataset.fps
    name = f"{dataset.name}: {shot.path.relative_to(dataset.root)}"
    # A seek keeps the first frame at or after its time: half a frame early, that can only be the one wanted.
    from_s = max(0.0, shot.from_s + (start - 0.5) * period_s)
    clip = read_clip(shot.path, num_frames=count, stride=stride, name=name, from_s=from_s)
    late_s = clip.first_s - (shot.from_s + start * period_s)
    if len(clip.frames_FHWC) < count:
        raise errors.ObservationError(
            f"{name} ends {count - len(clip.frames_FHWC)} frames before episode {episode.index} does. "
            "The copy is damaged."
        )
    rate = clip.fps * stride
    if not clip.even or abs(late_s) > 0.25 * period_s or abs(rate * period_s - 1) > 0.01:
        raise errors.ObservationError(
            f"{name} does not have its frames at {dataset.fps:g} Hz from {shot.from_s:g} s, as meta/ says: "
            f"the first one is {1e3 * late_s:+.0f} ms away, the rate {rate:.4g} Hz."
        )
    return clip.frames_FHWC


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
