"""Rows of the tables that W&B shows, as plain data: no wandb in here.

Suffixes: K chunks, T steps, S = K*T steps, D action width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strands_diffusers import domains
from strands_diffusers.lazy import np
from strands_diffusers.records.axes import swept
from strands_diffusers.results import Episode, Rollout, Scored

if TYPE_CHECKING:
    from strands_diffusers.records import Record, SampleRecord

Row = Mapping[str, Any]

MEDIA = ("video", "sound", "image", "mesh")
"""Output types that a row shows."""

TABLE, LINE, STEP = "action/table", "line", "step"
"""Key of the action table, and its columns that are no action: whose action it is, and when."""


def action_columns(rollouts: Sequence[Rollout]) -> list[str]:
    """The names of the D action columns; an empty list where no action is involved."""
    domain = next((rollout.domain for rollout in rollouts if rollout.domain), None)
    return [column.name for column in domains.get(domain).columns] if domain else []


def action_rows(rollouts: Sequence[Rollout]) -> Iterator[Row]:
    """One row per action step of each line: `predicted` (or `sample 3`), `given`, `true`.

    Raises: `ValueError` where an action's width is not the number of its domain's columns.
    """
    columns = action_columns(rollouts)
    for line, chunks_KTD in _lines(rollouts):
        steps = chunks_KTD.shape[1]
        for at, values_D in enumerate(chunks_KTD.reshape(-1, chunks_KTD.shape[2])):
            values = dict(zip(columns, map(float, values_D), strict=True))
            yield {LINE: line, STEP: at, "chunk": at // steps} | values


def _lines(rollouts: Sequence[Rollout]) -> Iterator[tuple[str, np.ndarray]]:
    for rollout in rollouts:
        if rollout.action is not None:
            yield ("predicted" if rollout.sample is None else f"sample {rollout.sample}"), rollout.action
    for first in rollouts[:1]:  # what was given, and what is true, is the same for every sample
        for line, chunks_KTD in (("given", first.given_action), ("true", first.reference_action)):
            if chunks_KTD is not None:
                yield line, chunks_KTD


def score_rows(rollouts: Sequence[Rollout]) -> list[Row]:
    """One row per frame of each episode's scores, in its world and in the reference world."""
    return [
        {LINE: line, "frame": at}
        | {name: float(s.values[at]) for name, s in scores.items() if np.isfinite(s.values[at])}
        for rollout in rollouts
        if rollout.episode is not None
        for line, scores in _scored(rollout.episode, rollout.sample)
        for at in range(max((len(scored.values) for scored in scores.values()), default=0))
    ]


def _scored(episode: Episode, sample: int | None) -> Iterator[tuple[str, Mapping[str, Scored]]]:
    yield (episode.world if sample is None else f"sample {sample}"), episode.scores
    if episode.reference_scores:
        yield f"{episode.reference}{'' if sample is None else f', sample {sample}'}", episode.reference_scores


def sample_rows(record: Record) -> list[Row]:
    """One row per sample of a job: its seed, its own files, its metrics."""
    return [
        {"sample": sample.index, "seed": sample.seed, **media(record, sample), **leaves(sample.metrics)}
        for sample in record.samples
    ]


def sweep_rows(records: Sequence[Record]) -> list[Row]:
    """One row per job of a sweep: what was swept, its files, what was measured, what went wrong."""
    axes, _ = swept(records)
    return [
        {
            "job": record.name,
            "status": record.status,
            **{axis.key: _number(axis.values[axis.of_job[at]]) for axis in axes if axis.key != "prompt"},
            "prompt": record.prompt,
            **{kind: record.file(kind) for kind in ("video", "timeseries")},
            **leaves(record.metrics),
            "seconds": record.total_seconds or None,
            "problems": "; ".join(map(str, record.problems)) or None,
            "error": record.error or None,
        }
        for at, record in enumerate(records)
    ]


def _number(text: str) -> float | str:
    """A swept value as a number where it is one, so that the table sorts it as such."""
    try:
        return float(text)
    except ValueError:
        return text


def media(record: Record, sample: SampleRecord) -> dict[str, Path]:
    """The sample's own files that W&B can show, by output type."""
    return {kind: path for kind in MEDIA if (path := record.file(kind, sample)) is not None}


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level: `{"horizon": 3.5, "psnr.none": 30.1}`, each key behind `prefix`."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
