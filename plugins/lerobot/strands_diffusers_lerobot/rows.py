"""The rows of a dataset: one episode's, or all of them in a stream; and pictures kept inside rows.

Letters: F rows of an episode, W width of a column.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import errors
from strands_diffusers_lerobot.dataset import INDEXES, Dataset, Episode

Rows = dict[str, np.ndarray]
"""Columns by name, float64 [F, W]; a plain number has W = 1."""

BATCH_ROWS = 65_536
"""Rows that are in memory at once while a whole dataset streams by, besides the episode they belong to."""


def read_rows(dataset: Dataset, episode: Episode, columns: Sequence[str]) -> Rows:
    """Return an episode's `frame_index`, `task_index` (where the dataset has one) and `columns`.

    Raises: `ObservationError` where rows are missing or doubled, or a column is not made of numbers.
    """
    import pyarrow.parquet as pq

    wanted = _present(dataset, episode.data, ["frame_index", "task_index", *columns])
    with _reading(dataset, episode.data):
        table = pq.read_table(episode.data, columns=wanted, filters=_only(dataset, episode))
    found = {name: _numbers(dataset, table[name], name) for name in wanted}
    frames = found["frame_index"][:, 0]
    if len(frames) != episode.length or not np.array_equal(frames, np.arange(episode.length)):
        raise errors.ObservationError(
            f"{dataset.name}: episode {episode.index} should have rows 0 to {episode.length - 1}; "
            f"{episode.data.relative_to(dataset.root)} holds {len(frames)} of them. The copy is damaged."
        )
    return found


def stream_rows(dataset: Dataset, columns: Sequence[str]) -> Iterator[Rows]:
    """Yield `frame_index` and `columns` of every episode, in order, in the memory of one batch and one episode.

    Raises: `ObservationError` as `read_rows` does, and at the end where rows that meta/info.json counts did not come.
    """
    import pyarrow.parquet as pq

    held: Rows = {}
    count = 0
    for path in dataset.data_files():
        wanted = _present(dataset, path, ["episode_index", "frame_index", *columns])
        with _reading(dataset, path):
            batches = pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=wanted)
        while True:
            with _reading(dataset, path):
                batch = next(batches, None)
            if batch is None:
                break
            found = {name: _numbers(dataset, batch.column(name), name) for name in wanted}
            held = {name: np.concatenate([held[name], rows]) for name, rows in found.items()} if held else found
            starts = np.flatnonzero(np.diff(held["episode_index"][:, 0])) + 1
            for begin, end in zip([0, *starts[:-1]], starts, strict=False):
                yield _whole(dataset, {name: rows[begin:end] for name, rows in held.items()})
            if len(starts):
                held = {name: rows[starts[-1] :] for name, rows in held.items()}
            count += len(found["frame_index"])
    if held:
        yield _whole(dataset, held)
    if dataset.info.get("total_frames") not in (None, count):
        raise errors.ObservationError(
            f"{dataset.name} should have {dataset.info['total_frames']} rows and has {count}: data files are missing."
        )


def read_pictures(dataset: Dataset, episode: Episode, key: str, frames: Sequence[int]) -> np.ndarray:
    """Decode frames of a camera that is stored as pictures inside the rows: uint8 [F, H, W, 3]."""
    import pyarrow.parquet as pq
    from PIL import Image

    with _reading(dataset, episode.data):
        table = pq.read_table(episode.data, columns=[key], filters=_only(dataset, episode))
    pictures = []
    for cell in table[key].take(list(frames)).to_pylist():
        if not isinstance(cell, dict) or not cell.get("bytes"):
            raise errors.ObservationError(
                f"{dataset.name}: camera {key!r} keeps its pictures outside of the rows, where they are not looked for."
            )
        pictures.append(np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")))
    return np.stack(pictures)


@contextmanager
def _reading(dataset: Dataset, path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise errors.ObservationError(
            f"{dataset.name}: {path.relative_to(dataset.root)} cannot be read ({errors.one_line(error, 120)}). "
            "The copy is damaged."
        ) from error


def _only(dataset: Dataset, episode: Episode) -> list[tuple[str, str, int]] | None:
    return [("episode_index", "=", episode.index)] if dataset.major == 3 else None


def _present(dataset: Dataset, path: Path, columns: Sequence[str]) -> list[str]:
    """Which of `columns` the file has; the robot's own must all be there, `task_index` need not."""
    import pyarrow.parquet as pq

    with _reading(dataset, path):
        there = pq.read_schema(path).names
    for name in columns:
        if name not in there and name != "task_index":
            known = ", ".join(n for n in there if n not in INDEXES)
            raise errors.ObservationError(
                f"{dataset.name} has no column {name!r}; there are {known}.{errors.near_miss(name, there)}"
            )
    return [name for name in dict.fromkeys(columns) if name in there]


def _whole(dataset: Dataset, rows: Rows) -> Rows:
    frames = rows["frame_index"][:, 0]
    if not np.array_equal(frames, np.arange(len(frames))):
        raise errors.ObservationError(
            f"{dataset.name}: the rows of episode {int(rows['episode_index'][0, 0])} are not in order. "
            "The dataset is damaged."
        )
    return rows


def _numbers(dataset: Dataset, column: Any, name: str) -> np.ndarray:
    """A column of numbers, or of lists of one length, as float64 [F, W]."""
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    count, width, kind = len(array), 1, array.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        fixed = pa.types.is_fixed_size_list(kind)
        lengths = {kind.list_size} if fixed else set(array.value_lengths().to_pylist())
        if len(lengths) > 1 or array.null_count:
            raise errors.ObservationError(f"{dataset.name}: column {name!r} has rows of different lengths.")
        width = lengths.pop() if lengths else 0
        array = array.flatten()
    try:
        values = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise errors.ObservationError(f"{dataset.name}: column {name!r} holds {array.type}, not numbers.") from error
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0]) // max(width, 1)
        raise errors.ObservationError(f"{dataset.name}: column {name!r} holds an empty or infinite value in row {row}.")
    return values.reshape(count, width)
