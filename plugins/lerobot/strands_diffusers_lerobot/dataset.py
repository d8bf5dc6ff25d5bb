"""A LeRobot dataset on disk: which file and which second hold a frame, which rows an episode.

Version 3 (many episodes in one file) and version 2 (one file an episode) are read; other versions are refused by name.
Nothing is downloaded and nothing is guessed: what a table does not say is an error, unless there is only one thing it could
mean. What meta/ says is read and held against itself by `meta`, when a dataset is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import check_file, errors
from strands_diffusers_lerobot import meta

INDEXES = ("episode_index", "frame_index", "index", "task_index", "timestamp")
"""Columns that LeRobot keeps for itself."""

MARKER = "strands_diffusers"
"""Key of `info.json` under which this plugin's own exports say what their actions mean."""

_NO_NUMBERS = ("video", "image", "string")
_PLACEHOLDER = re.compile(r"\{(\w+)(?::0?(\d{1,2})d?)?\}")


@dataclass(frozen=True)
class Shot:
    """Where one camera's frames of one episode are."""

    path: Path
    from_s: float
    """Time of the episode's first frame in the file [s]."""

    frames_in_file: int | None
    """Frames of all episodes in the file; None where meta/ does not say which episodes those are."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode: its number, its length [frames], its tasks in words, its cameras by their full name."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    first_row: int | None
    """Value of the column `index` in its first row, where meta/ says so."""

    shots: dict[str, Shot] = field(default_factory=dict)
    """Only cameras whose file is there."""


def open_dataset(root: Path, name: str = "") -> Dataset:
    """Return the dataset in a folder, read and checked once as long as its meta/ stays as it is. Raises: as `Dataset`."""
    files = sorted(path for path in (root / "meta").rglob("*") if path.is_file()) if root.is_dir() else []
    stamp = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path in files for stat in [path.stat()])
    return _opened(root, name or str(root), stamp)


@lru_cache(maxsize=16)
def _opened(root: Path, name: str, _stamp: tuple[object, ...]) -> Dataset:
    return Dataset(root, name)


class Dataset:
    """The dataset in the folder `root`, called `name` in errors.

    Raises: `ObservationError` for a folder without a dataset, a version that is not read, metadata that is missing or
        odd, and metadata that contradicts itself, with the episode and both numbers.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.info = meta.read_info(root, name)
        major = re.match(r"v?([23])\b", str(self.info.get("codebase_version", "unknown")))
        if major is None:
            raise errors.ObservationError(
                f"{name} is a LeRobot dataset of version {self.info.get('codebase_version', 'unknown')}; v3.x and v2.x are "
                "read. Convert it with the lerobot release that wrote it."
            )
        self.major = int(major[1])
        self.features: dict[str, dict[str, Any]] = meta.features(self)
        self.fps = meta.rate(self)
        self._rows = meta.read_episodes(self)
        self.tasks = meta.read_tasks(self)
        self._frames_in_file = {
            key: meta.check_spans(self, key, self._rows) for key in self.cameras if self.is_video(key)
        }

    def error(self, text: str) -> errors.ObservationError:
        """An error that begins with the dataset's name."""
        return errors.ObservationError(f"{self.name}: {text}")

    def damaged(self, text: str) -> errors.ObservationError:
        """The same, of what only damage explains."""
        return self.error(f"{text} The copy is damaged.")

    def is_video(self, key: str) -> bool:
        """Whether a feature is kept as video files."""
        return bool(self.features[key]["dtype"] == "video")

    @property
    def cameras(self) -> list[str]:
        """Every camera that the dataset declares, whether or not its files are there."""
        return [key for key, feature in self.features.items() if feature["dtype"] in ("video", "image")]

    @property
    def columns(self) -> list[str]:
        """The columns of numbers that are the robot's: states, actions, rewards."""
        return [k for k, feature in self.features.items() if feature["dtype"] not in _NO_NUMBERS and k not in INDEXES]

    @property
    def marker(self) -> dict[str, Any]:
        """What an export of this plugin says of itself, texts and yes or no; empty for any other dataset."""
        found = self.info.get(MARKER)
        return {k: v for k, v in found.items() if isinstance(v, str | bool)} if isinstance(found, dict) else {}

    @property
    def lengths(self) -> dict[int, int]:
        """Frames of every episode, by its number, in order."""
        return {number: row["length"] for number, row in self._rows.items()}

    def episode(self, number: int) -> Episode:
        """Return episode `number`; `ObservationError` with the range of those there are."""
        if number not in self._rows:
            there = list(self._rows)
            if not there:
                raise errors.ObservationError(f"{self.name} has no episodes.")
            span = f"{there[0]} to {there[-1]}" if len(there) > 1 else f"{there[0]} alone"
            raise errors.ObservationError(
                f"{self.name} has no episode {number}: there is {span}. Type @episode:{there[0]}."
            )
        row = self._rows[number]
        tasks = row.get("tasks")
        if tasks is not None and not (isinstance(tasks, list) and all(isinstance(t, str | None) for t in tasks)):
            raise self.damaged(f"meta/ lists no texts as the tasks of episode {number}.")
        shots = {key: shot for key in self._frames_in_file if (shot := self._shot(key, number, row)) is not None}
        words = tuple(t for t in tasks or () if t)
        return Episode(number, row["length"], words, self._data_file(number, row), row.get("dataset_from_index"), shots)

    # ---------------------------------------------------------------------------------------------------------- files

    def parquet_files(self, folder: str) -> list[Path]:
        """Every parquet file below a folder, in order; hidden ones (copies of editors and systems) are left alone."""
        below = self.root / folder
        found = [path for path in below.rglob("*.parquet") if not re.search(r"(^|/)\.", str(path.relative_to(below)))]
        if not found:
            raise self.error(f"{folder} holds no parquet file. The copy is incomplete.")
        return sorted(found)

    @contextmanager
    def reading(self, path: Path) -> Iterator[None]:
        """Whatever pyarrow raises while it reads `path` becomes one line that names the file."""
        import pyarrow as pa

        check_file(path, f"{self.name}: {path.relative_to(self.root)}")
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
            raise self.damaged(
                f"{path.relative_to(self.root)} cannot be read ({errors.one_line(error, 120)})."
            ) from error

    def _file(self, template: str, chunk: int, file: int, episode: int, key: str = "") -> Path:
        """Fill in `data_path` or `video_path`: v3 numbers chunks and files, v2 chunks and episodes."""
        text = self.info.get(template)
        values = {
            "chunk_index": chunk, "file_index": file, "episode_chunk": chunk, "episode_file": file,
            "episode_index": episode, "video_key": key,
        }  # fmt: skip
        known = isinstance(text, str) and all(match[1] in values for match in _PLACEHOLDER.finditer(text))
        if not known or re.search(r"[{}\0]", _PLACEHOLDER.sub("", str(text))):
            raise self.error(f"{template} {text!r} of meta/info.json cannot be filled in.")
        relative = Path(_PLACEHOLDER.sub(lambda m: str(values[m[1]]).zfill(int(m[2] or 0)), str(text)))
        # As written: files of the Hub's cache are links to blobs elsewhere, and welcome.
        if relative.is_absolute() or ".." in relative.parts:
            raise self.error(f"{template} {text!r} of meta/info.json leads outside the dataset.")
        return self.root / relative

    def _data_file(self, number: int, row: dict[str, Any]) -> Path:
        if self.major == 2:
            path = self._file("data_path", number // self._chunks_size, 0, number)
        elif {"data/chunk_index", "data/file_index"} <= row.keys():
            path = self._file("data_path", row["data/chunk_index"], row["data/file_index"], number)
        else:
            path, *others = self.parquet_files("data")
            if others:
                raise self.error(
                    f"meta/episodes does not say which of {1 + len(others)} data files holds episode {number}."
                )
        if not path.is_file():
            raise self.error(
                f"{path.relative_to(self.root)} is missing, which holds episode {number}. The copy is incomplete."
            )
        return path

    @property
    def _chunks_size(self) -> int:
        return meta.whole_number(self, "chunks_size", 1000) or 1000

    def _shot(self, key: str, number: int, row: dict[str, Any]) -> Shot | None:
        """Where camera `key` has an episode; None where its file is not there."""
        from_s, frames = 0.0, row["length"]
        if self.major == 2:
            path = self._file("video_path", number // self._chunks_size, 0, number, key)
        elif f"videos/{key}/chunk_index" in row:
            chunk, file, from_s, _ = (row[f"videos/{key}/{what}"] for what in meta.PLACE)
            path, frames = self._file("video_path", chunk, file, number, key), self._frames_in_file[key][chunk, file]
        elif number == next(iter(self._rows)):  # the first episode begins the first file
            path = self._file("video_path", 0, 0, number, key)
            frames = frames if len(self._rows) == 1 else None
        else:
            return None
        return Shot(path, from_s, frames) if path.is_file() else None

    def task(self, episode: Episode, rows: dict[str, np.ndarray], start: int) -> str | None:
        """The task at frame `start` in words; None where the annotators left it blank.

        Raises: `ObservationError` where the tables of tasks and of episodes disagree, or leave several to choose from.
        """
        text, listed = next(iter(episode.tasks), None), dict.fromkeys(episode.tasks)
        if "task_index" in rows and self.tasks:
            number = int(rows["task_index"][start, 0])
            if number not in self.tasks:
                raise self.damaged(
                    f"frame {start} of episode {episode.index} has the task {number}; meta/tasks knows "
                    f"{min(self.tasks)} to {max(self.tasks)}."
                )
            text = self.tasks[number]
            if text is None and len(listed) == 1:  # without words in the one table, and clear in the other
                text = next(iter(listed))
            if text and listed and text not in listed:
                raise self.damaged(
                    f"frame {start} of episode {episode.index} has the task {text!r}; meta/episodes lists "
                    f"{', '.join(map(repr, listed))}."
                )
        elif len(listed) > 1:
            raise self.error(
                f"episode {episode.index} has {len(listed)} tasks and meta/tasks is missing. Say it with @task:TEXT."
            )
        return text if text and re.search(r"\w", text) else None
