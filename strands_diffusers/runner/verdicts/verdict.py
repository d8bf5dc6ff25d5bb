"""What a verdict is, and what the judges share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from strands_diffusers.errors import SweepError
from strands_diffusers.lazy import np
from strands_diffusers.runner.futures import Future

PARTS = 1.5
"""A change must part the futures this many times as far as seeds alone. A model that pays no attention but is easily
thrown off lands at about 1, one that pays none at all at 0."""

LEAST_LEVELS = 0.5
"""Seed noise below this counts as this [levels of 255]: compression alone makes as much."""


@dataclass(frozen=True)
class Verdict:
    """One judgement; `numbers` may be nested, rounded to 4 digits."""

    name: str
    verdict: str
    holds: bool | None
    """Whether the model passes; None where there is nothing to pass, or it cannot be judged."""
    numbers: Mapping[str, Any] = field(default_factory=dict)


def film(future: Future) -> np.ndarray:
    """The film, uint8 `[F, H, W, 3]`; `SweepError` where the job wrote none."""
    frames_FHWC = future.frames()
    if frames_FHWC is None:
        raise SweepError(f"job {future.job} wrote no film.")
    return frames_FHWC


def means(pairs: Sequence[tuple[float, float | None]]) -> tuple[float, float]:
    """Means on all and on moving pixels; a pair where nothing moves did not part there."""
    return float(np.mean([a for a, _ in pairs])), float(np.mean([m or 0.0 for _, m in pairs]))


def measured(found: Sequence[Future], metric: str, value: str) -> float | None:
    """The mean of a measured value; None where a job lacks it."""
    values = [future.metrics.get(metric, {}).get(value) for future in found]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def listed(words: Sequence[str]) -> str:
    """The words as one says them: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def verdict(name: str, text: str, holds: bool | None, numbers: Mapping[str, Any]) -> Verdict:
    """A verdict with its numbers rounded."""
    return Verdict(name, text, holds, _rounded(numbers))


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
