"""A window of an episode as an observation; every episode's actions as a stream.

Letters: F frames, T steps, D action width.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from strands_diffusers import (
    ActionRows,
    ActionSpace,
    Address,
    Observation,
    ObservationRequest,
    actions,
    domains,
    errors,
    usable_frames,
)
from strands_diffusers_lerobot.cameras import choose_cameras, concat_view, read_frames
from strands_diffusers_lerobot.choices import Polarity, Rotation, Units
from strands_diffusers_lerobot.dataset import Dataset, open_dataset
from strands_diffusers_lerobot.mapping import Mapping, pieces
from strands_diffusers_lerobot.rows import Rows, read_rows, stream_rows

_Choice = TypeVar("_Choice", bound=Enum)


def read_window(parsed: Address, config: Any, request: ObservationRequest) -> Observation:
    """Read the window at an address, as many frames as `request` needs; `config` holds what the address leaves open."""
    dataset = open_dataset(parsed.local, f"lerobot:{parsed.path}")
    episode = dataset.episode(parsed.integer("episode", 0))
    start, stride = parsed.integer("start", 0), parsed.stride(dataset.fps, dataset.name)
    if start >= episode.length:
        raise errors.ObservationError(
            f"{dataset.name}: episode {episode.index} has {episode.length} frames, 0 to {episode.length - 1}; "
            f"@start:{start} lies beyond them."
        )
    there = 1 + (episode.length - 1 - start) // stride
    count = there if request.num_frames is None else min(there, request.num_frames)
    mapping, why = _mapping(dataset, parsed, config, request.domain)
    rows = read_rows(dataset, episode, mapping.columns if mapping else [])
    cameras = choose_cameras(dataset, episode, parsed.options.get("camera") or config.camera)
    views = [read_frames(dataset, episode, key, start, stride, count) for key in cameras]
    rate, name = dataset.fps / stride, f"{dataset.name}@episode:{episode.index}"
    again = parsed.at_rate(dataset.fps, request.fps)
    usable, note = usable_frames(
        count, rate, request, name, paired=mapping is not None and count > 1,
        instead=again and f"observation=lerobot:{again}",
    )  # fmt: skip
    details: dict[str, Any] = {
        "kind": "lerobot",
        "version": dataset.info["codebase_version"],
        "episode": episode.index,
        "start": start,
        "stride": stride,
        "length": episode.length,
        "camera": "+".join(cameras),
        "actions": why,
    }
    if note:
        details["reference"] = note
    return Observation(
        frames=(views[0] if len(views) == 1 else concat_view(*views))[:usable],
        fps=rate,
        actions=None if mapping is None else _actions(dataset, mapping, rows, request, start, stride),
        task=parsed.options.get("task") or dataset.task(episode, rows, start),
        domain=dataset.marker.get("domain"),
        details=details,
        view_point=None if len(views) == 1 else "concat_view",
    )


def read_action_rows(parsed: Address, config: Any, domain: str) -> ActionRows:
    """Return the actions of every episode (or of `@episode:N`), which are read as they are iterated over."""
    dataset = open_dataset(parsed.local, f"lerobot:{parsed.path}")
    mapping, why = _mapping(dataset, parsed, config, domain)
    if mapping is None:
        raise errors.ObservationError(f"{dataset.name}: {why}")
    if mapping.units is Units.model:
        raise errors.ObservationError(
            f"{dataset.name} holds actions in model space: they have statistics applied to them already."
        )
    stride = parsed.stride(dataset.fps, dataset.name)
    _one_step(dataset, mapping, stride)
    episodes: Iterator[Rows]
    if "episode" in parsed.options:
        episodes = iter([read_rows(dataset, dataset.episode(parsed.integer("episode", 0)), mapping.columns)])
    else:
        episodes = stream_rows(dataset, mapping.columns)
    held = bool(dataset.marker.get("last_row_repeats"))
    return ActionRows(_pieces(episodes, mapping, domain, stride, held), dataset.fps / stride)


def list_episodes(parsed: Address) -> list[tuple[str, int]]:
    """Every episode of the dataset, or the one that is named: its address, and its frames at the address's rate."""
    dataset = open_dataset(parsed.local, f"lerobot:{parsed.path}")
    stride = parsed.stride(dataset.fps, dataset.name)
    named = [dataset.episode(parsed.integer("episode", 0)).index] if "episode" in parsed.options else []
    rest = {key: value for key, value in parsed.options.items() if key not in ("episode", "start")}
    return [
        (str(Address(str(parsed.local), {"episode": str(number), **rest})), 1 + (dataset.lengths[number] - 1) // stride)
        for number in named or dataset.lengths
    ]


def _mapping(dataset: Dataset, parsed: Address, config: Any, domain: str | None) -> tuple[Mapping | None, str]:
    """The stated mapping, and a sentence on it; None where none was stated or no action is asked for."""
    options, marker = parsed.options, dataset.marker
    columns = options.get("actions") or config.actions
    if domain is None or columns == "none":
        return None, "not asked for"
    if columns is None and "action" in dataset.features and {"units", "domain"} <= set(marker):
        units = _choice(Units, marker["units"], "units")
        gripper = marker.get("gripper")
        stated = Mapping(
            pieces("action"), units, gripper=None if gripper is None else _choice(Polarity, gripper, "gripper")
        )
        return stated, f"as the export says: {units.value} {marker['domain']}"
    if columns is None:
        return None, (
            f"not mapped: say which of {', '.join(dataset.columns) or 'its columns'} "
            "are the actions with @actions: and @units: (or source.lerobot.*)."
        )
    asked = options.get("units")
    units_or_none = config.units if asked is None else _choice(Units, asked, "units")
    if units_or_none is None:
        raise errors.ObservationError(
            f"@actions:{columns} needs @units: (or source.lerobot.units), one of {', '.join(u.value for u in Units)}: "
            "what these columns hold is not guessed."
        )
    turn, grip, body = options.get("rotation"), options.get("gripper"), options.get("body")
    return Mapping(
        pieces(columns),
        units_or_none,
        config.rotation if turn is None else _choice(Rotation, turn, "rotation"),
        config.gripper if grip is None else _choice(Polarity, grip, "gripper"),
        tuple(config.body or ()) if body is None else _floats(body),
    ), f"{columns} as {units_or_none.value}"


def _actions(
    dataset: Dataset, mapping: Mapping, rows: Rows, request: ObservationRequest, start: int,
    stride: int,
) -> np.ndarray | None:  # fmt: skip
    """Row t moves frame t to frame t + 1: one fewer than the frames asked for, where the episode has them."""
    if request.domain is None or request.num_frames == 1:
        return None
    _one_step(dataset, mapping, stride)
    end = len(rows["frame_index"])
    if mapping.units is not Units.poses and dataset.marker.get("last_row_repeats"):
        end -= 1  # the export's last frame has no action of its own
    steps = (end - 1 - start) // stride if mapping.units is Units.poses else end - start
    wanted = steps if request.num_frames is None else min(steps, request.num_frames - 1)
    if wanted < 1:
        return None
    last = start + stride * (wanted if mapping.units is Units.poses else wanted - 1)
    window = {name: values[start : last + 1 : stride] for name, values in rows.items()}
    return mapping.model(window, request.space or actions.space_of(request.domain))


def _one_step(dataset: Dataset, mapping: Mapping, stride: int) -> None:
    if stride != 1 and mapping.units is not Units.poses:
        raise errors.ObservationError(
            f"{dataset.name}: rows of skipped frames cannot be left out of {mapping.units.value} actions. "
            "Read every frame, map poses (@units:poses), or leave the actions out (@actions:none)."
        )


def _pieces(episodes: Iterator[Rows], mapping: Mapping, domain: str, stride: int, held: bool) -> Iterator[np.ndarray]:
    """The actions of each episode that has two frames at least, [T, D]; `held`: its last row repeats the one before."""
    for rows in episodes:
        window = {name: values[::stride] for name, values in rows.items()}
        if len(window["frame_index"]) >= 2:
            actions_TD = mapping.physical(window, domain)
            actions.check_actions(actions_TD, domain, units="physical")
            yield _open_is_1(actions_TD[:-1] if held else actions_TD, mapping, domain)


def _open_is_1(actions_TD: np.ndarray, mapping: Mapping, domain: str) -> np.ndarray:
    """Physical actions with the gripper as the statistics have it: 1 is open."""
    if mapping.gripper is None:
        return actions_TD
    factor_D, summand_D = actions.gripper_map(ActionSpace(domains.get(domain).name, gripper=mapping.gripper.value))
    return np.asarray((actions_TD - summand_D) / factor_D)


def _choice(kind: type[_Choice], text: str, key: str) -> _Choice:
    names = [member.value for member in kind]
    if text not in names:
        raise errors.ObservationError(f"@{key}:{text} is not one of {', '.join(names)}.{errors.near_miss(text, names)}")
    return kind(text)


def _floats(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("+"))
    except ValueError as error:
        raise errors.ObservationError(
            f"@body:{text} is not x+y+z [m] + roll+pitch+yaw [deg], such as @body:0+0+0+0+0+90."
        ) from error
