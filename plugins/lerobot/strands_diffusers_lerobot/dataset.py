"""A LeRobot dataset on disk: which file and which second hold a frame, which rows an episode. pyarrow only.

Version 3 (`meta/episodes/*.parquet`, many episodes in one file) and version 2 (`meta/episodes.jsonl`, one file an
episode) are read; other versions are refused by name. Nothing is downloaded and nothing is guessed: what a table does
not say is an error, unless there is only one thing it could mean. What the dataset says twice must agree: counts,
lengths, spans of rows, and spans of time within each video file are held against each other when it is opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import check_file, errors, read_json, read_json_lines

INDEXES = ("episode_index", "frame_index", "index", "task_index", "timestamp")
"""Columns that LeRobot keeps for itself."""

MARKER = "strands_diffusers"
"""Key of `info.json` under which this plugin's own exports say what their actions mean."""

_NO_NUMBERS = ("video", "image", "string")
_DAMAGED = "The copy is damaged."
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
        self.info = self._info()
        version = self.info.get("codebase_version", "unknown")
        major = re.match(r"v?(\d{1,3})\b", str(version))
        self.major = int(major[1]) if major else 0
        if self.major not in (2, 3):
            raise errors.ObservationError(
                f"{name} is a LeRobot dataset of version {version}; v3.x and v2.x are read. "
                "Convert it with the lerobot release that wrote it."
            )
        self.features: dict[str, dict[str, Any]] = self._features()
        fps = self.info.get("fps")
        if not isinstance(fps, int | float) or not _is_number(fps) or not 0 < fps < 1e6:
            raise self.error(f"meta/info.json says fps {fps!r}; a rate above 0 Hz belongs there. {_DAMAGED}")
        self.fps = float(fps)
        self._table = self._episodes_table()
        self._place_of = self._check_episodes()
        self.tasks = self._tasks()
        self._frames_in_file = {key: self._check_spans(key) for key in self.cameras if self._kind(key) == "video"}

    def error(self, text: str) -> errors.ObservationError:
        """An error that begins with the dataset's name."""
        return errors.ObservationError(f"{self.name}: {text}")

    # ------------------------------------------------------------------------------------------------ meta/info.json

    def _info(self) -> dict[str, Any]:
        path = self.root / "meta" / "info.json"
        if not path.is_file():
            inside = sorted(p.parent.parent.name for p in self.root.glob("*/meta/info.json"))[:5]
            hint = f" Datasets in it: {', '.join(inside)}." if inside else ""
            what = "holds no meta/info.json: it is not a LeRobot dataset" if self.root.is_dir() else "is not a folder"
            raise errors.ObservationError(
                f"{self.name} {what}.{hint} Type lerobot:DIR with the folder that holds meta/."
            )
        check_file(path, str(path))
        info = read_json(path, str(path), errors.ObservationError)
        if not isinstance(info, dict):
            raise errors.ObservationError(f"{path} is not a JSON object.")
        return info

    def _features(self) -> dict[str, dict[str, Any]]:
        features = self.info.get("features")
        if not isinstance(features, dict) or not features:
            raise self.error("meta/info.json names no features. Is the copy complete?")
        for key, feature in features.items():
            shape = feature.get("shape") if isinstance(feature, dict) else None
            sizes = isinstance(shape, list | None) and all(type(size) is int and size >= 0 for size in shape or [])
            if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str) or not sizes:
                raise self.error(f"meta/info.json describes the feature {key!r} without a dtype or shape. {_DAMAGED}")
        return features

    def whole_number(self, key: str, default: int | None = None) -> int | None:
        """A whole number of meta/info.json, or the default where it is not there."""
        value = self.info.get(key, default)
        if value is not None and not (type(value) is int and 0 <= value < 1 << 53):
            raise self.error(f"meta/info.json says {key} {value!r}; a whole number belongs there. {_DAMAGED}")
        return value

    def _kind(self, key: str) -> str:
        return str(self.features[key]["dtype"])

    @property
    def cameras(self) -> list[str]:
        """Every camera that the dataset declares, whether or not its files are there."""
        return [key for key in self.features if self._kind(key) in ("video", "image")]

    @property
    def columns(self) -> list[str]:
        """The columns of numbers that are the robot's: states, actions, rewards."""
        return [key for key in self.features if self._kind(key) not in _NO_NUMBERS and key not in INDEXES]

    @property
    def marker(self) -> dict[str, Any]:
        """What an export of this plugin says of itself, texts and yes or no; empty for any other dataset."""
        found = self.info.get(MARKER)
        return {k: v for k, v in found.items() if isinstance(v, str | bool)} if isinstance(found, dict) else {}

    # ------------------------------------------------------------------------------------------------------- episodes

    @property
    def lengths(self) -> dict[int, int]:
        """Frames of every episode."""
        return dict(zip(self._table["episode_index"], self._table["length"], strict=True))

    def episode(self, number: int) -> Episode:
        """Return episode `number`; `ObservationError` with the range of those there are."""
        if number not in self._place_of:
            there = self._table["episode_index"]
            if not there:
                raise errors.ObservationError(f"{self.name} has no episodes.")
            span = f"{min(there)} to {max(there)}" if len(there) > 1 else f"{there[0]} alone"
            raise errors.ObservationError(
                f"{self.name} has no episode {number}: there is {span}. Type @episode:{min(there)}."
            )
        row = self._place_of[number]
        tasks = self._table["tasks"][row]
        if tasks is not None and not (isinstance(tasks, list) and all(isinstance(t, str | None) for t in tasks)):
            raise self.error(f"meta/ lists no texts as the tasks of episode {number}. {_DAMAGED}")
        first_row = self._table.get("dataset_from_index", [None] * (row + 1))[row]
        episode = Episode(
            number, self._table["length"][row], tuple(t for t in tasks or () if t), self._data_file(number), first_row
        )
        for key in self._frames_in_file:
            if (shot := self._shot(key, number)) is not None:
                episode.shots[key] = shot
        return episode

    def _episodes_table(self) -> dict[str, list[Any]]:
        """The columns of meta/episodes that are used, by name; a number is one, where the column is there."""
        videos = [
            f"videos/{key}/{what}"
            for key in self.cameras
            for what in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        ]
        whole = [
            "episode_index",
            "length",
            "dataset_from_index",
            "dataset_to_index",
            "data/chunk_index",
            "data/file_index",
        ]
        whole += [name for name in videos if name.endswith("_index")]
        rows: list[dict[str, Any]] = []
        if self.major == 2:
            rows = self._json_lines("episodes")
        else:
            files = self.parquet_files("meta/episodes")
            for path in files:
                import pyarrow.parquet as pq

                with self.reading(path):
                    there = [name for name in pq.read_schema(path).names if name in {*whole, *videos, "tasks"}]
                    rows += pq.read_table(path, columns=there).to_pylist()
        names = ["tasks", *dict.fromkeys(name for row in rows for name in row if name in {*whole, *videos})]
        table: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
        for name in ("episode_index", "length"):
            table.setdefault(name, [None] * len(rows))
        for name in table:
            for row, value in enumerate(table[name] if name != "tasks" else ()):
                right = type(value) is int if name in whole else _is_number(value)
                if not right or not (name == "length") <= value < 1 << 53:
                    belongs = "a whole number" if name in whole else "a time"
                    raise self.error(
                        f"meta/ says {name} {value!r} in row {row} of its episodes; {belongs} belongs there. {_DAMAGED}"
                    )
        return table

    def _check_episodes(self) -> dict[int, int]:
        """The row of each episode, once counts, lengths and spans of rows agree."""
        numbers, lengths = self._table["episode_index"], self._table["length"]
        place_of = {number: row for row, number in enumerate(numbers)}
        if len(place_of) < len(numbers):
            twice = next(number for row, number in enumerate(numbers) if place_of[number] != row)
            raise self.error(f"meta/ lists episode {twice} twice. {_DAMAGED}")
        for key, count in (("total_episodes", len(numbers)), ("total_frames", sum(lengths))):
            if (said := self.whole_number(key)) not in (None, count):
                raise self.error(f"meta/info.json says {key} {said}, its episodes make {count}. {_DAMAGED}")
        if {"dataset_from_index", "dataset_to_index"} <= set(self._table):
            begins, ends = self._table["dataset_from_index"], self._table["dataset_to_index"]
            before = 0
            for number in sorted(place_of):
                row = place_of[number]
                if ends[row] - begins[row] != lengths[row]:
                    raise self.error(
                        f"meta/ says that episode {number} has rows {begins[row]} to {ends[row] - 1}, and the length "
                        f"{lengths[row]}. {_DAMAGED}"
                    )
                if begins[row] < before:
                    raise self.error(
                        f"meta/ says that episode {number} begins at row {begins[row]}, and the episode before it ends "
                        f"at row {before - 1}. {_DAMAGED}"
                    )
                before = ends[row]
        return place_of

    def _check_spans(self, key: str) -> dict[tuple[int, int], int]:
        """Frames of all episodes in each video file (chunk, file) of a camera, once their spans of time agree."""
        names = [f"videos/{key}/{what}" for what in ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]
        if self.major == 2 or names[0] not in self._table:
            return {}
        if missing := [name for name in names if name not in self._table]:
            raise self.error(f"meta/ does not say {missing[0]}. {_DAMAGED}")
        chunks, files, begins, ends = (self._table[name] for name in names)
        frames: dict[tuple[int, int], int] = {}
        last: dict[tuple[int, int], tuple[int, float]] = {}
        for number in sorted(self._place_of):
            row, where = self._place_of[number], f"{self.name}: meta/ says that in {key}"
            length, file = self._table["length"][row], (chunks[row], files[row])
            if abs((ends[row] - begins[row]) * self.fps - length) > 0.5:
                raise errors.ObservationError(
                    f"{where} episode {number} lasts from {begins[row]:g} to {ends[row]:g} s, and has {length} frames at "
                    f"{self.fps:g} Hz. {_DAMAGED}"
                )
            before, until = last.get(file, (0, 0.0))
            if (begins[row] - until) * self.fps < -0.25:
                raise errors.ObservationError(
                    f"{where} episode {number} begins at {begins[row]:g} s, and episode {before} ends at {until:g} s of "
                    f"the same file. {_DAMAGED}"
                )
            last[file], frames[file] = (number, ends[row]), frames.get(file, 0) + length
        return frames

    def _json_lines(self, stem: str) -> list[dict[str, Any]]:
        path = self.root / "meta" / f"{stem}.jsonl"
        if not path.is_file():
            raise self.error(f"meta/{stem}.jsonl is missing. The copy is incomplete.")
        check_file(path, str(path))
        rows = read_json_lines(path, str(path), errors.ObservationError)
        if not all(isinstance(row, dict) for row in rows):
            raise errors.ObservationError(f"{path} has lines that are no JSON objects. {_DAMAGED}")
        return rows

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
            raise self.error(
                f"{path.relative_to(self.root)} cannot be read ({errors.one_line(error, 120)}). {_DAMAGED}"
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

    def _data_file(self, number: int) -> Path:
        row = self._place_of[number]
        if self.major == 2:
            path = self._file("data_path", number // self._chunks_size, 0, number)
        elif {"data/chunk_index", "data/file_index"} <= set(self._table):
            path = self._file(
                "data_path", self._table["data/chunk_index"][row], self._table["data/file_index"][row], number
            )
        else:
            files = self.parquet_files("data")
            if len(files) > 1:
                raise self.error(f"meta/episodes does not say which of {len(files)} data files holds episode {number}.")
            path = files[0]
        if not path.is_file():
            raise self.error(
                f"{path.relative_to(self.root)} is missing, which holds episode {number}. The copy is incomplete."
            )
        return path

    @property
    def _chunks_size(self) -> int:
        return self.whole_number("chunks_size", 1000) or 1000

    def _shot(self, key: str, number: int) -> Shot | None:
        """Where camera `key` has episode `number`; None where its file is not there."""
        row, from_s = self._place_of[number], 0.0
        frames: int | None = self._table["length"][row]
        if self.major == 2:
            path = self._file("video_path", number // self._chunks_size, 0, number, key)
        elif f"videos/{key}/chunk_index" in self._table:
            chunk, file = (self._table[f"videos/{key}/{part}_index"][row] for part in ("chunk", "file"))
            path, from_s = (
                self._file("video_path", chunk, file, number, key),
                self._table[f"videos/{key}/from_timestamp"][row],
            )
            frames = self._frames_in_file[key][chunk, file]
        elif number == min(self._place_of):  # the first episode begins the first file
            path = self._file("video_path", 0, 0, number, key)
            frames = frames if len(self._place_of) == 1 else None
        else:
            return None
        return Shot(path, from_s, frames) if path.is_file() else None

    # ---------------------------------------------------------------------------------------------------------- tasks

    def _tasks(self) -> dict[int, str | None]:
        """The tasks by number; None for one without words, empty where there is no table of tasks."""
        if self.major == 2:
            rows = self._json_lines("tasks")
            numbers: list[Any]
            words: list[Any]
            numbers, words = ([row.get(name) for row in rows] for name in ("task_index", "task"))
        else:
            import pyarrow.parquet as pq

            path = self.root / "meta" / "tasks.parquet"
            if not path.is_file():
                return {}
            with self.reading(path):
                table = pq.read_table(path)
                column = next(n for n in ("task", "__index_level_0__", *table.schema.names) if n in table.schema.names)
                numbers, words = (table[name].to_pylist() for name in ("task_index", column))
        for number, word in zip(numbers, words, strict=True):
            if type(number) is not int or not isinstance(word, str | None):
                raise self.error(
                    f"meta/tasks names the task {number!r} {word!r}; a number and a text belong there. {_DAMAGED}"
                )
        if len(set(numbers)) < len(numbers):
            raise self.error(f"meta/tasks gives one number to two tasks. {_DAMAGED}")
        return dict(zip(numbers, words, strict=True))

    def task(self, episode: Episode, rows: dict[str, np.ndarray], start: int) -> str | None:
        """The task at frame `start` in words; None where the annotators left it blank.

        Raises: `ObservationError` where the tables of tasks and of episodes disagree, or leave several to choose from.
        """
        text, listed = next(iter(episode.tasks), None), dict.fromkeys(episode.tasks)
        if "task_index" in rows and self.tasks:
            number = int(rows["task_index"][start, 0])
            if number not in self.tasks:
                raise self.error(
                    f"frame {start} of episode {episode.index} has the task {number}; meta/tasks knows "
                    f"{min(self.tasks)} to {max(self.tasks)}. {_DAMAGED}"
                )
            text = self.tasks[number]
            if text is None and len(listed) == 1:  # without words in the one table, and clear in the other
                text = next(iter(listed))
            if text and listed and text not in listed:
                raise self.error(
                    f"frame {start} of episode {episode.index} has the task {text!r}; meta/episodes lists "
                    f"{', '.join(map(repr, listed))}. {_DAMAGED}"
                )
        elif len(listed) > 1:
            raise self.error(
                f"episode {episode.index} has {len(listed)} tasks and meta/tasks is missing. Say it with @task:TEXT."
            )
        return text if text and re.search(r"\w", text) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
