"""Whose a folder is: a job writes into a folder of its own, an empty one, or the very same job's."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strands_diffusers import records
from strands_diffusers.errors import ConfigError, first_few
from strands_diffusers.records.files import PARTIAL

APP = "app_name: strands-diffusers"
"""Stands in the settings that Hydra leaves in our folders, by `conf/run.yaml`."""

LOCK = ".lock"
OURS = ("strands_diffusers.log", "wandb", "multirun.yaml", "index.html", records.MANIFEST, records.FAILURE)
"""What a job or the page leaves in its folder beside its artifacts."""


@contextlib.contextmanager
def claimed(directory: Path, what: str = "job") -> Iterator[None]:
    """Hold a folder for this process; the system lets go of it when the process ends, however it ends.

    Raises: `ConfigError` naming the process that holds it; `OutputError` where the folder cannot be made.
    """
    with records.writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        stream = (directory / LOCK).open("a+")
    with stream:
        if not _lock(stream) or not _still(stream, directory / LOCK):
            stream.seek(0)
            raise ConfigError(
                f"{directory} is in use by another {what} ({_owner(stream.read())}). Wait for it, or choose output_dir=DIR."
            )
        stream.truncate(0)
        stream.write(json.dumps({"pid": os.getpid(), "since": records.now()}))
        stream.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (directory / LOCK).unlink()


def _lock(stream: Any) -> bool:
    try:
        import fcntl
    except ImportError:  # no such locks on this system: two runs into one folder are then not noticed
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _still(stream: Any, path: Path) -> bool:
    """Whether the locked file is the one in the folder: its last holder takes it away when it lets go."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except OSError:
        return False


def _owner(text: str) -> str:
    try:
        value = json.loads(text)
        return f"process {value['pid']} since {value['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


def check_free(directory: Path, digest: str) -> None:
    """Refuse a folder that holds what is not this very job's.

    A failed job's folder is free, and so is one whose process was killed. Raises: `ConfigError`.
    """
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ConfigError(f"{directory} is a file. Choose a folder with output_dir=DIR.")
    record = records.read(directory)
    if record is not None and record.done and record.hash != digest:
        raise ConfigError(f"{directory} holds another finished job. Choose an empty folder with output_dir=DIR.")
    own = {Path(entry.path).parts[0] for entry in record.artifacts} if record is not None else set()
    names = sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))  # ours have no dot
    foreign = [name for name in names if name not in own and name not in OURS]
    if _of_another_program(directory / ".hydra" / "hydra.yaml"):
        foreign.insert(0, "the .hydra folder of another program")
    if foreign:
        raise ConfigError(
            f"{directory} holds {first_few(foreign, 3)}, which this job did not write. Choose an empty folder with output_dir=DIR."
        )


def _of_another_program(settings: Path) -> bool:
    try:
        return APP not in settings.read_text(encoding="utf-8", errors="replace")
    except OSError:  # there is none
        return False


def begin(directory: Path) -> None:
    """Take away what an earlier run of this job left: its record first, so that nothing half-new looks complete."""
    if (record := records.read(directory)) is not None:
        for name in (records.MANIFEST, records.FAILURE):
            (directory / name).unlink(missing_ok=True)
        for entry in record.artifacts:
            (directory / entry.path).unlink(missing_ok=True)
    for left in directory.glob(f"{PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)


def claim_next(directory: Path) -> Path:
    """Make the next numbered folder of a sweep, one that no other worker makes in the same instant."""
    directory.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(next_number(directory)):
        with contextlib.suppress(FileExistsError):
            (directory / str(number)).mkdir()
            return directory / str(number)
    raise AssertionError("unreachable")


def next_number(directory: Path) -> int:
    """The first job number of a sweep's folder from which on nothing is there."""
    folders = [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []
    names = [path.name.partition("-")[0] for path in folders if any(path.iterdir())]
    return max((int(name) + 1 for name in names if name.isdecimal() and name.isascii()), default=0)
