"""`observation=run:DIR`: what a finished job produced, as an observation: film, actions, domain and task."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ObservationError
from strands_diffusers.lazy import np
from strands_diffusers.observations.action_files import read_actions
from strands_diffusers.observations.address import Address, exists, split_address
from strands_diffusers.observations.images import IMAGE_SUFFIXES, read_image
from strands_diffusers.observations.media import CLIP_SUFFIXES, read_clip
from strands_diffusers.observations.window import check_domain, usable_frames
from strands_diffusers.plugin.base import Source
from strands_diffusers.plugin.spec import hookimpl
from strands_diffusers.results import Observation, ObservationRequest

OPTIONS = ("sample", "start")
"""`@sample:N` which sample of a job with several · `@start:N` first frame."""

MANIFEST, FAILURE = "manifest.json", "failure.json"


class RunSource(Source):
    """A finished job's folder: its video or image, its actions, and its prompt as the task.

    Address: `DIR[@sample:N][@start:N]`.
    Shapes: frames uint8 `[F, H, W, 3]`, decoded from the job's (lossy) film; actions float32 `[T, D]`, as written,
        or as given to forward dynamics.
    Raises: `ObservationError` for a folder that is no finished run, saying why, and for files that changed since.
    """

    scheme = "run"

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Read the run at `address`."""
        parsed = split_address(address, OPTIONS)
        directory = Path(parsed.path).expanduser()
        record = _manifest(directory, parsed.path)
        sample = _sample(record, parsed)
        entry = _entry(record, sample)
        check_domain(entry.get("domain"), request, f"run:{parsed.path}")
        files = _artifacts(record, sample)
        start = parsed.integer("start", 0)
        frames_FHWC, fps, even = _frames(directory, files, start, request)
        details: dict[str, Any] = {
            "kind": "run",
            "start": start,
            "run_mode": entry.get("mode"),
            "run_seed": entry.get("seed"),
        }
        if sample is not None:
            details["sample"] = sample
        note = None
        if frames_FHWC is not None:
            usable, note = usable_frames(len(frames_FHWC), fps, request, f"run:{parsed}", even=even)
            frames_FHWC = frames_FHWC[:usable]
        if note:
            details["reference"] = note
        actions_TD = None if note else _actions(directory, files, entry, start, request)
        if frames_FHWC is None and actions_TD is None:
            raise ObservationError(
                f"run:{parsed.path} wrote neither a video nor an image nor actions that could be observed."
            )
        prompt, domain = entry.get("prompt"), entry.get("domain")
        return Observation(frames_FHWC, fps, actions_TD, prompt or None, domain, details=details)

    def absolute(self, address: str, cwd: Path) -> str:
        """Make the folder absolute."""
        return str(split_address(address, OPTIONS, cwd=cwd).absolute(cwd))


@hookimpl
def register_sources() -> list[type[Source]]:
    """The source of finished runs."""
    return [RunSource]


