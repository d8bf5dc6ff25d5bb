"""The record of a job whose process is gone: it cannot write its own `failure.json`, so a launcher does."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from strands_diffusers import records
from strands_diffusers.errors import StrandsDiffusersError, one_line
from strands_diffusers.records import FAILURE, MANIFEST, Record
from strands_diffusers.records.files import PARTIAL
from strands_diffusers.runner import provenance

logger = logging.getLogger(__name__)


def write_failure(
    directory: Path,
    error: BaseException | str,
    stage: str,
    overrides: Sequence[str] = (),
    *,
    log: Path | None = None,
    output: str = "",
) -> Record:
    """Leave `failure.json` in a job's folder; one that cannot be written to is left alone. `output`: the process's last lines."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {one_line(error, 2000)}"
    record = Record(
        directory,
        "failed",
        overrides=tuple(overrides),
        error=text,
        stage=stage,
        traceback=output,
        finished=records.now(),
        versions=provenance.versions(),
        log="" if log is None else str(log),
    )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        records.write(record)
    except (OSError, StrandsDiffusersError):
        logger.debug("no record of the failure could be written to %s", directory)
    return record


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
    """Record a job whose process is gone, for launchers. Call it only once the process is dead.

    `directory` and `overrides` are the job's, `reason` one line saying what became of the process, `stage` where the
    job was last seen, `log` the file with the process's output and `output` its last lines. What the process left
    half-written is removed. `since` is when the job began [Unix seconds]: a manifest written after it is the job's own,
    so the job was done before its process died; an older one is no longer true.

    Returns whether the job is lost; False where it was done after all, and then nothing is written.
    """
    for partial in [
        *directory.glob(f"{PARTIAL}*"),
        *directory.glob(f".{MANIFEST}.*"),
        *directory.glob(f".{FAILURE}.*"),
    ]:
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)
    complete = directory / MANIFEST
    record = records.read(directory)
    if record is not None and record.done and (since is None or complete.stat().st_mtime >= since):
        return False
    complete.unlink(missing_ok=True)
    write_failure(directory, f"SweepError: {reason}", stage, overrides, log=log, output=output)
    return True
