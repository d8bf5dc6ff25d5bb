"""How files become W&B media, and where wandb keeps its copies of them."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from strands_diffusers.results import OUTPUT_TYPES, Artifact

_MEDIA = {
    ".png": "Image",
    ".jpg": "Image",
    ".jpeg": "Image",
    ".webp": "Image",
    ".mp4": "Video",
    ".webm": "Video",
    ".gif": "Video",
    ".wav": "Audio",
    ".flac": "Audio",
    ".html": "Html",
    ".glb": "Object3D",
    ".obj": "Object3D",
}
"""The wandb class that shows a file; files of other kinds are not logged."""

_environment_lock = threading.RLock()


def media_keys(artifacts: Sequence[Artifact]) -> dict[str, list[Path]]:
    """Return the files to show by key. Files of one key and kind form a gallery; of several kinds, a key for each."""
    groups: dict[str, dict[str, list[Path]]] = {}
    for artifact in artifacts:
        kind = _MEDIA.get(artifact.path.suffix.lower())
        if kind is not None:
            key = artifact.type if artifact.type in OUTPUT_TYPES else f"plots/{artifact.type}"
            groups.setdefault(key, {}).setdefault(kind, []).append(artifact.path)
    return {
        key if len(kinds) == 1 else f"{key}/{kind.lower()}": paths
        for key, kinds in groups.items()
        for kind, paths in kinds.items()
    }


def media(path: Path, caption: str | None = None) -> Any:
    """Return the wandb object that shows the file at `path`."""
    import wandb

    kind = _MEDIA[path.suffix.lower()]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    if kind == "Video":  # the rate is in the file; wandb ignores `fps` for a path
        return wandb.Video(str(path), caption=caption, format=path.suffix[1:].lower())  # type: ignore[arg-type]
    return getattr(wandb, kind)(str(path), caption=caption)


def staging_inside(folder: Path) -> AbstractContextManager[None]:
    """Let wandb stage table files inside the run's folder, not in the home folder, unless the user chose a place."""
    return _environment("WANDB_DATA_DIR", str(folder))


def cache_inside(folder: Path) -> AbstractContextManager[None]:
    """Give wandb's service process `folder` as its cache where the usual one, in the home folder, is not writable.

    Without one it prints its log to the terminal. It is started by the first run of a process and keeps the folder.
    """
    import wandb.env

    cache = Path(wandb.env.get_cache_dir())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        writable = os.access(cache, os.W_OK)
    except OSError:
        writable = False
    return nullcontext() if writable else _environment("WANDB_CACHE_DIR", str(folder))


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set an environment variable until the block ends, unless the user set it."""
    with _environment_lock:  # the environment is the process's
        if name in os.environ:
            yield
            return
        os.environ[name] = value
        try:
            yield
        finally:
            del os.environ[name]
