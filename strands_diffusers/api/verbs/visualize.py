"""Draw an action chunk: its curves, its path, and a video of both beside the world video."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import actions, domains, records
from strands_diffusers.api import files, media, values
from strands_diffusers.api.access import Access, plain_name
from strands_diffusers.api.request import DEFAULT_FPS, Reply, Request, ok, only, preview, rate
from strands_diffusers.api.store import PREFIX
from strands_diffusers.errors import ActionError, ConfigError
from strands_diffusers.observations.window import same_rate
from strands_diffusers.outputs.animation import AnimationVisualizer
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer
from strands_diffusers.outputs.trajectory import TrajectoryVisualizer
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.records import SampleRecord
from strands_diffusers.results import ActionSpace, Artifact, Rollout
from strands_diffusers.runner.control import Control

PARAMETERS: dict[str, type | tuple[type, ...]] = {
    "save_prefix": str, "interpret_xyz": bool, "gripper_index": int, "cumulative_xyz": bool, "world_video": (str, Path),
    "fps": (int, float), "dim_labels": (list, tuple), "domain": str, "prompt": str,
}  # fmt: skip
"""Upstream's seven, and `domain` and `prompt` for a file without a manifest beside it."""

MAX_STEPS = 20_000
"""Longest action that is drawn [steps]; its animation has a frame for each."""


def visualize(request: Request) -> Reply:
    """Draw `inputs` or `target`: nested lists, an action entry, JSON text, a .json path, or `cached:KEY`."""
    spec = only(values.resolve(request.parameters), PARAMETERS, "visualize")
    given = request.inputs if request.inputs is not None else request.target
    if given is None:
        raise ConfigError(
            "action='visualize' needs inputs=ACTION (nested lists, a run's action entry, a .json path or cached:KEY)."
        )
    action_KTD, found = _action(given, request.access)
    if (steps := action_KTD.shape[0] * action_KTD.shape[1]) > MAX_STEPS:
        raise ActionError(f"inputs has {steps:,} steps; at most {MAX_STEPS:,} are drawn. Give a part of it.")
    rollout = _rollout(action_KTD, found, spec, request)
    artifacts = _draw(rollout, spec, request.control)
    count, size, width = action_KTD.shape
    physical = actions.decodable(rollout.space)
    summary = {
        "num_chunks": count,
        "timesteps_per_chunk": size,
        "action_dim": width,
        "gripper_index": _gripper(spec, rollout.domain, width),
        "value_range": [float(action_KTD.min()), float(action_KTD.max())],
        "out_of_range_share": round(actions.out_of_range_share(action_KTD), 6),
        "has_3d_path": any(each.type == "trajectory" for each in artifacts) and width >= 3,
        "space": "physical" if physical else "model",
        "domain": rollout.domain,
        "fps": rollout.fps,
    }
    paths = [str(each.path) for each in artifacts]
    notes = []
    if spec.get("cumulative_xyz") and not physical:
        notes.append(
            "cumulative_xyz was not applied: zero motion is not 0 in model space, so a sum drifts. "
            "Name the domain for the decoded path (domain='bridge_orig_lerobot')."
        )
    lines = [f"action {list(action_KTD.shape)}", *(f"  {path}" for path in paths), *notes, preview(summary)]
    return ok("\n".join(lines), data=summary, artifacts=paths, notes=notes)


def _action(given: Any, access: Access) -> tuple[np.ndarray, SampleRecord]:
    """The chunks as float32 `[K, T, D]`, and what the record beside their file says."""
    found = SampleRecord()
    value = values.resolve(given, "inputs")
    if isinstance(given, str) and not given.startswith(PREFIX) and given.lstrip()[:1] not in ("[", "{"):
        found = _recorded(access.readable(given, "inputs"), access)
    if isinstance(value, dict) and isinstance(value.get("domain"), str):
        found = SampleRecord(space=actions.space_of(value["domain"]), fps=rate(value.get("fps"), "fps"))
    array = media.actions(value, "inputs", access)
    return np.ascontiguousarray(array if array.ndim == 3 else array[None]), found


