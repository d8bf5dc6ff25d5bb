"""`observation=PATH`: images, clips, folders of frames and action files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from strands_diffusers.actions import check_actions
from strands_diffusers.errors import ActionError, ObservationError, near_miss
from strands_diffusers.lazy import np
from strands_diffusers.observations.action_files import ACTION_SUFFIXES, read_actions
from strands_diffusers.observations.address import Address, exists, split_address
from strands_diffusers.observations.images import IMAGE_SUFFIXES, frame_files, read_folder, read_image
from strands_diffusers.observations.media import CLIP_SUFFIXES, read_clip
from strands_diffusers.observations.window import usable_frames
from strands_diffusers.paths import expanded, visible_files
from strands_diffusers.plugin.base import ActionRows, Source
from strands_diffusers.results import Observation, ObservationRequest

OPTIONS = ("start", "stride", "fps", "actions", "task")
"""`@start:N` first frame (or row of an action file) · `@stride:N` every Nth frame · `@fps:F` every Nth frame, so that
the clip runs at F Hz · `@actions:FILE` the true actions, row t moves frame t to t + 1 · `@task:TEXT` the task."""

ACCEPTED = (
    "An observation is an image (png, jpg, webp), a clip (mp4, webm, mkv, mov, avi, gif), a folder of images, "
    "or an action file (json, npy, npz)."
)


class FileSource(Source):
    """Files on this machine: an image, a clip, a folder of frames or an action file.

    Address: `PATH[@start:N][@stride:N][@fps:F][@actions:FILE][@task:TEXT]`, with or without `file:` in front.
    Shapes: frames uint8 `[F, H, W, 3]`, no more than the request's `num_frames`; actions float32 `[T, D]`, T <= F - 1
        steps of a clip, as stored.
    Raises: `ObservationError` and `ActionError`, naming the file, what is wrong, and what is accepted.
    """

    scheme = "file"

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read the file or folder at `address`."""
        parsed = split_address(address, OPTIONS)
        return read_local(local(parsed.path), parsed, request, parsed.path)

    def absolute(self, address: str, cwd: Path) -> str:
        """Make the path and the action file absolute."""
        return str(split_address(address, OPTIONS, cwd=cwd).absolute(cwd, file_options=("actions",)))

    def action_rows(self, address: str, domain: str) -> ActionRows:
        """Read an action file, or every action file in a folder and below, one at a time, by name."""
        path = local(split_address(address, ()).path)
        found = visible_files(path, ACTION_SUFFIXES, deep=True) if path.is_dir() else [path]
        if not found:
            raise ObservationError(f"{path} holds no action files ({', '.join(ACTION_SUFFIXES)}).")
        return ActionRows(_physical_rows(file, domain) for file in found)


def _physical_rows(path: Path, domain: str) -> np.ndarray:
    """An action file in physical units; errors name the file."""
    rows_TD = read_actions(path)
    try:
        return check_actions(rows_TD, domain, units="physical")
    except ActionError as error:
        raise ActionError(f"{path}: {error}") from error


def local(text: str) -> Path:
    """Return an existing path, or raise `ObservationError` with the closest name beside it."""
    path = expanded(text)
    if exists(text):
        return path
    siblings: list[str] = []
    with contextlib.suppress(OSError, ValueError):  # a parent that is not there, or may not be listed
        siblings = [item.name for item in path.parent.iterdir()]
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    raise ObservationError(f"{shown} does not exist.{near_miss(Path(shown).name, siblings)} {ACCEPTED}")


def read_local(path: Path, parsed: Address, request: ObservationRequest, name: str) -> Observation:
    """Read a file or folder with the options of its address; `name` is what errors call it."""
    suffix = path.suffix.lower()
    task = parsed.options.get("task")
    if path.is_dir():
        return _read_folder(path, parsed, request, name, task)
    if suffix in CLIP_SUFFIXES:
        return _read_clip(path, parsed, request, name, task)
    if suffix in IMAGE_SUFFIXES:
        _refuse(parsed, ("start", "stride", "fps"), name, "an image is a single frame")
        frames_FHWC = read_image(path, name)[None]
        usable_frames(1, None, request, name)
        return Observation(frames_FHWC, None, _paired_actions(parsed, request, 0), task, details={"kind": "image"})
    if suffix in ACTION_SUFFIXES:
        _refuse(parsed, ("stride", "fps", "actions"), name, "an action file holds one row per step")
        start = parsed.integer("start", 0)
        rows_TD = _rows(read_actions(path, name), start, request, name)
        return Observation(None, None, rows_TD, task, details={"kind": "actions", "start": start})
    raise ObservationError(f"{name} is none of the files that can be observed. {ACCEPTED}")


def _read_folder(path: Path, parsed: Address, request: ObservationRequest, name: str, task: str | None) -> Observation:
    _refuse(parsed, ("fps",), name, "a folder of images has no rate of its own: @stride:N takes every Nth image")
    start, stride = parsed.integer("start", 0), parsed.integer("stride", 1, minimum=1)
    frames_FHWC = read_folder(path, start, request.num_frames, stride)
    usable_frames(len(frames_FHWC), None, request, name)
    actions_TD = _paired_actions(parsed, request, start, stride)
    details = {"kind": "folder", "images": len(frame_files(path)), "start": start, "stride": stride}
    return Observation(frames_FHWC, None, actions_TD, task, details=details)


def _read_clip(path: Path, parsed: Address, request: ObservationRequest, name: str, task: str | None) -> Observation:
    rate = read_clip(path, num_frames=2, name=name).fps if "fps" in parsed.options else 0.0
    start, stride = parsed.integer("start", 0), parsed.stride(rate, name)
    clip = read_clip(path, start, request.num_frames, stride, name)
    paired = "actions" in parsed.options
    again = None if paired else parsed.at_rate(clip.fps, request.fps)
    usable, note = usable_frames(
        len(clip.frames_FHWC), clip.fps, request, name, even=clip.even, paired=paired,
        instead=again and f"observation={again}",
    )  # fmt: skip
    details: dict[str, Any] = {"kind": "clip", "start": start, "stride": stride, "clip_fps": clip.fps * stride}
    if note:
        details["reference"] = note
    actions_TD = _paired_actions(parsed, request, start, stride)
    return Observation(clip.frames_FHWC[:usable], clip.fps, actions_TD, task, details=details)


def _paired_actions(parsed: Address, request: ObservationRequest, start: int, stride: int = 1) -> np.ndarray | None:
    """The actions of `@actions:FILE` that belong to the frames that were read, or None."""
    file = parsed.options.get("actions")
    if file is None:
        return None
    if stride != 1:
        raise ActionError(
            f"@actions:{file} holds one row per frame of the clip, and rows of skipped frames cannot be left out. "
            "Give actions at the rate of the domain with condition.actions=FILE, or read every frame."
        )
    return _rows(read_actions(local(file), file), start, request, file)


def _rows(rows_TD: np.ndarray, start: int, request: ObservationRequest, name: str) -> np.ndarray:
    """The rows from `start` on, one fewer than the frames that the request can use."""
    count = request.num_frames
    chosen = rows_TD[start:] if count is None or count < 2 else rows_TD[start : start + count - 1]
    if len(chosen) == 0:
        raise ActionError(
            f"{name} has {len(rows_TD)} rows of actions, none from row {start} on. Type a smaller @start:N."
        )
    return chosen


def _refuse(parsed: Address, keys: Iterable[str], name: str, why: str) -> None:
    for key in keys:
        if key in parsed.options:
            raise ObservationError(f"@{key}: does not apply to {name}: {why}.")
