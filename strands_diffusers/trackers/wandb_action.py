"""An action chunk as W&B shows it: a table, and a curve per dimension. Plain data; no wandb in here.

Suffixes: K chunks, T steps, D action width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from strands_diffusers import domains
from strands_diffusers.lazy import np
from strands_diffusers.results import Rollout

STEP = "action/step"
"""Key that every curve is plotted against: step t of chunk k counts k*T + t."""


def action_columns(rollout: Rollout) -> list[str]:
    """Return the names of the D action columns; an empty list where no action is involved."""
    return [column.name for column in domains.get(rollout.domain).columns] if rollout.domain else []


def curve_keys(rollout: Rollout, columns: Sequence[str]) -> list[str]:
    """Return the key of every curve that the rollout has: `action/x`, `reference_action/gripper`, ... ."""
    return [f"{name}/{column}" for name in _chunks(rollout) for column in columns]


def curve_points(rollout: Rollout, columns: Sequence[str]) -> Iterator[dict[str, float]]:
    """Yield for each step the value of every curve that reaches it, and the step itself.

    Raises: `ValueError` where the action's width is not the number of columns.
    """
    rows = {name: chunks_KTD.reshape(-1, chunks_KTD.shape[2]) for name, chunks_KTD in _chunks(rollout).items()}
    for t in range(max(map(len, rows.values()), default=0) if columns else 0):
        point: dict[str, float] = {STEP: t}
        for name, steps_SD in rows.items():
            if t < len(steps_SD):
                point |= {f"{name}/{column}": float(v) for column, v in zip(columns, steps_SD[t], strict=True)}
        yield point


def table_rows(action_KTD: np.ndarray) -> list[list[Any]]:
    """Return one row per action step: the step k*T + t, the chunk k, then the D values."""
    steps = action_KTD.shape[1]
    return [
        [chunk * steps + t, chunk, *map(float, row_D)]
        for chunk, chunk_TD in enumerate(action_KTD)
        for t, row_D in enumerate(chunk_TD)
    ]


def _chunks(rollout: Rollout) -> dict[str, np.ndarray]:
    found = {
        "action": rollout.action,
        "given_action": rollout.given_action,
        "reference_action": rollout.reference_action,
    }
    return {name: chunks_KTD for name, chunks_KTD in found.items() if chunks_KTD is not None}