def _recorded(path: Path, access: Access) -> SampleRecord:
    """Domain, units and rate from the record of the job whose file this is, where there is one."""
    for folder in filter(access.covers, (path.parent, path.parent.parent)):
        for name in (records.MANIFEST, records.FAILURE):
            access.readable(folder / name, "inputs")
        if (record := records.read(folder)) is None:
            continue
        if record.status == "damaged":
            raise ConfigError(f"the record beside {path.name} cannot be used. {record.error} Move the file elsewhere.")
        for sample in record.samples:
            if path in [folder / entry.path for entry in record.files_of(sample)]:
                return sample
    return SampleRecord()


def _rollout(action_KTD: np.ndarray, found: SampleRecord, spec: dict[str, Any], request: Request) -> Rollout:
    """What is drawn, at its own rate: as given, as recorded, as the domain says, or as the video beside it runs.

    Raises: `ConfigError` where two of these say different rates.
    """
    space = actions.space_of(spec["domain"]) if spec.get("domain") else found.space
    video = None
    stated: dict[str, float] = {}
    if spec.get("world_video"):
        path = request.access.readable(spec["world_video"], "world_video")
        clip = media.bounded_clip(path, f"world_video={path.name}")
        video, stated["the video"] = clip.frames_FHWC, clip.fps
    fps = rate(spec.get("fps"), "fps") or found.fps or request.fps
    if fps is None:
        if space is not None and (own := domains.get(space.domain).fps):
            stated["its domain"] = float(own)
        if len(stated) == 2 and not same_rate(*stated.values()):
            both = " and ".join(f"{each:g} Hz ({who})" for who, each in stated.items())
            raise ConfigError(f"the rate of the actions could be {both}. Say which with fps=RATE.")
        fps = next(iter(stated.values()), DEFAULT_FPS)
    named = spec.get("dim_labels") or spec.get("gripper_index") is not None
    return Rollout(
        mode=found.mode or "action_chunk",
        prompt=str(spec.get("prompt") or found.prompt),
        action=action_KTD,
        video=video,
        fps=float(fps),
        space=space,
        details={"columns": _columns(spec, space, action_KTD.shape[2])} if named else {},
    )


def _columns(spec: dict[str, Any], space: ActionSpace | None, width: int) -> list[dict[str, str]]:
    """Names of the columns, and which one is the gripper, as the caller gives them."""
    known = [column.name for column in domains.get(space.domain).columns] if space else []
    labels = spec.get("dim_labels") or known or [f"action_{i}" for i in range(width)]
    if len(labels) != width or not all(isinstance(each, str) for each in labels):
        raise ConfigError(f"dim_labels must be {width} texts, one per column of the action.")
    gripper = _gripper(spec, None, width)
    return [{"name": label, "kind": "gripper" if i == gripper else "unknown"} for i, label in enumerate(labels)]


def _gripper(spec: dict[str, Any], domain: str | None, width: int) -> int | None:
    """Index of the gripper: as given, else of the domain's gripper column; never by position alone."""
    index = spec.get("gripper_index")
    if index is not None:
        if isinstance(index, bool) or not isinstance(index, int) or not -width <= index < width:
            raise ConfigError(f"gripper_index={index!r} is not a column; there are {width}, from 0.")
        return index % width
    kinds = [column.kind for column in domains.get(domain).columns] if domain else []
    return kinds.index("gripper") if "gripper" in kinds else None


def _draw(rollout: Rollout, spec: dict[str, Any], control: Control) -> list[Artifact]:
    prefix = plain_name(spec["save_prefix"], "save_prefix") if spec.get("save_prefix") else None
    path = [TrajectoryVisualizer()] if spec.get("interpret_xyz", True) else []
    visualizers: list[Visualizer] = [TimeseriesVisualizer(), *path, AnimationVisualizer()]

    def draw(visualizer: Visualizer) -> list[Artifact]:
        control(f"draw {visualizer.name}", 0, len(visualizers))
        return files.write(lambda folder: visualizer.draw(rollout, folder), prefix)

    with ThreadPoolExecutor(max_workers=len(visualizers), thread_name_prefix="visualize") as pool:
        return [artifact for written in pool.map(draw, visualizers) for artifact in written]
