"""What a caller may reach: which files it may have read and written, and that nothing leaves this machine for it.

In Python the caller has its own rights and everything is open. Over MCP the caller is another program, a *confined* one:
it reads below the roots that the user named when starting the server and below the artifacts folder, writes below the
artifacts folder, and no more. Paths are judged after links and `..` are followed, and what was judged is what is opened.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from strands_diffusers.errors import AccessError, ConfigError, OutputError, clean
from strands_diffusers.paths import expanded
from strands_diffusers.records import writing

ARTIFACTS_VARIABLE = "STRANDS_DIFFUSERS_ARTIFACTS"
ROOTS_VARIABLE = "STRANDS_DIFFUSERS_ROOTS"
MAX_URI_MB_VARIABLE = "STRANDS_DIFFUSERS_MAX_DATA_URI_MB"
DEFAULT_MAX_URI_MB = 64.0
MAX_FILES = 200_000
"""Most files in a folder that a confined caller names: each is looked at, for a link may lead out of the root."""

_NAME = re.compile(r"[^/\\]{1,200}")


@dataclass(frozen=True)
class Access:
    """The rights of one caller."""

    roots: tuple[Path, ...] | None = None
    """Folders below which files may be read; None: no limit. The artifacts folder is always readable."""

    tracker: str = "none"
    """The tracker of a confined caller's rollouts, as the operator of the server chose it."""

    @classmethod
    def of_environment(cls) -> Access:
        """The rights of a plain call: everything, or what `$STRANDS_DIFFUSERS_ROOTS` lists (as PATH does)."""
        text = os.environ.get(ROOTS_VARIABLE)
        return cls() if text is None else cls(tuple(expanded(each) for each in text.split(os.pathsep) if each))

    @property
    def is_open(self) -> bool:
        """True where the caller has the process's own rights."""
        return self.roots is None

    def covers(self, folder: Path) -> bool:
        """Whether the folder is one of those that may be read, or lies below one."""
        return self.is_open or _is_below(folder.resolve(), self._open_folders())

    def readable(self, path: str | Path, name: str) -> Path:
        """The absolute path that may be opened for reading, without links or `..` in its folders.

        Raises: `AccessError` for a place outside of the roots, and for a folder with a link that leads out of them.
        """
        folders = self._open_folders()
        found = self._below(path, name, folders, "read", "start the server with --root DIR to allow another folder")
        if not self.is_open and found.is_dir():
            _check_links(found, folders, name)
        return found

    def writable(self, path: str | Path, name: str) -> Path:
        """The absolute path that may be written, below the artifacts folder for a confined caller."""
        return self._below(path, name, [artifacts_folder()], "written", "choose a path there")

    def _open_folders(self) -> list[Path]:
        return [*(self.roots or ()), artifacts_folder()]

    def _below(self, path: str | Path, name: str, roots: list[Path], what: str, how: str) -> Path:
        try:
            given = expanded(path).absolute()
            if self.is_open:
                return given
            real = given.resolve()
            # The last link stays, so that a file keeps its ending; it was followed for the check.
            found = real if given.name in ("", "..") else given.parent.resolve() / given.name
        except (OSError, ValueError, RuntimeError) as error:
            raise AccessError(f"{name}: {clean(str(path)[:200])} is not a path ({type(error).__name__}).") from error
        if _is_below(real, roots):
            return found
        shown = ", ".join(str(root) for root in roots)
        raise AccessError(f"{name}: {clean(str(path)[:200])} may not be {what}. It is outside of {shown}; {how}.")


def _is_below(real: Path, folders: list[Path]) -> bool:
    return any(real.is_relative_to(folder.resolve()) for folder in folders)


def _check_links(folder: Path, roots: list[Path], name: str) -> None:
    """Refuse a folder that holds a link out of the roots: whoever reads the folder would follow it."""
    count, left = 0, [folder]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                count += 1
                if count > MAX_FILES:
                    raise AccessError(f"{name}: {folder} holds more than {MAX_FILES:,} files. Name a folder inside it.")
                if entry.is_symlink():
                    if not _is_below(Path(entry.path).resolve(), roots):
                        raise AccessError(f"{name}: {entry.path} is a link out of the folders that may be read.")
                elif entry.is_dir():
                    left.append(Path(entry.path))


def plain_name(text: object, name: str) -> str:
    """A name that a caller chose, such as a cache key. Raises: `AccessError` where it could be a path or hides letters."""
    if isinstance(text, str) and _NAME.fullmatch(text) and text.isprintable() and text.strip(". ") and ".." not in text:
        return text
    raise AccessError(f"{name}={clean(repr(text)[:200])} must be a name of 1 to 200 printable letters, not a path.")


def artifacts_folder(*, create: bool = False) -> Path:
    """Where files of `use_diffusers` go: `$STRANDS_DIFFUSERS_ARTIFACTS`, else one of this user's in the temp folder.

    Raises: `OutputError` where the folder in the temp folder belongs to somebody else, or is a link.
    """
    named = os.environ.get(ARTIFACTS_VARIABLE)
    user = f"_{os.getuid()}" if hasattr(os, "getuid") else ""
    folder = expanded(named) if named else Path(tempfile.gettempdir()) / f"strands_diffusers{user}"
    folder = folder.absolute()
    with writing(folder, f"Set {ARTIFACTS_VARIABLE} to a folder."):
        if create:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not named and user and os.path.lexists(folder):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
                raise OutputError(f"{folder} is not a folder of yours. Set {ARTIFACTS_VARIABLE} to one.")
            if found.st_mode & 0o077:
                folder.chmod(0o700)
    return folder


def max_uri_bytes() -> int:
    """Most bytes that one data URI may decode to. Raises: `ConfigError` where the variable is no number above zero."""
    text = os.environ.get(MAX_URI_MB_VARIABLE)
    try:
        limit = float(text) if text else DEFAULT_MAX_URI_MB
    except ValueError:
        limit = 0.0
    if not 0 < limit < 1e6:
        raise ConfigError(f"{MAX_URI_MB_VARIABLE}={text!r} must be a number of megabytes above 0.")
    return int(limit * 1_000_000)


_offline_lock = threading.Lock()
_offline_calls = 0
_online_before: str | None = None


@contextmanager
def offline() -> Iterator[None]:
    """No request to the Hub while this lasts, as with `HF_HUB_OFFLINE=1`: weights come from local files and the cache."""
    global _offline_calls, _online_before
    with _offline_lock:
        _offline_calls += 1
        if _offline_calls == 1:
            _online_before = os.environ.get("HF_HUB_OFFLINE")
            _set_offline("1")
    try:
        yield
    finally:
        with _offline_lock:
            _offline_calls -= 1
            if not _offline_calls:
                _set_offline(_online_before)


def _set_offline(value: str | None) -> None:
    """Set the variable for a library that is yet to be imported, and its constant in one that is."""
    if value is None:
        os.environ.pop("HF_HUB_OFFLINE", None)
    else:
        os.environ["HF_HUB_OFFLINE"] = value
    if constants := sys.modules.get("huggingface_hub.constants"):
        constants.HF_HUB_OFFLINE = (value or "").upper() in ("1", "ON", "YES", "TRUE")  # type: ignore[attr-defined]
