"""Which files a caller may have read and written.

In Python the caller has its own rights and everything is open. Over MCP the caller is another program: it may read
below the roots that the user named when starting the server, write below the artifacts folder, and no more.
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strands_diffusers.errors import AccessError, ConfigError

ARTIFACTS_VARIABLE = "STRANDS_DIFFUSERS_ARTIFACTS"
ROOTS_VARIABLE = "STRANDS_DIFFUSERS_ROOTS"
MAX_URI_MB_VARIABLE = "STRANDS_DIFFUSERS_MAX_DATA_URI_MB"
DEFAULT_MAX_URI_MB = 64.0

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?!\\)")
_ADDRESS_OPTION = re.compile(r"@[a-z][a-z0-9_]*:")


@dataclass(frozen=True)
class Access:
    """The rights of one caller."""

    roots: tuple[Path, ...] | None = None
    """Folders below which files may be read; None: no limit. The artifacts folder is always readable."""

    @classmethod
    def of_environment(cls) -> Access:
        """The rights of a plain call: everything, or what `$STRANDS_DIFFUSERS_ROOTS` lists (as PATH does)."""
        text = os.environ.get(ROOTS_VARIABLE)
        return cls() if text is None else cls(tuple(expanded(Path(each)) for each in text.split(os.pathsep) if each))

    @property
    def is_open(self) -> bool:
        """True where the caller has the process's own rights."""
        return self.roots is None

    def readable(self, path: Path, name: str) -> Path:
        """`path`, absolute, or an `AccessError` that says how to allow it; symbolic links are followed first."""
        return self._below(path, name, (*(self.roots or ()), artifacts_folder()), "read")

    def writable(self, path: Path, name: str) -> Path:
        """`path`, absolute, or an `AccessError`: a confined caller writes below the artifacts folder."""
        return self._below(path, name, (artifacts_folder(),), "write")

    def _below(self, path: Path, name: str, roots: tuple[Path, ...], what: str) -> Path:
        path = expanded(path).absolute()
        if self.is_open or any(path.resolve().is_relative_to(root.resolve()) for root in roots):
            return path
        shown = ", ".join(str(root) for root in roots)
        how = "start the server with --root DIR to allow a folder" if what == "read" else "choose a path there"
        raise AccessError(f"{name}: no leave to {what} {path}, which is outside of {shown}; {how}.")

    def check(self, value: Any, name: str) -> None:
        """Refuse any text in `value`, at any depth, that names a file outside of the roots, or a place on the web."""
        if self.is_open:
            return
        if isinstance(value, str | Path):
            self._check_text(str(value), name)
        elif isinstance(value, dict):
            for key, item in value.items():
                self.check(item, f"{name}.{key}")
        elif isinstance(value, list | tuple):
            for item in value:
                self.check(item, name)

    def _check_text(self, text: str, name: str) -> None:
        if text.startswith("data:"):
            return
        scheme = _SCHEME.match(text)
        rest = text[scheme.end() :] if scheme else text
        if scheme and scheme[0].lower() in ("http:", "https:", "ftp:", "file:", "s3:", "gs:", "hf:"):
            raise AccessError(f"{name}: {scheme[0]}// addresses are not open to this caller; give a file below a root.")
        for part in {text, rest, *_ADDRESS_OPTION.split(rest)}:
            if not part or "\n" in part or len(part) > 4096:
                continue
            path = expanded(Path(part))
            if path.is_absolute() or ".." in path.parts or os.path.lexists(path):
                self.readable(path, name)


def expanded(path: Path) -> Path:
    """The path with `~` replaced; unchanged where there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def artifacts_folder() -> Path:
    """Where files of `use_diffusers` go: `$STRANDS_DIFFUSERS_ARTIFACTS`, else the temp folder's `strands_diffusers/`."""
    named = os.environ.get(ARTIFACTS_VARIABLE)
    return (
        Path(named).expanduser().absolute() if named else Path(tempfile.gettempdir()).absolute() / "strands_diffusers"
    )


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
