"""A LeRobot dataset on disk: which file and which second hold a frame, which rows an episode. pyarrow only.

Version 3 (`meta/episodes/*.parquet`, many episodes in one file) and version 2 (`meta/episodes.jsonl`, one file an
episode) are read; other versions are refused by name. Nothing is downloaded and nothing is guessed: what a table does
not say is an error, unless there is only one thing it could mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import errors

INDEXES = ("episode_index", "frame_index", "index", "task_index", "timestamp")
"""Columns that LeRobot keeps for itself."""

MARKER = "strands_diffusers"
"""Key of `info.json` under which this plugin's own exports say what their actions mean."""

_NO_NUMBERS = ("video", "image", "string")


@dataclass(frozen=True)
class Shot:
    """Where one camera's frames of one episode are."""

    path: Path
    from_s: float
    """Time of the episode's first frame in the file [s]."""


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode: its number, its length [frames], its tasks in words, its cameras by their full name."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data: Path
    shots: dict[str, Shot] = field(default_factory=dict)
    """Only cameras whose file is there."""


class Dataset:
    """The dataset in the folder `root`, called `name` in errors.

    Raises: `ObservationError` for a folder without a dataset, a version that is not read, or a broken `info.json`.
    """

    def __init__(self, root: Path, name: str = "") -> None:
        self.root, self.name = root, name or str(root)
        self.info = self._info()
        version = str(self.info.get("codebase_version", "unknown"))
        major = re.match(r"v?(\d+)\b", version)
        self.major = int(major[1]) if major else 0
        if self.major not in (2, 3):
            raise errors.ObservationError(
                f"{self.name} is a LeRobot dataset of version {version}; v3.x and v2.x are read. "
                "Convert it with the lerobot release that wrote it."
            )
        self.features: dict[str, dict[str, Any]] = self.info.get("features") or {}
        fps = self.info.get("fps")
        if not isinstance(fps, int | float) or not fps > 0 or not self.features:
            raise errors.ObservationError(
                f"{self.name}: meta/info.json names no fps or no features. Is the copy complete?"
            )
        self.fps = float(fps)

    def _info(self) -> dict[str, Any]:
        path = self.root / "meta" / "info.json"
        if not path.is_file():
            inside = sorted(p.parent.parent.name for p in self.root.glob("*/meta/info.json"))[:5]
            hint = f" Datasets in it: {', '.join(inside)}." if inside else ""
            what = "holds no meta/info.json: it is not a LeRobot dataset" if self.root.is_dir() else "is not a folder"
            raise errors.ObservationError(
                f"{self.name} {what}.{hint} Type lerobot:DIR with the folder that holds meta/."
            )
        try:
            info = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise errors.ObservationError(f"{path} is truncated or not JSON ({error}).") from error
        if not isinstance(info, dict):
            raise errors.ObservationError(f"{path} is not a JSON object.")
        return info

    @property
    def cameras(self) -> list[str]:
        """Every camera that the dataset declares, whether or not its files are there."""
        return [key for key, feature in self.features.items() if feature.get("dtype") in ("video", "image")]

    @property
    def columns(self) -> list[str]:
        """The columns of numbers that are the robot's: states, actions, rewards."""
        return [k for k, f in self.features.items() if f.get("dtype") not in _NO_NUMBERS and k not in INDEXES]

    @property
    def marker(self) -> dict[str, Any]:
        """What an export of this plugin says of itself; empty for anybody else's dataset."""
        found = self.info.get(MARKER)
        return found if isinstance(found, dict) else {}

    def episode(self, number: int) -> Episode:
        """Return episode `number`; `ObservationError` with the range of those there are."""
        row = self._episode_row(number)
        tasks = tuple(t for t in row.get("tasks") or () if isinstance(t, str))
        episode = Episode(number, int(row["length"]), tasks, self._data_file(number, row))
        for key in self.cameras:
            if self.features[key]["dtype"] == "video" and (shot := self._shot(key, number, row)) is not None:
                episode.shots[key] = shot
        return episode

    def _episode_row(self, number: int) -> dict[str, Any]:
        if self.major == 2:
            rows = {int(row["episode_index"]): row for row in self._json_lines("episodes")}
            if number not in rows:
                raise self._no_episode(number, list(rows))
            return rows[number]
        import pyarrow.dataset as ds

        folder = self.root / "meta" / "episodes"
        if not any(folder.rglob("*.parquet")):
            raise errors.ObservationError(f"{self.name}: meta/episodes holds no parquet file. The copy is incomplete.")
        table = ds.dataset(folder, format="parquet")
        names = [name for name in table.schema.names if not name.startswith("stats/")]
        found = table.to_table(columns=names, filter=ds.field("episode_index") == number).to_pylist()
        if not found:
            raise self._no_episode(number, table.to_table(columns=["episode_index"])[0].to_pylist())
        return dict(found[0])

    def _no_episode(self, number: int, there: Sequence[int]) -> errors.ObservationError:
        if not there:
            return errors.ObservationError(f"{self.name} has no episodes.")
        span = f"{min(there)} to {max(there)}" if len(there) > 1 else f"{there[0]} alone"
        return errors.ObservationError(
            f"{self.name} has no episode {number}: there is {span}. Type @episode:{min(there)}."
        )

    def _json_lines(self, stem: str) -> list[dict[str, Any]]:
        path = self.root / "meta" / f"{stem}.jsonl"
        if not path.is_file():
            raise errors.ObservationError(f"{self.name}: meta/{stem}.jsonl is missing. The copy is incomplete.")
        try:
            return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
        except ValueError as error:
            raise errors.ObservationError(f"{path} is truncated or not JSON ({error}).") from error

    def _place(self, template: str, chunk: int, file: int, episode: int, key: str = "") -> Path:
        """Fill in `data_path` or `video_path`: v3 numbers chunks and files, v2 chunks and episodes."""
        text = self.info.get(template)
        values = {"chunk_index": chunk, "file_index": file, "episode_chunk": chunk, "episode_file": file}
        try:
            relative = str(text).format(**values, episode_index=episode, video_key=key)
        except (KeyError, IndexError, ValueError) as error:
            raise errors.ObservationError(
                f"{self.name}: {template} {text!r} of meta/info.json cannot be filled in."
            ) from error
        # As written: files of the Hub's cache are links to blobs elsewhere, and welcome.
        if text is None or Path(relative).is_absolute() or ".." in Path(relative).parts:
            raise errors.ObservationError(
                f"{self.name}: {template} {text!r} of meta/info.json leads outside the dataset."
            )
        return self.root / relative

    def _data_file(self, number: int, row: dict[str, Any]) -> Path:
        if self.major == 2:
            chunk = number // int(self.info.get("chunks_size") or 1000)
            path = self._place("data_path", chunk, 0, number)
        elif "data/chunk_index" in row:
            path = self._place("data_path", int(row["data/chunk_index"]), int(row["data/file_index"]), number)
        else:
            files = self.data_files()
            if len(files) > 1:
                raise errors.ObservationError(
                    f"{self.name}: meta/episodes does not say which of {len(files)} data files holds episode {number}."
                )
            path = files[0]
        if not path.is_file():
            raise errors.ObservationError(
                f"{self.name}: {path.relative_to(self.root)} is missing, which holds episode {number}. "
                "The copy is incomplete."
            )
        return path

    def _shot(self, key: str, number: int, row: dict[str, Any]) -> Shot | None:
        """Where camera `key` has episode `number`; None where its file is not there."""
        from_s = 0.0
        if self.major == 2:
            path = self._place("video_path", number // int(self.info.get("chunks_size") or 1000), 0, number, key)
        elif f"videos/{key}/chunk_index" in row:
            chunk, file = (int(row[f"videos/{key}/{part}_index"]) for part in ("chunk", "file"))
            path, from_s = (
                self._place("video_path", chunk, file, number, key),
                float(row[f"videos/{key}/from_timestamp"]),
            )
        elif row.get("dataset_from_index", 0) == 0:  # the first episode begins the first file
            path = self._place("video_path", 0, 0, number, key)
        else:
            return None
        return Shot(path, from_s) if path.is_file() else None

    def data_files(self) -> list[Path]:
        """Every file of rows, in order; `ObservationError` where there is none."""
        files = sorted((self.root / "data").rglob("*.parquet"))
        if not files:
            raise errors.ObservationError(f"{self.name}: data/ holds no parquet file. The copy is incomplete.")
        return files

    @cached_property
    def _tasks(self) -> dict[int, str]:
        if self.major == 2:
            return {int(row["task_index"]): str(row["task"]) for row in self._json_lines("tasks")}
        import pyarrow.parquet as pq

        path = self.root / "meta" / "tasks.parquet"
        if not path.is_file():
            return {}
        table = pq.read_table(path)
        words = [name for name in table.schema.names if name != "task_index"]  # `task`, or the index of a data frame
        if "task_index" not in table.schema.names or len(words) != 1:
            return {}
        return dict(zip(table["task_index"].to_pylist(), map(str, table[words[0]].to_pylist()), strict=True))

    def task(self, episode: Episode, rows: dict[str, np.ndarray], start: int) -> str | None:
        """The task at frame `start` in words; None where the annotators left it blank."""
        text: str | None = None
        if "task_index" in rows:
            text = self._tasks.get(int(rows["task_index"][start, 0]))
        text = text if text is not None else next(iter(episode.tasks), None)
        return text if text and re.search(r"\w", text) else None
