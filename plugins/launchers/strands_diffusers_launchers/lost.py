"""The record of a job whose process is gone: it cannot write its own `failure.json`, so its launcher does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from strands_diffusers import records
from strands_diffusers.records import FAILURE, MANIFEST
from strands_diffusers.records.files import PARTIAL
from strands_diffusers.runner.run import write_failure


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
    write_failure(directory, f"SweepError: {reason}", stage, overrides, log_file=log, output=output)
    return True
