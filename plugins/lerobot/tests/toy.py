"""Small LeRobot datasets as `lerobot` lays them out, whose every frame says which one it is."""

import json
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TOP, WRIST = "observation.images.top", "observation.images.wrist"
FPS, HEIGHT, WIDTH = 10, 32, 48
LENGTHS = (12, 20, 15)
"""Frames of the episodes."""


def frame_of(episode: int, index: int) -> int:
    """The grey of a frame, 3 apart from its neighbours and another in every episode."""
    return 4 * index + 60 * episode + 20


def video(path: Path, greys: list[int], codec: str = "libx264", fps: float = FPS) -> None:
    """A video of plain greys, with key frames far apart, so that a seek must decode to get there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.broadcast_to(np.array(greys, np.uint8)[:, None, None, None], (len(greys), HEIGHT, WIDTH, 3))
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{WIDTH}x{HEIGHT}", "-r", str(fps), "-i", "-", "-c:v", codec, "-g", "25", "-crf", "5"]
    command += ["-preset", "8" if codec == "libsvtav1" else "fast", "-pix_fmt", "yuv420p", str(path)]
    subprocess.run(command, input=np.ascontiguousarray(pixels).tobytes(), check=True, capture_output=True)


def ffmpeg(*arguments) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def shown(frames_FHWC: np.ndarray, episode: int) -> list[int]:
    """Which frames of an episode these are, by their greys."""
    return [round((float(frame.mean()) - frame_of(episode, 0)) / 4) for frame in frames_FHWC]


def rows_of(episode: int, length: int, first: int, columns: dict[str, np.ndarray]) -> list[dict]:
    rows = []
    for index in range(length):
        row = {name: values[episode][index].tolist() for name, values in columns.items()}
        row |= {"timestamp": index / FPS, "frame_index": index, "episode_index": episode}
        rows.append(row | {"index": first + index, "task_index": int(index >= 5) if episode == 1 else 0})
    return rows


def numbers(width: int = 2, seed: int = 0) -> list[np.ndarray]:
    """A column for every episode, [F, width]."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, width)).astype(np.float32) for length in LENGTHS]


def write_v3(root: Path, columns: dict[str, list[np.ndarray]] | None = None, codec: str = "libx264", **info) -> Path:
    """Three episodes, two cameras. Episodes 0 and 1 share the first video and the first data file, 2 has its own."""
    columns = {"action": numbers()} if columns is None else columns
    places = [(0, 0), (0, LENGTHS[0]), (1, 0)]  # file, first frame in it
    starts = [0, LENGTHS[0], LENGTHS[0] + LENGTHS[1]]
    for key in (TOP, WRIST):
        for file in (0, 1):
            greys = [frame_of(e, i) for e, (f, _) in enumerate(places) if f == file for i in range(LENGTHS[e])]
            video(root / f"videos/{key}/chunk-000/file-{file:03d}.mp4", greys, codec)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    for file in (0, 1):
        rows = [r for e, (f, _) in enumerate(places) if f == file for r in rows_of(e, LENGTHS[e], starts[e], columns)]
        pq.write_table(pa.Table.from_pylist(rows), root / f"data/chunk-000/file-{file:03d}.parquet")
    episodes = []
    for e, (file, at) in enumerate(places):
        row = {"episode_index": e, "tasks": ["push", "pull"][: 1 + (e == 1)], "length": LENGTHS[e]}
        row |= {"data/chunk_index": 0, "data/file_index": file, "dataset_from_index": starts[e]}
        row |= {"stats/action/mean": [0.0], "dataset_to_index": starts[e] + LENGTHS[e]}
        for key in (TOP, WRIST):
            row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": file}
            row |= {f"videos/{key}/from_timestamp": at / FPS, f"videos/{key}/to_timestamp": (at + LENGTHS[e]) / FPS}
        episodes.append(row)
    pq.write_table(pa.Table.from_pylist(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    pq.write_table(pa.table({"task_index": [0, 1], "task": ["push", "pull"]}), root / "meta/tasks.parquet")
    facts = {
        "codebase_version": "v3.0",
        "total_frames": sum(LENGTHS),
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    return _info(root, columns, facts | info)


def write_v2(root: Path, columns: dict[str, list[np.ndarray]] | None = None) -> Path:
    """The same episodes as LeRobot 2.1 lays them out: one video and one data file each."""
    columns = {"action": numbers()} if columns is None else columns
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta").mkdir()
    first = 0
    for e, length in enumerate(LENGTHS):
        for key in (TOP, WRIST):
            path = root / f"videos/chunk-000/{key}/episode_{e:06d}.mp4"
            video(path, [frame_of(e, i) for i in range(length)])
        table = pa.Table.from_pylist(rows_of(e, length, first, columns))
        pq.write_table(table, root / f"data/chunk-000/episode_{e:06d}.parquet")
        first += length
    lines = [
        {"episode_index": e, "tasks": ["push", "pull"][: 1 + (e == 1)], "length": length}
        for e, length in enumerate(LENGTHS)
    ]
    (root / "meta/episodes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tasks = [{"task_index": i, "task": word} for i, word in enumerate(("push", "pull"))]
    (root / "meta/tasks.jsonl").write_text("\n".join(map(json.dumps, tasks)))
    facts = {
        "codebase_version": "v2.1",
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    return _info(root, columns, facts)


def _info(root: Path, columns: dict[str, list[np.ndarray]], facts: dict) -> Path:
    features = {n: {"dtype": "float32", "shape": list(v[0].shape[1:]), "names": None} for n, v in columns.items()}
    for key in (TOP, WRIST):
        features[key] = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    info = {"robot_type": "toy", "total_episodes": 3, "chunks_size": 1000, "fps": FPS, "features": features}
    (root / "meta/info.json").write_text(json.dumps(info | facts))
    return root
