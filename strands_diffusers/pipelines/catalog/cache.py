"""Answers about one state of the diffusers sources on disk, so that the next process need not read them again."""

import contextlib
import gc
import hashlib
import json
import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

STATES_KEPT = 8
"""Versions of diffusers whose answers are kept: several environments share one home."""


def folder() -> Path:
    """Where a user's caches belong on this platform; `XDG_CACHE_HOME` moves it."""
    home = Path("~").expanduser()
    defaults = {"darwin": home / "Library" / "Caches", "win32": Path(os.environ.get("LOCALAPPDATA") or home)}
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else defaults.get(sys.platform, home / ".cache")
    return base / "strands-diffusers" / "catalog"


class Cache:
    """JSON values by key for one tree: a changed, added or removed source file, of diffusers or of this package, empties it.

    One file per key, written beside its place and renamed. A file that is damaged is written anew; where nothing can be
    written, answers are worked out in every process.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._texts: dict[str, str] = {}

    @cached_property
    def _place(self) -> Path:
        digest = hashlib.sha256(str(self._root.resolve()).encode())
        for top in (self._root, Path(__file__).parent):
            for path in sorted(_sources(str(top))):
                digest.update(path.encode())
        return folder() / digest.hexdigest()[:16]

    def get_or_make(self, key: str, make: Callable[[], Any]) -> Any:
        """The JSON value of `key`, by `make` where it is not known yet; each call returns a copy of its own."""
        path = self._place / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            found = json.loads(self._texts.get(key) or path.read_text())
            if found["key"] == key:
                return found["value"]
        collects = gc.isenabled()
        gc.disable()  # else the collector walks the syntax trees again and again: two thirds of the time
        try:
            self._texts[key] = json.dumps({"key": key, "value": make()})
        finally:
            if collects:
                gc.enable()
        _write(path, self._texts[key])
        return json.loads(self._texts[key])["value"]


def _sources(top: str) -> Iterator[str]:
    """The Python files below a folder, with their sizes and times: by `scandir`, which is several times faster than Path."""
    with os.scandir(top) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _sources(entry.path)
            elif entry.name.endswith(".py"):
                stat = entry.stat()
                yield f"{entry.path}:{stat.st_size}:{stat.st_mtime_ns};"


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            states = sorted(path.parents[1].iterdir(), key=lambda each: each.stat().st_mtime, reverse=True)
            for old in states[STATES_KEPT:]:
                shutil.rmtree(old, ignore_errors=True)
        partial.write_text(text)
        partial.replace(path)
    with contextlib.suppress(OSError):
        partial.unlink(missing_ok=True)
