"""Which jobs of a sweep are done already: matched by what they are (their hash), never by their number."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ConfigError
from strands_diffusers.runner import manifest

SWEEPS = "multirun"


@dataclass(frozen=True)
class Done:
    """A complete job of an earlier sweep."""

    directory: Path
    manifest: Mapping[str, Any]


def sweep_folder(resume: str, cwd: Path) -> Path:
    """The folder that `resume=` names; `last` is the latest sweep below `multirun/`.

    Raises: `ConfigError` where there is none.
    """
    if resume == "last":
        found = sorted(
            (p.parent for p in (cwd / SWEEPS).glob("*/*/multirun.yaml")), key=lambda p: (p.parent.name, p.name)
        )
        if not found:
            raise ConfigError(f"resume=last: there is no sweep below {cwd / SWEEPS}. Name its folder: resume=DIR.")
        return found[-1]
    folder = cwd / Path(resume).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"resume={resume}: there is no such folder. Name a sweep's folder, or resume=last.")
    return folder.resolve()


@functools.lru_cache(maxsize=4)
def done_jobs(folder: Path) -> Mapping[str, Done]:
    """The complete jobs of a sweep's folder by hash, read once per process: jobs of this run are not looked up."""
    found: dict[str, Done] = {}
    for path in [folder, *sorted(p for p in folder.iterdir() if p.is_dir())]:
        record = manifest.read(path)
        if record and _whole(path, record):
            found.setdefault(str(record["hash"]), Done(path, record))
    return found


def _whole(directory: Path, record: Mapping[str, Any]) -> bool:
    """Whether every listed file is still there, with its size."""
    for entry in record["artifacts"]:
        path = directory / entry["path"]
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
    return True


def place(directory: Path, digest: str) -> Path:
    """Where a job may write: its own folder, or one beside it where another complete job already lives there."""
    record = manifest.read(directory)
    if record is None or record["hash"] == digest:
        return directory
    return directory.with_name(f"{directory.name}-{digest[:8]}")


def why_not(identity: Mapping[str, Any], folder: Path) -> str | None:
    """In what the nearest complete job differs: `seed 1 -> 2, versions.torch 2.12 -> 2.13`; None where there is no job."""
    mine = _flat(identity)
    nearest: list[str] | None = None
    for done in done_jobs(folder).values():
        theirs = _flat(done.manifest.get("identity", {}))
        keys = [k for k in sorted(mine.keys() | theirs.keys()) if mine.get(k) != theirs.get(k)]
        changes = [f"{k} {_short(theirs.get(k))} -> {_short(mine.get(k))}" for k in keys]
        if nearest is None or len(changes) < len(nearest):
            nearest = changes
    if nearest is None:
        return None
    return ", ".join(nearest[:4]) + (f" and {len(nearest) - 4} more" if len(nearest) > 4 else "")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
