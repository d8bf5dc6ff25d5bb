"""Write a LeRobot v3 dataset: one data file, one video per episode and camera, statistics as LeRobot computes them.

Source: LeRobot v3.0 as `lerobot` 0.4.4 writes and reads it (github.com/huggingface/lerobot, Apache-2.0).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import errors, read_clip, write_mp4
from strands_diffusers_lerobot.dataset import MARKER

CHUNK_SIZE = 1000
"""Files in one folder, LeRobot's own number."""

_PATHS = {
    "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_INDEX_FEATURES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, eq=False)
class EpisodeData:
    """One episode to write: F rows."""

    task: str
    """In words; LeRobot wants one, so that an empty one stays an empty string."""

    videos: Mapping[str, np.ndarray | Path]
    """Frames uint8 `[F, H, W, 3]` by camera, or a finished mp4 of F frames, which is copied."""

    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """float32 `[F, W]` or bool `[F]` by feature."""


def write_dataset(
    root: Path, episodes: Sequence[EpisodeData], fps: float, *, names: Mapping[str, list[str]] | None = None,
    robot_type: str = "unknown", marker: Mapping[str, Any] | None = None, crf: int = 12,
) -> list[Path]:  # fmt: skip
    """Write `episodes` as a dataset into the new folder `root` and return its files, `meta/info.json` first.

    `names`: column names by feature. `marker`: what this plugin's reader finds under `strands_diffusers` in info.json.
    Raises: `OutputError` where the episodes have no common features, or a video and its rows differ in length.
    """
    import pyarrow as pa

    if not episodes:
        raise errors.OutputError("a LeRobot dataset needs one episode at least.")
    root.mkdir(parents=True)
    lengths = [_check(episode, episodes[0], number) for number, episode in enumerate(episodes)]
    features = _features(episodes[0], names or {}, fps)
    tasks = list(dict.fromkeys(episode.task for episode in episodes))
    videos = _write_videos(root, episodes, lengths, fps, crf, features)
    columns = _index_columns(episodes, lengths, tasks, fps)
    for name in episodes[0].columns:
        columns[name] = np.concatenate([np.asarray(episode.columns[name]) for episode in episodes])
    _write_parquet(root / _PATHS["data_path"].format(chunk_index=0, file_index=0), _data_table(columns))
    starts = np.cumsum([0, *lengths])
    rows, samples = [], []
    for number, (episode, length) in enumerate(zip(episodes, lengths, strict=True)):
        window = slice(int(starts[number]), int(starts[number + 1]))
        frames = {key: _video_frames(root, videos, key, number) for key in episode.videos}
        samples.append({key: _sample(frames_FHWC) for key, frames_FHWC in frames.items()})
        chunk, file = divmod(number, CHUNK_SIZE)
        row = {
            "episode_index": number, "tasks": [episode.task], "length": length,
            "data/chunk_index": 0, "data/file_index": 0,
            "dataset_from_index": window.start, "dataset_to_index": window.stop,
        }  # fmt: skip
        for key in episode.videos:
            row |= {
                f"videos/{key}/chunk_index": chunk, f"videos/{key}/file_index": file,
                f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": length / fps,
            }  # fmt: skip
        statistics = {name: _statistics(values[window]) for name, values in columns.items()}
        statistics |= {key: _pixel_statistics(pixels, length) for key, pixels in samples[-1].items()}
        row |= {f"stats/{name}/{stat}": value for name, stats in statistics.items() for stat, value in stats.items()}
        rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
    overall = {name: _statistics(values) for name, values in columns.items()}
    for key in episodes[0].videos:
        overall[key] = _pixel_statistics(np.concatenate([sample[key] for sample in samples]), int(starts[-1]))
    _write_parquet(root / "meta/episodes/chunk-000/file-000.parquet", pa.Table.from_pylist(rows))
    _write_parquet(root / "meta/tasks.parquet", _tasks_table(tasks))
    _write_json(root / "meta/stats.json", overall)
    info = {
        "codebase_version": "v3.0", "robot_type": robot_type, "total_episodes": len(episodes),
        "total_frames": int(starts[-1]), "total_tasks": len(tasks), "chunks_size": CHUNK_SIZE,
        "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
        "fps": int(fps) if float(fps).is_integer() else float(fps), "splits": {"train": f"0:{len(episodes)}"},
        **_PATHS, "features": features,
    }  # fmt: skip
    _write_json(root / "meta/info.json", info | ({MARKER: dict(marker)} if marker else {}))
    first = root / "meta/info.json"
    return [first, *sorted(path for path in root.rglob("*") if path.is_file() and path != first)]


def _check(episode: EpisodeData, first: EpisodeData, number: int) -> int:
    """The episode's length, once all of its parts agree on it and it has the first one's features."""
    if set(episode.videos) != set(first.videos) or {k: np.shape(v)[1:] for k, v in episode.columns.items()} != {
        k: np.shape(v)[1:] for k, v in first.columns.items()
    }:
        there, wanted = sorted([*episode.videos, *episode.columns]), sorted([*first.videos, *first.columns])
        raise errors.OutputError(
            f"episode {number} has {', '.join(there)} and episode 0 has {', '.join(wanted)} (or other widths): "
            "one dataset holds one kind of episode."
        )
    lengths = {name: len(value) for name, value in episode.columns.items()}
    lengths |= {key: len(video) for key, video in episode.videos.items() if isinstance(video, np.ndarray)}
    if len(set(lengths.values())) != 1:
        raise errors.OutputError(f"episode {number} has parts of different lengths: {lengths}.")
    return int(next(iter(lengths.values())))


def _features(episode: EpisodeData, names: Mapping[str, list[str]], fps: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in episode.columns.items():
        kind = "bool" if values.dtype == bool else "float32"
        width = 1 if values.ndim == 1 else values.shape[1]
        found[name] = {"dtype": kind, "shape": [width], "names": names.get(name)}
    for key in episode.videos:
        found[key] = {"dtype": "video", "shape": [0, 0, 3], "names": ["height", "width", "channels"]}
        found[key]["info"] = {
            "video.codec": "h264", "video.pix_fmt": "yuv420p", "video.is_depth_map": False,
            "video.fps": int(fps) if float(fps).is_integer() else float(fps), "video.channels": 3, "has_audio": False,
        }  # fmt: skip
    return found | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in _INDEX_FEATURES.items()}


def _write_videos(
    root: Path, episodes: Sequence[EpisodeData], lengths: Sequence[int], fps: float, crf: int, features: dict[str, Any]
) -> dict[tuple[str, int], Path]:
    """Encode or copy every video and return where they are; fills the sizes of `features` in."""
    paths: dict[tuple[str, int], Path] = {}
    for number, episode in enumerate(episodes):
        chunk, file = divmod(number, CHUNK_SIZE)
        for key, video in episode.videos.items():
            place = _PATHS["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
            path = paths[key, number] = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(video, np.ndarray):
                write_mp4(path, video, fps, crf=crf)
            else:
                shutil.copyfile(video, path)
            shape = list(_video_frames(root, paths, key, number).shape)
            size = features[key]["shape"]
            if shape[0] != lengths[number] or size not in ([0, 0, 3], shape[1:]):
                raise errors.OutputError(
                    f"episode {number}: video {key} is {shape}; {lengths[number]} frames of {size[:2]} belong there."
                )
            features[key]["shape"] = shape[1:]
            features[key]["info"] |= {"video.height": shape[1], "video.width": shape[2]}
    return paths


def _video_frames(root: Path, paths: Mapping[tuple[str, int], Path], key: str, number: int) -> np.ndarray:
    return read_clip(paths[key, number], name=str(paths[key, number].relative_to(root))).frames_FHWC


def _index_columns(
    episodes: Sequence[EpisodeData], lengths: Sequence[int], tasks: Sequence[str], fps: float
) -> dict[str, np.ndarray]:
    frames = np.concatenate([np.arange(length) for length in lengths])
    return {
        "timestamp": (frames / fps).astype(np.float32),
        "frame_index": frames,
        "episode_index": np.repeat(np.arange(len(lengths)), lengths),
        "index": np.arange(len(frames)),
        "task_index": np.repeat([tasks.index(episode.task) for episode in episodes], lengths),
    }


def _statistics(values: np.ndarray) -> dict[str, list[Any]]:
    """LeRobot's statistics of a column: lists of W numbers, and how many rows they stand for."""
    rows_FW = np.asarray(values, np.float64).reshape(len(values), -1)
    found: dict[str, list[Any]] = {
        "min": rows_FW.min(0).tolist(), "max": rows_FW.max(0).tolist(),
        "mean": rows_FW.mean(0).tolist(), "std": rows_FW.std(0).tolist(), "count": [len(rows_FW)],
    }  # fmt: skip
    return found | {name: np.quantile(rows_FW, q, axis=0).tolist() for name, q in _QUANTILES.items()}


def _sample(frames_FHWC: np.ndarray) -> np.ndarray:
    """Every fourth pixel of up to 100 frames: what LeRobot also thins for its picture statistics. float32 [P, 3]."""
    chosen = np.unique(np.linspace(0, len(frames_FHWC) - 1, min(len(frames_FHWC), 100)).astype(int))
    return (frames_FHWC[chosen, ::4, ::4].reshape(-1, 3) / 255.0).astype(np.float32)


def _pixel_statistics(pixels_P3: np.ndarray, count: int) -> dict[str, list[Any]]:
    """Statistics per colour channel, 0 to 1, nested as LeRobot has them: [3, 1, 1]."""
    found = {
        name: [[[value]] for value in values] for name, values in _statistics(pixels_P3).items() if name != "count"
    }
    return {**found, "count": [count]}


def _data_table(columns: Mapping[str, np.ndarray]) -> Any:
    import pyarrow as pa

    arrays = {}
    for name, values in columns.items():
        if values.ndim == 2:
            flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
        else:
            arrays[name] = pa.array(values)
    return pa.table(arrays)


def _tasks_table(tasks: Sequence[str]) -> Any:
    """Tasks by name: LeRobot reads them with pandas, whose metadata says that the words are the frame's index."""
    import pyarrow as pa

    index = "__index_level_0__"
    text = {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [{**number, "metadata": None}, text],
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": np.arange(len(tasks)), index: pa.array(list(tasks), pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _write_parquet(path: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, allow_nan=False), encoding="utf-8")
