"""Read action files: `.json`, `.npy`, `.npz`; numbers only, never pickled objects.

Array suffixes: K chunks, T steps, D action width.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ActionError, ObservationError
from strands_diffusers.lazy import np
from strands_diffusers.observations.media import check_file

ACTION_SUFFIXES = (".json", ".npy", ".npz")
"""Files that are read as actions."""

MAX_VALUES = 50_000_000
"""Most numbers in one file: a thousand hours of a 20-wide arm at 10 Hz is not an action chunk."""

_ACCEPTED = "An action file holds numbers [T, D], or chunks [K, T, D], as .json (nested lists), .npy or .npz."


def read_actions(path: Path, name: str = "") -> np.ndarray:
    """Read an action file.

    Shapes: [T, D], or chunks [K, T, D] laid one after the other -> float32 `[K*T, D]`, not clipped, not scaled.
    Units: whatever the file holds; `strands_diffusers.actions.check_actions` judges width and units.
    Raises: `ObservationError` for a file that is missing, empty, truncated or of another kind; `ActionError` for
        values that are ragged, empty, not numbers, NaN or infinite. `name` (by default the path) stands in front.
    """
    name = name or str(path)
    check_file(path, name)
    if path.suffix.lower() == ".json":
        value = _from_json(path, name)
    elif path.suffix.lower() in (".npy", ".npz"):
        value = _from_numpy(path, name)
    else:
        raise ObservationError(f"{name} is not an action file. {_ACCEPTED}")
    if value.size == 0:
        raise ActionError(f"{name} holds no actions: shape {list(value.shape)}. {_ACCEPTED}")
    if value.ndim not in (2, 3):
        raise ActionError(f"{name} has shape {list(value.shape)}. {_ACCEPTED}")
    with np.errstate(over="ignore"):  # beyond float32 becomes inf and is refused as such
        rows_TD = value.reshape(-1, value.shape[-1]).astype(np.float32)
    if not np.isfinite(rows_TD).all():
        row, column = np.argwhere(~np.isfinite(rows_TD))[0]
        raise ActionError(
            f"{name} holds {rows_TD[row, column]} in row {row}, column {column}. Every action must be a finite number."
        )
    return rows_TD


def _from_json(path: Path, name: str) -> np.ndarray:
    if path.stat().st_size > 20 * MAX_VALUES:
        raise ObservationError(
            f"{name} is {path.stat().st_size >> 20} MiB long: too much for an action file. {_ACCEPTED}"
        )
    try:
        value = json.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise ObservationError(f"{name} is nested too deep. {_ACCEPTED}") from error
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ObservationError(f"{name} is truncated or not JSON ({error}). {_ACCEPTED}") from error
    if isinstance(value, dict):
        raise ObservationError(
            f"{name} is a JSON object ({', '.join(map(repr, list(value)[:4]))}), not nested lists. {_ACCEPTED}"
        )
    _check_nesting(value, name)
    return np.array(value, np.float64)


def _check_nesting(value: Any, name: str) -> None:
    """Refuse nested lists that are not a regular [T][D] or [K][T][D] of numbers, naming the first odd row."""
    if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
        raise ActionError(f"{name} is not a list of rows. {_ACCEPTED}")
    chunks = value if value and value[0] and isinstance(value[0][0], list) else [value]
    first: list[Any] | None = None
    for k, chunk in enumerate(chunks):
        where = f"chunk {k}, " if chunks is value else ""
        if len(chunk) != len(chunks[0]):
            raise ActionError(f"{name} is ragged: chunk {k} has {len(chunk)} rows, chunk 0 has {len(chunks[0])}.")
        for t, row in enumerate(chunk):
            if not isinstance(row, list):
                raise ActionError(f"{name} is ragged: {where}row {t} is not a list.")
            first = row if first is None else first
            if len(row) != len(first):
                raise ActionError(
                    f"{name} is ragged: {where}row {t} has {len(row)} values, the first has {len(first)}."
                )
            for d, number in enumerate(row):
                if isinstance(number, bool) or not isinstance(number, int | float):
                    raise ActionError(f"{name} holds {_shown(number)} in {where}row {t}, column {d}: not a number.")
                if not _fits(number):
                    raise ActionError(
                        f"{name} holds {_shown(number)} in {where}row {t}, column {d}. "
                        "Every action must be a finite number."
                    )


def _fits(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:  # an integer of hundreds of digits
        return False


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, float) else repr(value)
    return text if len(text) <= 24 else f"{text[:20]}..."


_BROKEN = (ValueError, EOFError, OSError, KeyError, SyntaxError, MemoryError, NotImplementedError, RuntimeError)
"""What numpy and zipfile raise for broken files, headers that promise too much and encrypted archives included."""


def _from_numpy(path: Path, name: str) -> np.ndarray:
    import zipfile
    import zlib

    try:
        with path.open("rb") as stream:
            magic = stream.read(6)
            if magic.startswith(b"PK"):
                if sum(item.file_size for item in zipfile.ZipFile(stream).infolist()) > 8 * MAX_VALUES:
                    raise ObservationError(f"{name} unpacks to more than {8 * MAX_VALUES >> 20} MiB. {_ACCEPTED}")
                stream.seek(0)
                return _numeric(_only_array(np.load(stream, allow_pickle=False), name), name)
        if magic != b"\x93NUMPY":
            raise ObservationError(f"{name} is not a numpy file. {_ACCEPTED}")
        # Mapped, so that a header which promises more than the file holds takes no memory.
        return _numeric(np.load(path, mmap_mode="r", allow_pickle=False), name)
    except (*_BROKEN, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise ObservationError(f"{name} holds pickled objects, which are never opened. {_ACCEPTED}") from error
        raise ObservationError(f"{name} is truncated or not a numpy file ({error}). {_ACCEPTED}") from error


def _only_array(archive: Any, name: str) -> np.ndarray:
    names = list(archive.files)
    chosen = [n for n in ("action", "actions") if n in names] or (names if len(names) == 1 else [])
    if not chosen:
        held = ", ".join(names[:8]) or "nothing"
        raise ObservationError(
            f"{name} holds {held}; name the array of actions 'action', or keep it alone in the file. {_ACCEPTED}"
        )
    array = archive[chosen[0]]
    assert isinstance(array, np.ndarray)
    return array


def _numeric(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise ActionError(f"{name} holds {array.dtype} values, not numbers. {_ACCEPTED}")
    if array.size > MAX_VALUES:
        raise ObservationError(f"{name} holds {array.size:,} numbers: too much for an action file. {_ACCEPTED}")
    return np.asarray(array)
