"""Files that readers see whole or not at all, whatever kills the process: written beside their place and renamed."""

import contextlib
import datetime
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strands_diffusers.errors import OutputError

PARTIAL = ".partial-"
"""How the private folder of a job that is writing begins."""


def now() -> str:
    """The present moment, ISO 8601 with zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def writing(place: Path, remedy: str = "Choose another folder with output_dir=DIR.") -> Iterator[None]:
    """Let an `OSError` be an `OutputError` of one line: that `place` cannot be written to, why, and the remedy."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write to {place}: {error.strerror or error}. {remedy}".rstrip()) from error


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text beside `path`, flush it to the disk, and rename it. Raises: `OutputError`."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with writing(path, ""):
        try:
            with partial.open("w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON, NaN and infinities as null. Raises: `OutputError`."""
    return write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


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


@contextlib.contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """A private folder inside `directory`; removed at the end with whatever was not published.

    An `OutputError` that names a file in it names the place where the file would have been.
    """
    private = directory / f"{PARTIAL}{uuid.uuid4().hex[:8]}"
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob(f"{PARTIAL}*"):  # of a process that was killed while it wrote
            shutil.rmtree(left, ignore_errors=True)
        private.mkdir()
    try:
        yield private
    except OutputError as error:
        if str(private) not in str(error):
            raise
        raise OutputError(str(error).replace(str(private), str(directory))) from error
    finally:
        shutil.rmtree(private, ignore_errors=True)


def publish(private: Path, directory: Path) -> None:
    """Rename everything in `private` to its place in `directory`; folders that exist already are merged."""
    for path in sorted(private.iterdir()):
        target = directory / path.name
        if path.is_dir() and target.is_dir():
            publish(path, target)
        else:
            path.replace(target)
