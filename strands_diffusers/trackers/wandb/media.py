"""How files and tables become what W&B shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers.results import OUTPUT_TYPES, Rollout
from strands_diffusers.trackers.wandb import tables

if TYPE_CHECKING:
    from strands_diffusers.records import Record

_CLASSES = {
    ".png": "Image", ".jpg": "Image", ".jpeg": "Image", ".webp": "Image", ".mp4": "Video", ".webm": "Video",
    ".gif": "Video", ".wav": "Audio", ".flac": "Audio", ".html": "Html", ".glb": "Object3D", ".obj": "Object3D",
}  # fmt: skip
"""The wandb class that shows a file; files of other kinds are not shown."""

_OWN = (*OUTPUT_TYPES, "observation", "reference")
"""Types of files that no visualizer drew."""


def media_keys(record: Record) -> dict[str, list[Path]]:
    """The files to show by key: in a job of several samples those over all of them, else all.

    Files of one key and kind form a gallery; of several kinds, each kind has a key.
    """
    several = len(record.samples) > 1
    groups: dict[str, dict[str, list[Path]]] = {}
    for entry in record.artifacts:
        kind = None if entry.raw else _CLASSES.get(Path(entry.path).suffix.lower())
        if kind and not (several and any(entry.path.startswith(sample.prefix) for sample in record.samples)):
            key = entry.type if entry.type in _OWN else f"plots/{entry.type}"
            groups.setdefault(key, {}).setdefault(kind, []).append(record.directory / entry.path)
    return {
        key if len(kinds) == 1 else f"{key}/{kind.lower()}": paths
        for key, kinds in groups.items()
        for kind, paths in kinds.items()
    }


def media(path: Path, caption: str | None = None) -> Any:
    """The wandb object that shows the file at `path`."""
    import wandb

    kind = _CLASSES[path.suffix.lower()]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    if kind == "Video":  # the rate is in the file; wandb ignores `fps` for a path
        return wandb.Video(str(path), caption=caption, format=path.suffix[1:].lower())  # type: ignore[arg-type]
    return getattr(wandb, kind)(str(path), caption=caption)


def caption(record: Record) -> str:
    """What stands below a job's pictures: the beginning of its prompt, and its seed."""
    seeds = [f"seed {sample.seed}" for sample in record.samples[:1] if sample.seed is not None]
    return " · ".join(part for part in (record.prompt[:200], *seeds) if part)


def charts(rollouts: Sequence[Rollout]) -> dict[str, Any]:
    """One chart per action column, `action/<column>`, and one per score of an episode, `score/<name>`.

    Lines: predicted, given and true actions; the score in each world, sample by sample.

    W&B gives every logged number a panel of its own whatever its key; what shares a panel without a saved workspace is
    a chart over a table. All charts read one table, `action/table`: by wandb's own rule each would log its own copy.
    """
    import wandb
    from wandb.plot import CustomChart
    from wandb.plot.custom_chart import CustomChartSpec

    class Shared(CustomChartSpec):  # type: ignore[misc] # wandb is not type-checked here
        kind = "action"

        @property
        def table_key(self) -> str:
            return f"{self.kind}/table"

    class SharedScores(Shared):
        kind = "score"

    columns = tables.action_columns(rollouts)
    scores = list(dict.fromkeys(name for r in rollouts if r.episode for name in r.episode.scores))
    found = {}
    for spec, names, step, rows in (
        (Shared, columns, tables.STEP, tables.action_rows(rollouts) if columns else ()),
        (SharedScores, scores, "frame", tables.score_rows(rollouts)),
    ):
        table = as_table(rows)
        for name in names if table is not None else ():
            chart = wandb.plot.line(table, step, name, tables.LINE, name).spec
            found[f"{spec.kind}/{name}"] = CustomChart(table, spec(chart.spec_name, chart.fields, chart.string_fields))
    return found


def as_table(rows: Iterable[tables.Row]) -> Any:
    """The rows as a W&B table, columns in the order in which they first appear; None where there are no rows."""
    import wandb

    listed = list(rows)
    columns = list(dict.fromkeys(column for row in listed for column in row))
    data = [[row.get(column) for column in columns] for row in listed]
    return wandb.Table(columns=columns, data=data, allow_mixed_types=True) if listed else None
