"""One dataset from the many that a sweep with `output=[lerobot]` leaves. Videos are copied, not encoded again."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from strands_diffusers import errors
from strands_diffusers_lerobot.dataset import Dataset, open_dataset
from strands_diffusers_lerobot.rows import read_rows
from strands_diffusers_lerobot.writer import EpisodeData, write_dataset


def join(out: Path, folders: Sequence[Path]) -> tuple[int, int]:
    """Write every export found in `folders` into the new dataset `out`; return its episodes and frames.

    Raises: `OutputError` where `out` exists, nothing is found, or the exports differ in rate, domain or units.
    """
    if out.exists():
        raise errors.OutputError(f"{out} exists. Choose a new folder.")
    roots = [path.parent.parent for folder in folders for path in sorted(folder.rglob("meta/info.json"))]
    sets = [dataset for root in dict.fromkeys(roots) if (dataset := open_dataset(root)).marker]
    if not sets:
        raise errors.OutputError(
            f"no export of output=[lerobot] lies in {', '.join(map(str, folders))}. Run the sweep with it."
        )
    kinds = {(d.fps, *(str(d.marker.get(key)) for key in ("domain", "units", "last_row_repeats"))) for d in sets}
    if len(kinds) > 1:
        shown = " and ".join(f"{fps:g} Hz {domain} {units}" for fps, domain, units, _ in sorted(kinds, key=str))
        raise errors.OutputError(f"the exports are of different kinds: {shown}. Join one kind at a time.")
    episodes = [episode for dataset in sets for episode in _episodes(dataset)]
    first = sets[0]
    names = {key: feature["names"] for key, feature in first.features.items() if feature.get("names")}
    shared = {key: value for key, value in first.marker.items() if key not in ("mode", "seed")}
    try:
        write_dataset(
            out, episodes, first.fps, names=names, robot_type=str(first.info.get("robot_type")), marker=shared
        )
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return len(episodes), sum(len(episode.columns["next.done"]) for episode in episodes)


def _episodes(dataset: Dataset) -> list[EpisodeData]:
    found = []
    for number in dataset.lengths:
        episode = dataset.episode(number)
        names = dataset.columns
        rows = read_rows(dataset, episode, names)
        columns = {
            name: rows[name][:, 0] > 0 if dataset.features[name]["dtype"] == "bool" else rows[name].astype(np.float32)
            for name in names
        }
        videos: dict[str, np.ndarray | Path] = {key: shot.path for key, shot in episode.shots.items()}
        found.append(EpisodeData(next(iter(episode.tasks), ""), videos, columns))
    return found
