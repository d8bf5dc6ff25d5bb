"""Read action files: `.json`, `.npy`, `.npz`; numbers only, never pickled objects.

Array suffixes: K chunks, T steps, D action width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from strands_diffusers.actions.check import check_nesting, check_numbers
from strands_diffusers.errors import ActionError, ObservationError, one_line
from strands_diffusers.jsonfile import read_json
from strands_diffusers.lazy import np
from strands_diffusers.observations.media import BROKEN, check_file

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
    chunks = read_chunks(path, name)
    return chunks.reshape(-1, chunks.shape[-1])


def read_chunks(path: Path, name: str = "") -> np.ndarray:
    """The same as the file nests it: float32 `[T, D]` or `[K, T, D]`. Raises: as `read_actions`."""
    name, kind = name or str(path), path.suffix.lower()
    check_file(path, name)
    if kind in (".npy", ".npz"):
        values = _from_numpy(path, name)
    elif kind == ".json":
        rows = only_chunk(read_json(path, name, ObservationError, max_bytes=20 * MAX_VALUES), name)
        check_nesting(rows, name)
        values = np.array(rows, np.float64)
    else:
        raise ObservationError(f"{name} is not an action file. {_ACCEPTED}")
    return check_numbers(values, name)


def only_chunk(value: Any, name: str) -> Any:
    """Of a JSON object, as other tools write actions, the one entry (at any depth) that holds a chunk; else the value.

    Raises: `ActionError` with the keys where there is none, or several and none of them called `action`.
    """
    if not isinstance(value, dict):
        return value
    found = dict(_entries(value))
    for entries in ([key for key in found if {*key.split(".")} & {*_NAMES}], list(found)):
        if len(entries) == 1:
            return found[entries[0]]
    listed = ", ".join(repr(key) for key in list(found or value)[:8]) or "nothing"
    what = (
        f"{len(found)} chunks of actions ({listed}); keep one, or call it 'action'" if found else f"{listed}, no chunk"
    )
    raise ActionError(f"{name} is a JSON object that holds {what}. {_ACCEPTED}")


_NAMES = ("action", "actions")


def _entries(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries of an object that look like [T][D] or [K][T][D], each with its dotted key."""
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _entries(item, f"{prefix}{key}.")
        first = item[0] if isinstance(item, list) and item else None
        first = first[0] if isinstance(first, list) and first else ""
        first = first[0] if isinstance(first, list) and first else first
        if isinstance(first, int | float) and not isinstance(first, bool):
            yield f"{prefix}{key}", item


def _from_numpy(path: Path, name: str) -> np.ndarray:
    import lzma
    import struct
    import zipfile
    import zlib

    try:
        with path.open("rb") as stream:
            magic = stream.read(6)
            if magic.startswith(b"PK"):
                if sum(item.file_size for item in zipfile.ZipFile(stream).infolist()) > 8 * MAX_VALUES:
                    raise ObservationError(f"{name} unpacks to more than {8 * MAX_VALUES >> 20} MiB. {_ACCEPTED}")
                stream.seek(0)
                return _only_array(np.load(stream, allow_pickle=False), name)
        if magic != b"\x93NUMPY":
            raise ObservationError(f"{name} is not a numpy file. {_ACCEPTED}")
        # Mapped, so that a header which promises more than the file holds takes no memory.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (*BROKEN, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise ObservationError(f"{name} holds pickled objects, which are never opened. {_ACCEPTED}") from error
        raise ObservationError(
            f"{name} is truncated or not a numpy file ({one_line(error, 120)}). {_ACCEPTED}"
        ) from error
    if array.size > MAX_VALUES:
        raise ObservationError(f"{name} holds {array.size:,} numbers: too much for an action file. {_ACCEPTED}")
    return np.asarray(array)


def _only_array(archive: Any, name: str) -> np.ndarray:
    names = list(archive.files)
    chosen = [n for n in _NAMES if n in names] or (names if len(names) == 1 else [])
    if not chosen:
        held = ", ".join(names[:8]) or "nothing"
        raise ObservationError(
            f"{name} holds {held}; name the array of actions 'action', or keep it alone in the file. {_ACCEPTED}"
        )
    return np.asarray(archive[chosen[0]])
