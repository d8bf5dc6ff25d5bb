"""The one reader of `PATH[@key:value]...`, the part of an observation address after its scheme.

A path may itself hold `@` and `:`. Whatever exists as written wins: the longest prefix that is a file or folder is the
path, and only what follows it is read as options.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from strands_diffusers.errors import ObservationError, near_miss
from strands_diffusers.observations.window import same_rate
from strands_diffusers.paths import absolute_path, expanded

_OPTION = re.compile(r"@([a-z][a-z0-9_]*):")


@dataclass(frozen=True)
class Address:
    """A path (or a name, or a URL) and its options as text."""

    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.path + "".join(f"@{key}:{value}" for key, value in self.options.items())

    @property
    def local(self) -> Path:
        """The path as one of this machine, `~` replaced by the home folder."""
        return expanded(self.path)

    def integer(self, key: str, default: int, minimum: int = 0) -> int:
        """The option `key` as a whole number of at least `minimum`; `ObservationError` for anything else."""
        text = self.options.get(key)
        if text is None:
            return default
        if not re.fullmatch("[0-9]{1,12}", text) or int(text) < minimum:
            raise ObservationError(
                f"@{key}:{text} of {self.path} is not a whole number >= {minimum}. "
                f"Type @{key}:{max(minimum, 5)}, for example."
            )
        return int(text)

    def positive(self, key: str) -> float | None:
        """The option `key` as a number > 0, or None where it is not given; `ObservationError` for anything else."""
        text = self.options.get(key)
        if text is None:
            return None
        if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", text) or not 0 < float(text) < 1e6:
            raise ObservationError(f"@{key}:{text} of {self.path} is not a number > 0. Type @{key}:5, for example.")
        return float(text)

    def stride(self, fps: float, name: str) -> int:
        """Every how many frames of a clip at `fps` [Hz] are read: `@stride:N`, or what `@fps:F` amounts to.

        Raises: `ObservationError`, with `name` in front, where no whole number of frames apart makes that rate.
        """
        stride, wanted = self.integer("stride", 1, minimum=1), self.positive("fps")
        if wanted is None:
            return stride
        if "stride" in self.options:
            raise ObservationError(f"{name}: @stride: and @fps: both choose every Nth frame. Keep one of them.")
        stride = max(1, round(fps / wanted))
        if same_rate(fps / stride, wanted):
            return stride
        if fps < wanted:
            raise ObservationError(
                f"{name} runs at {fps:g} Hz: @fps:{wanted:g} would have to invent frames. Type at most @fps:{fps:g}."
            )
        below, above = int(fps / wanted), int(fps / wanted) + 1
        raise ObservationError(
            f"{name} runs at {fps:g} Hz, and no whole number of frames apart makes {wanted:g} Hz. "
            f"Type @stride:{below} ({fps / below:g} Hz) or @stride:{above} ({fps / above:g} Hz), "
            f"or re-encode it: ffmpeg -i CLIP -r {wanted:g} NEW.mp4."
        )

    def at_rate(self, fps: float, wanted: float | None) -> str | None:
        """The address that reads the same clip of `fps` at `wanted` [Hz], and how; None where no whole stride does."""
        if wanted is None or fps < wanted or {"stride", "fps"} & set(self.options):
            return None
        stride = round(fps / wanted)
        return f"{self}@fps:{wanted:g} (one frame in {stride})" if same_rate(fps / stride, wanted) else None

    def absolute(self, cwd: Path, file_options: Collection[str] = ()) -> Address:
        """The same with its path, and the options that are files, absolute as seen from `cwd`."""
        options = {k: absolute_path(v, cwd) if k in file_options else v for k, v in self.options.items()}
        return Address(absolute_path(self.path, cwd), options)


def split_address(
    text: str, keys: Collection[str], *, options_from: int | None = None, cwd: Path | None = None
) -> Address:
    """Split `PATH[@key:value]...`; `keys` are the options that the source knows.

    `options_from`: for what is no local path, the first place in `text` where an option may begin (0 for a name, the
    end of the host for a URL); None lets the path that exists (as seen from `cwd`) decide.
    Raises: `ObservationError` for an empty path, and for an option that is unknown, empty or given twice.
    """
    marks = [match.start() for match in _OPTION.finditer(text)]
    if options_from is None:
        end = next(
            (cut for cut in [len(text), *reversed(marks)] if exists(text[:cut], cwd)), marks[0] if marks else len(text)
        )
    else:
        end = next((mark for mark in marks if mark >= options_from), len(text))
    path, rest = text[:end], text[end:]
    if not path:
        raise ObservationError("the observation is empty. Type observation=FILE or observation=sample:push_left.")
    options: dict[str, str] = {}
    pieces = _OPTION.split(rest)[1:]
    for key, value in zip(pieces[::2], pieces[1::2], strict=True):
        if key not in keys:
            known = ", ".join(f"@{k}:" for k in keys) or "none"
            raise ObservationError(f"@{key}: is no option of {path}; there are {known}.{near_miss(key, keys)}")
        if key in options:
            raise ObservationError(f"@{key}: is given twice in {text}.")
        if not value:
            raise ObservationError(f"@{key}: in {text} has no value.")
        options[key] = value
    return Address(path, options)


def exists(path: str, cwd: Path | None = None) -> bool:
    """Whether `path`, as seen from `cwd`, is there; False for what cannot be a path at all (too long, a zero byte)."""
    try:
        return bool(path) and ((cwd or Path()) / expanded(path)).exists()
    except (OSError, ValueError):
        return False
