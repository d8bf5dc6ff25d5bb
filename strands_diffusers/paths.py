"""Paths as people type them."""

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with `~` replaced by the home folder; unchanged where there is no such user, as the shell does."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def absolute_path(path: str | Path, cwd: Path) -> str:
    """Return `path` as seen from `cwd`. `..` leads where the shell would go: up from where a link leads to."""
    whole = cwd / expanded(path)
    if ".." in whole.parts:
        end = len(whole.parts) - whole.parts[::-1].index("..")
        head = Path(*whole.parts[:end])
        if os.path.exists(head):  # noqa: PTH110 - False for what cannot be a path at all
            whole = Path(os.path.realpath(head), *whole.parts[end:])
    return str(whole)
