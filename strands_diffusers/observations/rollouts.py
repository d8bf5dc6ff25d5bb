"""Finished jobs read back as rollouts, so that they can be measured, drawn and judged again without their model."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers.errors import ObservationError, one_line
from strands_diffusers.jsonfile import read_json
from strands_diffusers.lazy import np
from strands_diffusers.memory import Memory
from strands_diffusers.observations.action_files import read_actions
from strands_diffusers.observations.images import read_image
from strands_diffusers.observations.media import CLIP_SUFFIXES, Clip, read_clip
from strands_diffusers.results import OUTPUT_TYPES, Episode, Mesh, Observation, Rollout, Scored

if TYPE_CHECKING:
    from strands_diffusers.records import FileEntry, Record, SampleRecord

_references = Memory(64 << 20)
"""The last references by checksum: the jobs of a sweep each have a file of the same one."""


def read_rollouts(record: Record, types: Collection[str] = OUTPUT_TYPES) -> list[Rollout]:
    """Return the rollouts of a finished job, one per sample, from the files that its record lists.

    Actions, sound, images, meshes and the observation's first frame are exact. `video` and `reference_video` are decoded
    from lossy files: a score measured from them differs a little from the job's own (up to 0.2 dB of PSNR and
    0.02 of SSIM on drawings with strong colours, less on camera frames). Compare such scores among each other.
    Arrays that the job wrote no file of stay None, as do those that are not among `types`; the video's reference is
    read with the video.

    Raises: `ObservationError` for a job that did not finish, and for a file that is gone or has changed since.
    """
    if not record.done:
        raise ObservationError(f"{record.directory} holds no finished rollout: {record.error or record.status}")
    with _fitting(record):
        shared = [entry for entry in record.artifacts if "/" not in entry.path]
        frames = of_type(shared, "observation")
        first_1HWC = read_image(checked_file(record, frames[0]))[None] if frames else None
        reference_FHWC = _video(record, shared, "reference") if "video" in types else None
        return [_rollout(record, sample, set(types), first_1HWC, reference_FHWC) for sample in record.samples]


@contextlib.contextmanager
def _fitting(record: Record) -> Iterator[None]:
    """Whatever comes of a record that does not say what its files hold is an `ObservationError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ObservationError(
            f"{record.directory}: its record does not fit its files ({one_line(error, 120)})."
        ) from error


def checked_file(record: Record, entry: FileEntry) -> Path:
    """Return the path of a file of the job. Raises: `ObservationError` where it is gone or not as it was written."""
    path = record.directory / entry.path
    if not path.resolve().is_relative_to(record.directory.resolve()):
        raise ObservationError(f"{record.directory} lists {entry.path}, which is outside of the job's folder.")
    if not path.is_file():
        raise ObservationError(f"{path} is gone since the job finished.")
    if entry.sha256:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry.sha256:
                raise ObservationError(f"{path} has changed since the job finished.")
    return path


def _rollout(
    record: Record, sample: SampleRecord, types: set[str], first_1HWC: np.ndarray | None, reference_FHWC: Any
) -> Rollout:
    files, rows_TD = record.files_of(sample), read_action(record, sample) if "action" in types else None
    observation = Observation(
        first_1HWC,
        task=sample.observation.get("task"),
        source=str(sample.observation.get("source") or ""),
        details=sample.observation.get("details") or {},
    )
    video_FHWC = _video(record, files) if types & {"video", "episode"} else None
    if reference_FHWC is None and "video" in types:  # samples of episodes each have a reference
        reference_FHWC = _video(record, files, "reference")
    return Rollout(
        mode=sample.mode,
        prompt=sample.prompt,
        seed=sample.seed,
        video=video_FHWC if "video" in types else None,
        episode=read_episode(record, sample, video_FHWC, pictures=True) if "episode" in types else None,
        sound=_sound(record, files) if "sound" in types else None,
        action=None if rows_TD is None else rows_TD.reshape(tuple(sample.arrays["action"]["shape"])),
        image=_images(record, files) if "image" in types else None,
        mesh=_mesh(record, files) if "mesh" in types else None,
        fps=sample.fps,
        sampling_rate=sample.sampling_rate,
        space=sample.space,
        observation=observation,
        given_action=recorded_chunks(record, sample.given_action),
        reference_video=reference_FHWC,
        reference_action=recorded_chunks(record, sample.reference_action),
        sample=sample.index,
        seconds=sample.seconds,
        details=sample.details,
    )


def of_type(files: Sequence[FileEntry], type_: str, *suffixes: str) -> list[FileEntry]:
    """The files of a type, whose names end so, in the order in which the job lists them."""
    return [entry for entry in files if entry.type == type_ and entry.path.lower().endswith(suffixes or "")]


def read_video(
    record: Record, files: Sequence[FileEntry], type_: str = "video", start: int = 0, num_frames: int | None = None
) -> Clip | None:
    """The clip among a job's `files`, without the row or column that an odd size was padded by; None without one.

    Raises: `ObservationError` for a file that is gone or has changed since.
    """
    if not (clips := of_type(files, type_, *CLIP_SUFFIXES)):
        return None
    padded = clips[0].details.get("padded") or (0, 0)
    if not isinstance(padded, list | tuple) or len(padded) != 2 or not {*padded} <= {0, 1}:
        raise ObservationError(
            f"{clips[0].path}: its record says that it was padded by {padded!r}, not by a row or column."
        )
    path, key = checked_file(record, clips[0]), (clips[0].sha256, start, num_frames)
    if type_ == "reference" and clips[0].sha256:
        clip = _references.get_or_make(key, lambda: read_clip(path, start, num_frames))
        clip = clip._replace(frames_FHWC=clip.frames_FHWC.copy())
    else:
        clip = read_clip(path, start, num_frames)
    height, width = clip.frames_FHWC.shape[1:3]
    return clip._replace(frames_FHWC=clip.frames_FHWC[:, : height - padded[0], : width - padded[1]])


def _video(record: Record, files: Sequence[FileEntry], type_: str = "video") -> np.ndarray | None:
    clip = read_video(record, files, type_)
    return None if clip is None else clip.frames_FHWC


def read_action(record: Record, sample: SampleRecord) -> np.ndarray | None:
    """The predicted actions of a sample, float32 `[K*T, D]`; None without any. Raises: as `read_video`."""
    written = of_type(record.files_of(sample), "action", "action.json")
    return read_actions(checked_file(record, written[0])) if written else None


def recorded_chunks(record: Record, rows: Sequence[Any] | None) -> np.ndarray | None:
    """Nested lists `[K][T][D]` of the record as a finite float32 array. Raises: `ObservationError`."""
    if rows is None:
        return None
    try:
        chunks_KTD = np.array(rows, np.float32)
    except (ValueError, TypeError, OverflowError):
        chunks_KTD = np.empty(0, np.float32)
    if chunks_KTD.ndim != 3 or not np.isfinite(chunks_KTD).all():
        raise ObservationError(f"{record.directory} records actions that are no table [K][T][D] of finite numbers.")
    return chunks_KTD


def read_episode(
    record: Record, sample: SampleRecord, video_FHWC: np.ndarray | None = None, *, pictures: bool = False
) -> Episode | None:
    """What `episode.json` holds, and with the episode's own video `proposed.mp4`, whose videos begin with its frames.

    `pictures`: with those of `alternatives.png`.
    None where the sample has no episode. Raises: `ObservationError` for a file that is gone or damaged.
    """
    files = record.files_of(sample)
    entry = next((entry for entry in files if Path(entry.path).name == "episode.json"), None)
    if entry is None:
        return None
    tree = read_json(checked_file(record, entry), entry.path, ObservationError)

    def scored(of: Mapping[str, Any]) -> dict[str, Scored]:
        return {
            name: Scored(np.array([np.nan if v is None else v for v in s["values"]]), s["unit"], s["better"])
            for name, s in of.items()
        }

    with _fitting(record):
        looks, n = tuple(int(look["frame"]) for look in tree["looks"]), int(tree["act_steps"])
        proposed_FHWC = None if video_FHWC is None else _video(record, files, "episode")
        videos = None
        if proposed_FHWC is not None and video_FHWC is not None:
            videos = np.stack(
                [np.concatenate([video_FHWC[f : f + 1], proposed_FHWC[f + 1 : f + n + 1]]) for f in looks]
            )
        return Episode(
            tree["policy"],
            tree["world"],
            n,
            looks,
            np.array(tree["proposed_action"], np.float32),
            videos,
            scored(tree["scores"]),
            tree["states"],
            tuple(look["seconds"] for look in tree["looks"]),
            tuple(look["details"] for look in tree["looks"]),
            tree["reference"],
            scored(tree["reference_scores"]),
            tree["reference_states"],
            _alternatives(record, files) if pictures else None,
        )


def _alternatives(record: Record, files: Sequence[FileEntry]) -> np.ndarray | None:
    """The pictures of `alternatives.png`, uint8 `[K, M, H, W, 3]`."""
    if not (found := of_type(files, "episode", "alternatives.png")):
        return None
    entry = found[0]
    grid_HWC, shape = read_image(checked_file(record, entry)), entry.details.get("pictures")
    if not (isinstance(shape, list) and len(shape) == 5 and all(isinstance(n, int) and n > 0 for n in shape)):
        raise ObservationError(f"{entry.path}: its record does not say how many pictures it holds.")
    looks, count, height, width, channels = shape
    if grid_HWC.shape != (looks * height, count * width, channels):
        raise ObservationError(f"{entry.path} has {grid_HWC.shape[:2]} pixels, not those of {shape} pictures.")
    return grid_HWC.reshape(looks, height, count, width, channels).swapaxes(1, 2)


def _sound(record: Record, files: Sequence[FileEntry]) -> np.ndarray | None:
    if not (found := of_type(files, "sound", ".wav")):
        return None
    samples = checked_file(record, found[0]).read_bytes().partition(b"data")[2][4:]  # after the chunk's length
    return np.frombuffer(samples, "<f4").reshape(found[0].details["shape"]).astype(np.float32)


def _images(record: Record, files: Sequence[FileEntry]) -> np.ndarray | None:
    images = [read_image(checked_file(record, entry)) for entry in of_type(files, "image", ".png")]
    return np.stack(images) if images else None


def _mesh(record: Record, files: Sequence[FileEntry]) -> Mesh | None:
    if not (found := of_type(files, "mesh", ".ply")):
        return None
    header, _, body = checked_file(record, found[0]).read_bytes().partition(b"end_header\n")
    vertices, faces = (int(count) for count in re.findall(rb"element \w+ (\d+)", header))
    vertices_V3 = np.frombuffer(body, "<f4", 3 * vertices).reshape(-1, 3).astype(np.float32)
    rows = np.frombuffer(body[12 * vertices :], [("count", "u1"), ("vertices", "<i4", 3)], faces)
    return Mesh(vertices_V3, np.ascontiguousarray(rows["vertices"], np.int32))
