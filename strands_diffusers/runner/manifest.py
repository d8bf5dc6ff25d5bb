"""The record of a job on disk: `manifest.json`, written last, means complete; `failure.json` says why there is none.

Every file is written into a private folder beside its destination and renamed, so that a reader sees a whole file or
none, whatever kills the process.
"""

import contextlib
import datetime
import hashlib
import json
import math
import os
import shutil
import traceback
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from strands_diffusers.errors import OutputError, SweepError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.results import Artifact, Rollout

SCHEMA_VERSION = 1
MANIFEST, FAILURE = "manifest.json", "failure.json"


def now() -> str:
    """The present moment, ISO 8601 with zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A private folder inside `directory`; removed at the end with whatever was not published.

    An `OutputError` that names a file in it names the place where the file would have been.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob(".partial-*"):  # of a process that was killed in mid-write
            shutil.rmtree(left, ignore_errors=True)
        private = directory / f".partial-{uuid.uuid4().hex[:8]}"
        private.mkdir()
    except OSError as error:
        raise OutputError(
            f"cannot write to {directory}: {error.strerror}. Choose another folder with output_dir=DIR."
        ) from error
    try:
        yield private
    except OutputError as error:
        if str(private) not in str(error):
            raise
        raise OutputError(str(error).replace(str(private), str(directory))) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def publish(private: Path, directory: Path) -> None:
    """Rename everything in `private` to its place in `directory`."""
    for path in sorted(private.iterdir()):
        target = directory / path.name
        if path.is_dir():
            if target.is_dir():
                shutil.rmtree(target)
            path.rename(target)
        else:
            path.replace(target)


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside `path`, flush it to the disk, and rename it."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("w") as stream:
            json.dump(plain(value), stream, indent=2, allow_nan=False)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}.") from error


def plain(value: Any) -> Any:
    """JSON-ready copy: numpy scalars as Python numbers, paths as strings, NaN and infinities as null."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def artifact_entry(artifact: Artifact, directory: Path) -> dict[str, Any]:
    """One artifact as the manifest lists it: relative path, type, bytes, sha256, and its details."""
    digest = hashlib.sha256()
    with artifact.path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return {
        "path": str(artifact.path.relative_to(directory)),
        "type": artifact.type,
        "bytes": artifact.path.stat().st_size,
        "sha256": digest.hexdigest(),
        **artifact.details,
    }


def rollout_entry(rollout: Rollout) -> dict[str, Any]:
    """What the manifest says of one sample: arrays by dtype and shape; actions that no serializer writes, in full."""
    arrays = {}
    for name in ("video", "sound", "action", "image"):
        value = getattr(rollout, name)
        if value is not None:
            arrays[name] = {"dtype": str(value.dtype), "shape": list(value.shape)}
    if rollout.mesh is not None:
        arrays["mesh"] = {"vertices": list(rollout.mesh.vertices.shape), "faces": list(rollout.mesh.faces.shape)}
    space = (
        None if rollout.space is None else {k: getattr(rollout.space, k) for k in rollout.space.__dataclass_fields__}
    )
    return {
        "mode": rollout.mode,
        "prompt": rollout.prompt,
        "seed": rollout.seed,
        "sample": rollout.sample,
        "domain": rollout.domain,
        "space": space,
        "fps": rollout.fps,
        "sampling_rate": rollout.sampling_rate,
        "arrays": arrays,
        "given_action": None if rollout.given_action is None else rollout.given_action.tolist(),
        "reference_action": None if rollout.reference_action is None else rollout.reference_action.tolist(),
        "observation": {"source": rollout.observation.source, "details": dict(rollout.observation.details)},
        "details": dict(rollout.details),
    }


def action_spread(rollouts: Sequence[Rollout]) -> dict[str, Any] | None:
    """Mean and standard deviation (N - 1) of the predicted actions over N samples, each `[K][T][D]` in model space.

    None where there is one sample, or no predicted action.
    """
    actions_KTD = [rollout.action for rollout in rollouts if rollout.action is not None]
    if len(actions_KTD) < 2:
        return None
    action_NKTD = np.stack(actions_KTD).astype(np.float64)
    mean_KTD, deviation_KTD = action_NKTD.mean(axis=0), action_NKTD.std(axis=0, ddof=1)
    facts = {"samples": len(actions_KTD), "shape": list(mean_KTD.shape), "unit": "model space"}
    return {**facts, "mean": mean_KTD.tolist(), "std": deviation_KTD.tolist()}


def write_failure(
    directory: Path, error: BaseException, stage: str, overrides: Sequence[str] = (), **facts: Any
) -> None:
    """Leave `failure.json` in the job's folder; a folder that cannot be written to is left alone, the error is raised anyway."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "status": "failed",
        "error": f"{type(error).__name__}: {one_line(error, 2000)}",
        "stage": stage,
        "overrides": list(overrides),
        "traceback": "".join(traceback.format_exception(error)),
        "finished": now(),
        **facts,
    }
    with contextlib.suppress(OSError, OutputError):
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / FAILURE, record)


def record_lost_job(
    directory: Path,
    overrides: Sequence[str],
    reason: str,
    *,
    stage: str = "unknown",
    since: float | None = None,
    log: Path | None = None,
    output: str = "",
) -> bool:
    """Record a job whose process is gone, for launchers: such a job cannot write its own `failure.json`.

    `directory` and `overrides` are the job's, `reason` one line saying what became of the process, `stage` where the
    job was last seen, `log` the file with the process's output and `output` its last lines. What the process left
    half-written is removed. Call it only once the process is dead.

    `since` is when the job began [Unix seconds]: a manifest written after it is the job's own, so the job was done
    before its process died. An older one is from another run in this folder, and no longer true.

    Returns whether the job is lost; False where it was done after all, and then nothing is written.
    """
    for partial in [*directory.glob(".partial-*"), *directory.glob(f".{MANIFEST}.*"), *directory.glob(f".{FAILURE}.*")]:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    complete = directory / MANIFEST
    if read(directory) is not None and (since is None or complete.stat().st_mtime >= since):
        return False
    complete.unlink(missing_ok=True)
    facts = {"lost": True, "log": None if log is None else str(log)}
    write_failure(directory, SweepError(reason), stage, overrides, **facts, **({"traceback": output} if output else {}))
    return True


def read(directory: Path) -> dict[str, Any] | None:
    """The manifest of a complete job folder, or None where there is none or it is not readable."""
    try:
        value = json.loads((directory / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("schema_version") == SCHEMA_VERSION else None


def read_failure(directory: Path) -> dict[str, Any] | None:
    """The failure record of a job folder, or None."""
    try:
        value = json.loads((directory / FAILURE).read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