def _manifest(directory: Path, shown: str) -> Mapping[str, Any]:
    """The folder's manifest; `ObservationError` where the job did not finish, or there was none."""
    if not exists(shown):
        raise ObservationError(
            f"run:{shown} does not exist. Type the folder of a finished job, the one with {MANIFEST}."
        )
    try:
        record = json.loads((directory / MANIFEST).read_text("utf-8"))
        if not isinstance(record, dict) or not isinstance(record.get("artifacts"), list):
            raise ObservationError(
                f"run:{shown}: its {MANIFEST} lists no artifacts; it was not written by this program."
            )
    except (FileNotFoundError, NotADirectoryError):
        raise ObservationError(f"run:{shown} {_why_unfinished(directory)}") from None
    except OSError as error:
        raise ObservationError(f"run:{shown}: its {MANIFEST} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ObservationError(f"run:{shown}: its {MANIFEST} is damaged ({error}).") from error
    return record


def _why_unfinished(directory: Path) -> str:
    if not directory.is_dir():
        return f"is a file. Type the folder of a finished job, the one with {MANIFEST}."
    try:
        failure = json.loads((directory / FAILURE).read_text("utf-8"))
        reason = " ".join(str(failure.get("error", "")).split()) if isinstance(failure, dict) else ""
        return f"failed and left no rollout: {reason[:300] or f'see its {FAILURE}'}"
    except (OSError, ValueError):
        pass
    inside = sorted(path.parent.name for path in directory.glob(f"*/{MANIFEST}"))
    if inside:
        return f"is not one finished run; inside it are {', '.join(inside[:12])}. Type run:{directory}/{inside[0]}."
    return f"is not a finished run: it holds no {MANIFEST}. Type the folder of a finished job."


def _sample(record: Mapping[str, Any], parsed: Address) -> int | None:
    """The sample that is meant, or None for a job of one."""
    samples = record.get("samples") or []
    if not samples:
        if "sample" in parsed.options:
            raise ObservationError(f"run:{parsed.path} has a single sample. Leave @sample: out.")
        return None
    index = parsed.integer("sample", 0)
    if index >= len(samples):
        raise ObservationError(f"run:{parsed.path} has no sample {index}: they are 0 to {len(samples) - 1}.")
    return index


def _entry(record: Mapping[str, Any], sample: int | None) -> Mapping[str, Any]:
    entry = record.get("rollout") if sample is None else record["samples"][sample]
    return entry if isinstance(entry, dict) else {}


def _artifacts(record: Mapping[str, Any], sample: int | None) -> list[Mapping[str, Any]]:
    """The sample's files, as the manifest lists them."""
    folder = "" if sample is None else f"sample_{sample:02d}/"
    return [
        file
        for file in record["artifacts"]
        if isinstance(file, dict) and isinstance(file.get("path"), str) and file["path"].startswith(folder)
    ]


def _of_type(files: Sequence[Mapping[str, Any]], type_: str, suffixes: Sequence[str]) -> list[Mapping[str, Any]]:
    return [file for file in files if file.get("type") == type_ and Path(file["path"]).suffix.lower() in suffixes]


def _checked(directory: Path, file: Mapping[str, Any]) -> Path:
    """The file on disk, unchanged since the manifest was written."""
    path = directory / str(file["path"])
    if not path.resolve().is_relative_to(directory.resolve()):
        raise ObservationError(f"{directory / MANIFEST} lists {file['path']}, which is outside the run's folder.")
    if not path.is_file():
        raise ObservationError(f"{path} is gone since the run finished.")
    digest = file.get("sha256")
    if digest is not None and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ObservationError(
            f"{path} has changed since the run finished. Type observation={path} to read it as a plain file."
        )
    return path


def _frames(
    directory: Path, files: Sequence[Mapping[str, Any]], start: int, request: ObservationRequest
) -> tuple[np.ndarray | None, float | None, bool]:
    """Frames of the run's film, or its single image; with their rate and whether they are evenly spaced."""
    if films := _of_type(files, "video", CLIP_SUFFIXES):
        clip = read_clip(_checked(directory, films[0]), start, request.num_frames)
        return clip.frames_FHWC, clip.fps, clip.even
    if images := _of_type(files, "image", IMAGE_SUFFIXES):
        if start or len(images) > 1:
            listed = ", ".join(str(directory / file["path"]) for file in images[:4])
            raise ObservationError(
                f"run:{directory} holds images, not a film. Type one of them as the observation: {listed}."
            )
        return read_image(_checked(directory, images[0]))[None], None, True
    return None, None, True


def _actions(
    directory: Path,
    files: Sequence[Mapping[str, Any]],
    entry: Mapping[str, Any],
    start: int,
    request: ObservationRequest,
) -> np.ndarray | None:
    """Return the actions behind the run's film: its own, or those that a forward-dynamics run was given."""
    found = _of_type(files, "action", (".json",))
    plain = [file for file in found if Path(file["path"]).name == "action.json"]
    if plain:
        rows_TD = read_actions(_checked(directory, plain[0]))
    elif given := entry.get("given_action"):
        rows_TD = np.concatenate(np.asarray(given, np.float32))
    else:
        return None
    end = None if request.num_frames is None or request.num_frames < 2 else start + request.num_frames - 1
    chosen = rows_TD[start:end]
    return chosen if len(chosen) else None
