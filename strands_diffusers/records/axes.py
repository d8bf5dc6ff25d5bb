"""What tells the jobs of a sweep apart: their swept overrides, and the keys of their configs that differ."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strands_diffusers.records.record import Record

UNSET = "—"
"""What stands for a key that a job does not have."""

_ELSEWHERE = ("output_dir", "resume")
"""Overrides that say where the folder is, which its reader knows."""

_ESCAPED = re.compile(r"\\([\\()\[\]{}:=, \t])")
"""What Hydra's grammar escapes in a value without quotes."""

_encode = json.JSONEncoder(ensure_ascii=False).encode  # made once: configs have many leaves

_MAX_AXES = 8
"""Jobs that share a folder without a sweep have no overrides in common: this many differing keys stand for them."""


@dataclass(frozen=True)
class Axis:
    """Something that was swept, and each job's value of it."""

    key: str
    """Its path in the config, or the config group: `sampler.guidance_scale`, `model`."""

    label: str
    """The shortest end of the path that no other axis has: `guidance_scale`."""

    values: tuple[str, ...]
    """The distinct values: numbers by size, anything else in order of appearance."""

    of_job: tuple[int, ...]
    """Index into `values` for each job."""


def swept(jobs: Sequence[Record]) -> tuple[list[Axis], dict[str, str]]:
    """Return what was swept, and the overrides that all jobs share.

    A value is taken from the job's resolved config where the override names one (`1` and `1.0` are then the same),
    else it is what was typed. Jobs that were not started with overrides are told apart by their configs.
    """
    configs = [flat(job.config) for job in jobs]
    leaves = [
        {key: value for key, value in config.items() if value != "{}"} for config in configs
    ]  # a choice without options
    typed = [parsed_overrides(job.overrides) for job in jobs]
    keys = list(dict.fromkeys(key for values in typed for key in values))
    found: dict[str, list[str]] = {}
    shared: dict[str, str] = {}
    for key in keys:
        values = [config.get(key, own.get(key, UNSET)) for config, own in zip(leaves, typed, strict=True)]
        if len(set(values)) > 1:
            found[key] = values
        else:
            shared[key] = values[0]
    if not found and len(jobs) > 1:
        found = dict(list(_differing(configs).items())[:_MAX_AXES])
    labels = _labels(list(found))
    distinct = {key: _ordered(values) for key, values in found.items()}
    return [
        Axis(key, labels[key], tuple(distinct[key]), tuple(map(distinct[key].index, values)))
        for key, values in found.items()
    ], shared


def differences(jobs: Sequence[Record]) -> dict[str, list[str]]:
    """Return every config key whose value differs between the jobs that have a config, with each job's value."""
    return _differing([flat(job.config) for job in jobs])


def counted(values: Sequence[str]) -> list[tuple[str, int]]:
    """Return the distinct values in order, each with how many jobs have it."""
    counts = Counter(values)
    return [(value, counts[value]) for value in _ordered(values)]


def parsed_overrides(overrides: Sequence[str]) -> dict[str, str]:
    """`["+a.b=1", "~c", "d='x y'"]` as `{"a.b": "1", "c": "—", "d": "x y"}`: keys without Hydra's signs."""
    found = {}
    for override in overrides:
        key, equals, value = override.lstrip("+").partition("=")
        removed = key.startswith("~")
        found[key.lstrip("~")] = UNSET if removed or not equals else _typed(value)
    return {key: value for key, value in found.items() if key not in _ELSEWHERE}


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """A nested config as `{"sampler.guidance_scale": "6"}`; lists and empty nodes are leaves."""
    found: dict[str, str] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{path}.")
        else:
            found[path] = text(value)
    return found


def text(value: Any) -> str:
    """A config value as people write it: `6` for 6.0, `null`, `true`, text without quotes."""
    if isinstance(value, float):
        return f"{value:.10g}"
    return value if isinstance(value, str) else _encode(value)


def _typed(value: str) -> str:
    """The value of an override without Hydra's quotes, numbers in one spelling."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1].replace(f"\\{value[0]}", value[0])
    try:
        number = json.loads(value)
    except ValueError:
        return _ESCAPED.sub(r"\1", value)
    return text(number) if isinstance(number, int | float) else value


def _differing(configs: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Keys on which the configs that are there disagree; a job without one has `—`."""
    present = [config for config in configs if config]
    keys = dict.fromkeys(key for config in present for key in config)
    return {
        key: [config.get(key, UNSET) for config in configs]
        for key in keys
        if len({config.get(key, UNSET) for config in present}) > 1
    }


def _ordered(values: Sequence[str]) -> list[str]:
    distinct = list(dict.fromkeys(values))
    try:
        return sorted(distinct, key=lambda value: (value == UNSET, float(value) if value != UNSET else 0.0))
    except ValueError:
        return sorted(distinct, key=lambda value: value == UNSET)


def _labels(keys: Sequence[str]) -> dict[str, str]:
    """The shortest tail of each dotted key that is unique among them."""
    labels = {}
    for key in keys:
        parts = key.split(".")
        tails = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        clear = (
            t for t in tails if not any(other != key and (other == t or other.endswith(f".{t}")) for other in keys)
        )
        labels[key] = next(clear, key)
    return labels
