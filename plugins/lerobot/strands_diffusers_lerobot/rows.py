"""The rows of a dataset: one episode's, or all of them in a stream; and pictures kept inside rows.

Letters: F rows of an episode, W width of a column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import errors, read_image
from strands_diffusers_lerobot.dataset import INDEXES, Dataset, Episode

Rows = dict[str, np.ndarray]
"""Columns by name, float64 [F, W]; a plain number has W = 1."""

BATCH_ROWS = 65_536
"""Rows that are in memory at once while a whole dataset streams by, besides the episode they belong to."""


def read_rows(dataset: Dataset, episode: Episode, columns: Sequence[str]) -> Rows:
    """Return an episode's `frame_index`, `task_index` (where the dataset has one) and `columns`.

    Raises: `ObservationError` where rows are missing or doubled, their time stamps or numbers contradict meta/, or a
        column is not made of numbers.
    """
    import pyarrow.parquet as pq

    wanted = _present(dataset, episode.data, [*_OWN, *columns])
    only = [("episode_index", "=", episode.index)] if dataset.major == 3 else None
    with dataset.reading(episode.data):
        table = pq.read_table(episode.data, columns=wanted, filters=only)
    found = {name: _numbers(dataset, table[name], name) for name in wanted}
    _check_rows(dataset, found, episode.index, episode.length, str(episode.data.relative_to(dataset.root)))
    if episode.first_row is not None and "index" in found and found["index"][0, 0] != episode.first_row:
        raise dataset.damaged(
            f"episode {episode.index} begins at row {episode.first_row} in meta/, and at row {found['index'][0, 0]:g} in "
            f"{episode.data.relative_to(dataset.root)}."
        )
    return found


def stream_rows(dataset: Dataset, columns: Sequence[str]) -> Iterator[Rows]:
    """Yield `frame_index` and `columns` of every episode, in order, in the memory of one batch and one episode.

    Raises: `ObservationError` as `read_rows` does, and at the end where episodes that meta/ lists did not come.
    """
    import pyarrow.parquet as pq

    held: Rows = {}
    missing = dict(dataset.lengths)

    def whole(rows: Rows) -> Rows:
        number = int(rows["episode_index"][0, 0])
        if number not in missing:
            raise dataset.error(
                f"data/ holds rows of episode {number}, which meta/ does not list, or holds them twice."
            )
        _check_rows(dataset, rows, number, missing.pop(number), "data/")
        return rows

    for path in dataset.parquet_files("data"):
        wanted = _present(dataset, path, ["episode_index", *_OWN, *columns])
        with dataset.reading(path):
            batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=wanted)
        while True:
            with dataset.reading(path):
                batch = next(batches, None)
            if batch is None:
                break
            found = {name: _numbers(dataset, batch.column(name), name) for name in wanted}
            held = {name: np.concatenate([held[name], rows]) for name, rows in found.items()} if held else found
            starts = np.flatnonzero(np.diff(held["episode_index"][:, 0])) + 1
            for begin, end in zip([0, *starts[:-1]], starts, strict=False):
                yield whole({name: rows[begin:end] for name, rows in held.items()})
            if len(starts):
                held = {name: rows[starts[-1] :] for name, rows in held.items()}
    if held and len(held["episode_index"]):
        yield whole(held)
    if missing:
        raise dataset.error(
            f"data/ holds no rows of episode {min(missing)}"
            f"{f' and {len(missing) - 1} others' if len(missing) > 1 else ''}: data files are missing."
        )


def read_pictures(dataset: Dataset, episode: Episode, key: str, frames: Sequence[int]) -> np.ndarray:
    """Decode frames of a camera that is stored as pictures inside the rows: uint8 [F, H, W, 3]."""
    import pyarrow.parquet as pq

    only = [("episode_index", "=", episode.index)] if dataset.major == 3 else None
    _present(dataset, episode.data, [key])
    with dataset.reading(episode.data):
        cells = pq.read_table(episode.data, columns=[key], filters=only)[key].take(list(frames)).to_pylist()
    pictures: list[np.ndarray] = []
    for frame, cell in zip(frames, cells, strict=True):
        content = cell.get("bytes") if isinstance(cell, dict) else None
        if not isinstance(content, bytes) or not content:
            raise dataset.error(
                f"camera {key!r} keeps its pictures outside of the rows, where they are not looked for."
            )
        pictures.append(read_image(content, f"{dataset.name}: {key} in row {frame} of episode {episode.index}"))
        if pictures[-1].shape != pictures[0].shape:
            raise dataset.error(f"camera {key!r} changes its size from {pictures[0].shape} to {pictures[-1].shape}.")
    return np.stack(pictures)


_OWN = ("frame_index", "task_index", "timestamp", "index", "episode_index")
"""Columns of LeRobot's own that are read beside the robot's, where they are there; `frame_index` must be."""


def _present(dataset: Dataset, path: Path, columns: Sequence[str]) -> list[str]:
    """Which of `columns` the file has; LeRobot's own need not be there, except for `frame_index`."""
    import pyarrow.parquet as pq

    with dataset.reading(path):
        there = pq.read_schema(path).names
    for name in columns:
        if name not in there and name not in _OWN[1:]:
            known = ", ".join(n for n in there if n not in INDEXES)
            raise errors.ObservationError(
                f"{dataset.name} has no column {name!r}; there are {known}.{errors.near_miss(name, there)}"
            )
    return [name for name in dict.fromkeys(columns) if name in there]


def _check_rows(dataset: Dataset, rows: Rows, number: int, length: int, where: str) -> None:
    """Whether these are the rows that meta/ promises of an episode, each at its time."""
    frames = rows["frame_index"][:, 0]
    if len(frames) != length or not np.array_equal(frames, np.arange(length)):
        raise dataset.damaged(
            f"episode {number} should have rows 0 to {length - 1}; {where} holds {len(frames)} of them"
            f"{', in another order' if len(frames) == length else ''}."
        )
    if "episode_index" in rows and (rows["episode_index"] != number).any():
        other = rows["episode_index"][rows["episode_index"] != number][0]
        raise dataset.damaged(f"{where} should hold episode {number} and holds episode {other:g}.")
    if "timestamp" in rows:
        late_s = rows["timestamp"][:, 0] - frames / dataset.fps
        if np.abs(late_s).max() * dataset.fps > 0.25:
            row = int(np.abs(late_s).argmax())
            raise dataset.damaged(
                f"row {row} of episode {number} is of {rows['timestamp'][row, 0]:g} s; at {dataset.fps:g} Hz it is of "
                f"{row / dataset.fps:g} s."
            )


def _numbers(dataset: Dataset, column: Any, name: str) -> np.ndarray:
    """A column of numbers, or of lists of one length, as float64 [F, W]."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    count, width, kind = len(array), 1, array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        fixed = pa.types.is_fixed_size_list(kind)
        lengths = {kind.list_size} if fixed else set(array.value_lengths().to_pylist())
        if len(lengths) > 1 or array.null_count:
            raise dataset.error(f"column {name!r} has rows of different lengths.")
        width = lengths.pop() if lengths else 0
        array = array.flatten()
    try:
        values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise dataset.error(f"column {name!r} holds {array.type}, not numbers.") from error
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0]) // max(width, 1)
        raise dataset.error(f"column {name!r} holds an empty or infinite value in row {row}.")
    shape = dataset.features.get(name, {}).get("shape")
    if isinstance(shape, list) and count and math.prod(shape) != width:
        raise dataset.damaged(f"column {name!r} has {width} numbers a row, and {shape} in meta/info.json.")
    return values.reshape(count, width)
