"""Numbers as callers write them: nested lists, JSON text, files and tensors become arrays.

Array suffixes: K chunks, T steps, D action width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers.api.access import Access
from strands_diffusers.api.values import check
from strands_diffusers.errors import ActionError, ObservationError
from strands_diffusers.jsonfile import read_json
from strands_diffusers.observations.action_files import ACTION_SUFFIXES, only_chunk, read_chunks
from strands_diffusers.pipelines.contents import numbers


def action_array(value: Any, name: str, access: Access) -> np.ndarray:
    """float32 array of an action in any of its spellings: nested lists, an array, `{"data": ...}`, JSON text, a file.

    Raises: `ActionError` for values that are ragged, empty, not numbers, NaN or infinite.
    """
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        value = read_json(value, f"{name}, a string,", ActionError)
        check(value, name)
    if isinstance(value, str | Path):
        path = local_file(value, name, access)
        if path.suffix.lower() not in ACTION_SUFFIXES:
            raise ActionError(f"{name}: {path.name} is not an action file; it may end in {', '.join(ACTION_SUFFIXES)}.")
        return read_chunks(path, f"{name}={path.name}")
    if isinstance(value, Mapping):
        return action_array(value["data"] if "data" in value else only_chunk(value, name), name, access)
    if isinstance(value, list | tuple) and value and all(hasattr(item, "detach") for item in value):
        value = [numbers(item) for item in value]
    array = _finite(numbers(value) if hasattr(value, "detach") else value, name)
    return array[None] if array.ndim == 1 else array


def _finite(value: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ActionError(f"{name} is not a table of numbers: {' '.join(str(error).split()).rstrip('.')}.") from error
    if array.size == 0 or array.ndim not in (1, 2, 3):
        raise ActionError(f"{name} has shape {list(array.shape)}; it must be [T, D] or [K, T, D].")
    if not np.isfinite(array).all():
        raise ActionError(f"{name} holds NaN or inf; every action must be a finite number.")
    return array.astype(np.float32)


def tensor(value: Any, name: str, access: Access) -> Any:
    """A tensor from nested lists of numbers or a .npy file; anything else is handed on."""
    import torch

    if isinstance(value, str | Path):
        path = local_file(value, name, access)
        if path.suffix.lower() != ".npy":
            raise ObservationError(f"{name} wants a tensor; {path.name} is no .npy file.")
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise ObservationError(f"{name}: {path.name} holds no array of numbers.") from error
    if isinstance(value, list) and value and _is_table(value):
        return torch.tensor(value)
    return value


def _is_table(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_table(item) for item in value)
    return isinstance(value, int | float)


def local_file(value: str | Path, name: str, access: Access) -> Path:
    """An existing file that the caller may read."""
    text = str(value)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise ObservationError(f"{name}: {text.split('?')[0]} is not fetched. Download it and give the file.")
    path = access.readable(Path(text), name)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ObservationError(f"{name}: {text} {what}.")
    return path
