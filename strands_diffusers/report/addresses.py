"""Where files are, as the page says it: relative addresses for links, and never an absolute path of the author's."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterable
from pathlib import Path

_BEGIN = r"(?<![\w./~…<\\-])/(?!/)(?=[^\s/@'\",]+/)"
"""A slash that begins an absolute path of two names or more: not one inside a word, a tag or an address of the network."""

_IN_VALUE = re.compile(_BEGIN + r"[^@'\",\n\]]+")
"""A path in a config's value or an override: up to its options (`@start:3`), with blanks."""

_IN_PROSE = re.compile(_BEGIN + r"[^\s@'\",;:()\[\]{}<>]*[^\s@'\",;:()\[\]{}<>.]")
"""A path in a sentence."""


def address(path: Path, start: Path) -> str:
    """Return the relative address of a file for a link: `./3/a%20b.mp4`, which no name can turn into a scheme."""
    relative = os.path.relpath(path, start).replace(os.sep, "/")
    return "./" + urllib.parse.quote(os.fsencode(relative))


class Shortener:
    """Writes paths relative to the page's folder where they are inside it, else by the end that tells them apart."""

    def __init__(self, start: Path, values: Iterable[str]) -> None:
        """Collect the absolute paths in the config values of a page in the folder `start`."""
        self._inside = [f"{start}/", f"{start.resolve()}/"]
        found = {match.group() for value in values for match in _IN_VALUE.finditer(value)}
        outside = sorted(path for path in found if self._relative(path) is None)
        self._short = dict(zip(outside, ends(outside), strict=True))

    def value(self, text: str) -> str:
        """A config value or an override, its paths short."""
        return _IN_VALUE.sub(lambda match: self._of(match.group()), text)

    def prose(self, text: str) -> str:
        """A sentence, its paths short."""
        for path in sorted(self._short, key=len, reverse=True):
            text = text.replace(path, self._short[path])
        return _IN_PROSE.sub(lambda match: self._of(match.group()), text)

    def _of(self, path: str) -> str:
        inside = self._relative(path)
        return inside if inside is not None else self._short.get(path) or path.rstrip("/").rpartition("/")[2]

    def _relative(self, path: str) -> str | None:
        return next((path.removeprefix(start) or "." for start in self._inside if f"{path}/".startswith(start)), None)


def ends(paths: list[str]) -> list[str]:
    """The shortest end of each path that no other has."""
    parts = [path.strip("/").split("/") for path in paths]
    found = []
    for own in parts:
        counts = range(1, len(own) + 1)
        clear = (n for n in counts if sum(other[-n:] == own[-n:] for other in parts) == 1)
        found.append("/".join(own[-next(clear, len(own)) :]))
    return found
