"""Paths as people type them."""

import os
from collections.abc import Collection
from pathlib import Path

from strands_diffusers.errors import ConfigError, ObservationError


def expanded(path: str | Path) -> Path:
    """The path with `~` replaced by the home folder; unchanged where there is no such user, as the shell does."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def shipped(in_wheel: str, in_checkout: str, file: str) -> Path:
    """The folder of ours that holds `file`: inside the package in a wheel, else beside the package in a checkout.

    The wheel's own comes first, because there the package's siblings could be anybody's. Raises: `ConfigError`.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / in_wheel, package.parent / in_checkout):
        if (folder / file).is_file():
            return folder
    raise ConfigError(
        f"no {in_checkout}/{file} beside {package}: the installation is incomplete. Install strands_diffusers again."
    )


def absolute_path(path: str | Path, cwd: Path) -> str:
    """Return `path` as seen from `cwd`. `..` leads where the shell would go: up from where a link leads to."""
    whole = cwd / expanded(path)
    if ".." in whole.parts:
        end = len(whole.parts) - whole.parts[::-1].index("..")
        head = Path(*whole.parts[:end])
        if os.path.exists(head):  # noqa: PTH110 - False for what cannot be a path at all
            whole = Path(os.path.realpath(head), *whole.parts[end:])
    return str(whole)


def visible_files(directory: Path, suffixes: Collection[str], *, deep: bool = False) -> list[Path]:
    """Files of a folder (`deep`: and below) with one of these endings, sorted by path.

    Hidden files and folders, copies that editors and systems leave, are left out. Raises: `ObservationError` for a folder
    that cannot be read, and for a link that leads out of it.
    """
    try:
        found = [
            path
            for path in (directory.rglob("*") if deep else directory.iterdir())
            if path.suffix.lower() in suffixes
            and not any(part.startswith(".") for part in path.relative_to(directory).parts)
            and path.is_file()
        ]
        home = directory.resolve()
        astray = [path for path in found if path.is_symlink() and not path.resolve().is_relative_to(home)]
    except OSError as error:
        raise ObservationError(f"{directory} cannot be read: {error.strerror}.") from error
    if astray:
        raise ObservationError(
            f"{min(astray)} is a link that leads out of the folder. Copy the files: cp -rL {directory} NEW."
        )
    return sorted(found)
