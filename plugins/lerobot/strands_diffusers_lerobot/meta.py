"""What the meta/ of a LeRobot dataset says, held against itself: counts, lengths, spans of rows and of time. pyarrow only.

Version 3 keeps its episodes in `meta/episodes/*.parquet`, version 2 in `meta/episodes.jsonl`. Raises everywhere:
`ObservationError` for what is missing, odd, or contradicts something else, with both numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import check_file, errors, read_json, read_json_lines

if TYPE_CHECKING:
    from strands_diffusers_lerobot.dataset import Dataset

PLACE = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
"""Ends of the columns `videos/CAMERA/...`: which file holds an episode, and from when to when [s]."""

_WHOLE = ("episode_index", "length", "dataset_from_index", "dataset_to_index", "data/chunk_index", "data/file_index")


def read_info(root: Path, name: str) -> dict[str, Any]:
    """What meta/info.json holds."""
    path = root / "meta" / "info.json"
    if not path.is_file():
        inside = sorted(p.parent.parent.name for p in root.glob("*/meta/info.json"))[:5]
        hint = f" Datasets in it: {', '.join(inside)}." if inside else ""
        what = "holds no meta/info.json: it is not a LeRobot dataset" if root.is_dir() else "is not a folder"
        raise errors.ObservationError(f"{name} {what}.{hint} Type lerobot:DIR with the folder that holds meta/.")
    check_file(path, str(path))
    info = read_json(path, str(path), errors.ObservationError)
    if not isinstance(info, dict):
        raise errors.ObservationError(f"{path} is not a JSON object.")
    return info


def features(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """The features by name, each with its dtype and shape."""
    found = dataset.info.get("features")
    if not isinstance(found, dict) or not found:
        raise dataset.error("meta/info.json names no features. Is the copy complete?")
    for key, feature in found.items():
        shape = feature.get("shape") if isinstance(feature, dict) else None
        sizes = isinstance(shape, list | None) and all(type(size) is int and size >= 0 for size in shape or [])
        if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str) or not sizes:
            raise dataset.damaged(f"meta/info.json describes the feature {key!r} without a dtype or shape.")
    return found


def rate(dataset: Dataset) -> float:
    """Frames per second [Hz]."""
    fps: Any = dataset.info.get("fps")
    if not _is_number(fps) or not 0 < fps < 1e6:
        raise dataset.damaged(f"meta/info.json says fps {fps!r}; a rate above 0 Hz belongs there.")
    return float(fps)


def whole_number(dataset: Dataset, key: str, default: int | None = None) -> int | None:
    """A whole number of meta/info.json, or the default where it is not there."""
    value = dataset.info.get(key, default)
    if value is not None and not (type(value) is int and 0 <= value < 1 << 53):
        raise dataset.damaged(f"meta/info.json says {key} {value!r}; a whole number belongs there.")
    return value


def read_episodes(dataset: Dataset) -> dict[int, dict[str, Any]]:
    """The row of each episode by its number, in order, once counts, lengths and spans of rows agree.

    A column that any row has is a number in all of them; the tasks are as they are.
    """
    videos = [f"videos/{key}/{what}" for key in dataset.cameras for what in PLACE]
    whole = {*_WHOLE, *(name for name in videos if name.endswith("_index"))}
    rows: list[dict[str, Any]] = []
    if dataset.major == 2:
        rows = _json_lines(dataset, "episodes")
    else:
        import pyarrow.parquet as pq

        for path in dataset.parquet_files("meta/episodes"):
            with dataset.reading(path):
                there = [name for name in pq.read_schema(path).names if name in {*whole, *videos, "tasks"}]
                rows += pq.read_table(path, columns=there).to_pylist()
    named = dict.fromkeys(name for row in rows for name in row if name in {*whole, *videos})
    for name in ("episode_index", "length", *named):
        for place, row in enumerate(rows):
            value = row.get(name)
            right = type(value) is int if name in whole else _is_number(value)
            if not right or not (name == "length") <= value < 1 << 53:  # type: ignore[operator]
                belongs = "a whole number" if name in whole else "a time"
                raise dataset.damaged(
                    f"meta/ says {name} {value!r} in row {place} of its episodes; {belongs} belongs there."
                )
    numbers = Counter(row["episode_index"] for row in rows)
    if len(numbers) < len(rows):
        raise dataset.damaged(f"meta/ lists episode {numbers.most_common(1)[0][0]} twice.")
    for key, count in (("total_episodes", len(rows)), ("total_frames", sum(row["length"] for row in rows))):
        if (said := whole_number(dataset, key)) not in (None, count):
            raise dataset.damaged(f"meta/info.json says {key} {said}, its episodes make {count}.")
    found = {row["episode_index"]: row for row in sorted(rows, key=lambda row: row["episode_index"])}
    before = 0
    for number, row in found.items():
        if {"dataset_from_index", "dataset_to_index"} <= row.keys():
            begin, end = row["dataset_from_index"], row["dataset_to_index"]
            says = f"meta/ says that episode {number}"
            if end - begin != row["length"]:
                raise dataset.damaged(f"{says} has rows {begin} to {end - 1}, and the length {row['length']}.")
            if begin < before:
                raise dataset.damaged(
                    f"{says} begins at row {begin}, and the episode before it ends at row {before - 1}."
                )
            before = end
    return found


def check_spans(dataset: Dataset, key: str, rows: dict[int, dict[str, Any]]) -> dict[tuple[int, int], int]:
    """Frames of all episodes in each video file (chunk, file) of a camera, once their spans of time agree."""
    names = [f"videos/{key}/{what}" for what in PLACE]
    if dataset.major == 2 or not any(names[0] in row for row in rows.values()):
        return {}
    frames: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], tuple[int, float]] = {}
    for number, row in rows.items():
        if missing := [name for name in names if name not in row]:
            raise dataset.damaged(f"meta/ does not say {missing[0]}.")
        chunk, file, begin_s, end_s = (row[name] for name in names)
        length, where = row["length"], f"meta/ says that in {key} episode {number}"
        if abs((end_s - begin_s) * dataset.fps - length) > 0.5:
            raise dataset.damaged(
                f"{where} lasts from {begin_s:g} to {end_s:g} s, and has {length} frames at {dataset.fps:g} Hz."
            )
        before, until_s = last.get((chunk, file), (0, 0.0))
        if (begin_s - until_s) * dataset.fps < -0.25:
            raise dataset.damaged(
                f"{where} begins at {begin_s:g} s, and episode {before} ends at {until_s:g} s of the same file."
            )
        last[chunk, file] = number, end_s
        frames[chunk, file] = frames.get((chunk, file), 0) + length
    return frames


def read_tasks(dataset: Dataset) -> dict[int, str | None]:
    """The tasks by number; None for one without words, empty where there is no table of tasks."""
    pairs: list[tuple[Any, Any]]
    if dataset.major == 2:
        pairs = [(row.get("task_index"), row.get("task")) for row in _json_lines(dataset, "tasks")]
    else:
        import pyarrow.parquet as pq

        path = dataset.root / "meta" / "tasks.parquet"
        if not path.is_file():
            return {}
        with dataset.reading(path):
            table = pq.read_table(path)
            column = next(n for n in ("task", "__index_level_0__", *table.schema.names) if n in table.schema.names)
            pairs = list(zip(table["task_index"].to_pylist(), table[column].to_pylist(), strict=True))
    for number, word in pairs:
        if type(number) is not int or not isinstance(word, str | None):
            raise dataset.damaged(f"meta/tasks names the task {number!r} {word!r}; a number and a text belong there.")
    if len(dict(pairs)) < len(pairs):
        raise dataset.damaged("meta/tasks gives one number to two tasks.")
    return dict(pairs)


def _json_lines(dataset: Dataset, stem: str) -> list[dict[str, Any]]:
    path = dataset.root / "meta" / f"{stem}.jsonl"
    if not path.is_file():
        raise dataset.error(f"meta/{stem}.jsonl is missing. The copy is incomplete.")
    check_file(path, str(path))
    rows = read_json_lines(path, str(path), errors.ObservationError)
    if not all(isinstance(row, dict) for row in rows):
        raise errors.ObservationError(f"{path} has lines that are no JSON objects. The copy is damaged.")
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
