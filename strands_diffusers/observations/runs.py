"""`observation=run:DIR`: what a finished job produced, as an observation: video, actions, domain and task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import domains, records
from strands_diffusers.errors import ObservationError
from strands_diffusers.lazy import np
from strands_diffusers.observations.address import Address, exists, split_address
from strands_diffusers.observations.images import IMAGE_SUFFIXES, read_image
from strands_diffusers.observations.rollouts import checked_file, of_type, read_action, read_video, recorded_chunks
from strands_diffusers.observations.window import usable_frames
from strands_diffusers.plugin.base import Source
from strands_diffusers.results import Observation, ObservationRequest

if TYPE_CHECKING:
    from strands_diffusers.records import Record, SampleRecord

OPTIONS = ("sample", "start")
"""`@sample:N` which sample of a job with several · `@start:N` first frame."""


class RunSource(Source):
    """A finished job's folder: its video or image, its actions, and its prompt as the task.

    Address: `DIR[@sample:N][@start:N]`.
    Shapes: frames uint8 `[F, H, W, 3]`, decoded from the job's (lossy) video; actions float32 `[T, D]`, as written,
        or as given to forward dynamics.
    Raises: `ObservationError` for a folder that is no finished run, saying why, and for files that changed since.
    """

    scheme = "run"

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read the run at `address`."""
        parsed = split_address(address, OPTIONS)
        directory = parsed.local
        record = _finished(directory, parsed.path)
        sample = _sample(record, parsed)
        domains.check_same(sample.domain, request.domain, f"run:{parsed.path}")
        start = parsed.integer("start", 0)
        frames_FHWC, fps, even = _frames(record, sample, start, request)
        details: dict[str, Any] = {"kind": "run", "start": start, "run_mode": sample.mode, "run_seed": sample.seed}
        if sample.index is not None:
            details["sample"] = sample.index
        note = None
        if frames_FHWC is not None:
            usable, note = usable_frames(len(frames_FHWC), fps, request, f"run:{parsed}", even=even)
            frames_FHWC = frames_FHWC[:usable]
        if note:
            details["reference"] = note
        actions_TD = None if note else _actions(record, sample, start, request)
        if frames_FHWC is None and actions_TD is None:
            raise ObservationError(
                f"run:{parsed.path} wrote neither a video nor an image nor actions that could be observed."
            )
        view = (record.config.get("domain") or {}).get("view_point") if sample.domain else None
        task = sample.prompt or None
        return Observation(frames_FHWC, fps, actions_TD, task, sample.domain, details=details, view_point=view)

    def episodes(self, address: str) -> list[tuple[str, int]]:
        """Every sample with a video and actions of the finished jobs in a folder."""
        parsed = split_address(address, OPTIONS)
        found = []
        for record in records.jobs(parsed.local) if parsed.local.is_dir() else []:
            for sample in record.samples if record.done else ():
                shape = (sample.arrays.get("video") or {}).get("shape")
                if shape and (sample.given_action is not None or sample.arrays.get("action")):
                    which = "" if sample.index is None else f"@sample:{sample.index}"
                    found.append((f"{record.directory}{which}", int(shape[0])))
        if not found:
            raise ObservationError(
                f"run:{parsed.path} holds no finished job with a video and actions. Type the folder of a sweep in an action mode."
            )
        return found

    def absolute(self, address: str, cwd: Path) -> str:
        """Make the folder absolute."""
        return str(split_address(address, OPTIONS, cwd=cwd).absolute(cwd))


def _finished(directory: Path, shown: str) -> Record:
    if not directory.is_dir():
        what = "is a file" if exists(shown) else "does not exist"
        raise ObservationError(
            f"run:{shown} {what}. Type the folder of a finished job, the one with {records.MANIFEST}."
        )
    record = records.read(directory)
    if record is not None and record.done:
        return record
    if record is not None:
        failed = "" if record.status == "damaged" else " failed and left no rollout"
        raise ObservationError(f"run:{shown}{failed}: {record.error[:300]}")
    inside = [found.name for found in records.jobs(directory)]
    if inside:
        listed = ", ".join(inside[:12])
        raise ObservationError(
            f"run:{shown} is not one finished run; inside it are {listed}. Type run:{directory}/{inside[0]}."
        )
    raise ObservationError(
        f"run:{shown} is not a finished run: it holds no {records.MANIFEST}. Type the folder of a finished job."
    )


def _sample(record: Record, parsed: Address) -> SampleRecord:
    single = record.samples[0].index is None
    if single and "sample" in parsed.options:
        raise ObservationError(f"run:{parsed.path} has a single sample. Leave @sample: out.")
    index = 0 if single else parsed.integer("sample", 0)
    if index >= len(record.samples):
        raise ObservationError(f"run:{parsed.path} has no sample {index}: they are 0 to {len(record.samples) - 1}.")
    return record.samples[index]


def _frames(
    record: Record, sample: SampleRecord, start: int, request: ObservationRequest
) -> tuple[np.ndarray | None, float | None, bool]:
    """Frames of the run's video, or its single image; with their rate and whether they are evenly spaced."""
    files = record.files_of(sample)
    if clip := read_video(record, files, start=start, num_frames=request.num_frames):
        return clip.frames_FHWC, clip.fps, clip.even
    if images := of_type(files, "image", *IMAGE_SUFFIXES):
        if start or len(images) > 1:
            listed = ", ".join(str(record.directory / entry.path) for entry in images[:4])
            raise ObservationError(
                f"run:{record.directory} holds images, not a video. Type one of them as the observation: {listed}."
            )
        return read_image(checked_file(record, images[0]))[None], None, True
    return None, None, True


def _actions(record: Record, sample: SampleRecord, start: int, request: ObservationRequest) -> np.ndarray | None:
    """Return the actions behind the run's video: its own, or those that a forward-dynamics run was given."""
    rows_TD = read_action(record, sample)
    if rows_TD is None:
        given_KTD = recorded_chunks(record, sample.given_action)
        if given_KTD is None:
            return None
        rows_TD = np.concatenate(given_KTD)
    end = None if request.num_frames is None or request.num_frames < 2 else start + request.num_frames - 1
    chosen = rows_TD[start:end]
    return chosen if len(chosen) else None
