"""Draw an action chunk: its curves, its path, and a film of both beside the world video."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from strands_diffusers import actions, domains
from strands_diffusers.api import arrays, files, values
from strands_diffusers.api.access import Access
from strands_diffusers.api.request import DEFAULT_FPS, Reply, Request, ok, preview
from strands_diffusers.api.store import PREFIX
from strands_diffusers.errors import ConfigError, near_miss
from strands_diffusers.observations.media import read_clip
from strands_diffusers.outputs.animation import AnimationVisualizer
from strands_diffusers.outputs.timeseries import TimeseriesVisualizer
from strands_diffusers.outputs.trajectory import TrajectoryVisualizer
from strands_diffusers.plugin.base import Visualizer
from strands_diffusers.results import ActionSpace, Artifact, Rollout

MANIFEST = "manifest.json"
PARAMETERS = (
    "save_prefix", "interpret_xyz", "gripper_index", "cumulative_xyz", "world_video", "fps", "dim_labels", "domain", "prompt",
)  # fmt: skip
"""Upstream's seven, and `domain` and `prompt` for a file without a manifest beside it."""


@dataclass(frozen=True)
class Found:
    """What stands in the manifest beside an action file."""

    space: ActionSpace | None = None
    fps: float | None = None
    prompt: str = ""
    mode: str = "action_chunk"


def visualize(request: Request) -> Reply:
    """Draw `inputs` or `target`: nested lists, an action entry, JSON text, a .json path, or `cached:KEY`."""
    spec = values.resolve(request.parameters)
    for name in spec:
        if name not in PARAMETERS:
            raise ConfigError(
                f"visualize has no parameter {name!r}; it takes {', '.join(PARAMETERS)}.{near_miss(name, PARAMETERS)}"
            )
    given = request.inputs if request.inputs is not None else request.target
    if given is None:
        raise ConfigError(
            "action='visualize' needs inputs=ACTION (nested lists, a run's action entry, a .json path or cached:KEY)."
        )
    action_KTD, found = _action(given, request.access)
    rollout = _rollout(action_KTD, found, spec, request)
    artifacts = _draw(rollout, spec)
    width = action_KTD.shape[2]
    summary = {
        "num_chunks": int(action_KTD.shape[0]),
        "timesteps_per_chunk": int(action_KTD.shape[1]),
        "action_dim": int(width),
        "gripper_index": _gripper(spec, rollout.domain, width),
        "value_range": [float(action_KTD.min()), float(action_KTD.max())],
        "out_of_range_share": round(actions.out_of_range_share(action_KTD), 6),
        "has_3d_path": any(each.type == "trajectory" for each in artifacts) and width >= 3,
        "space": "physical" if actions.decodable(rollout.space) else "model",
        "domain": rollout.domain,
        "fps": rollout.fps,
    }
    paths = [str(each.path) for each in artifacts]
    notes = []
    if spec.get("cumulative_xyz") and not actions.decodable(rollout.space):
        notes.append(
            "cumulative_xyz was not applied: zero motion is not 0 in model space, so a sum drifts. "
            "Name the domain for the decoded path (domain='bridge_orig_lerobot')."
        )
    return ok(
        "\n".join([f"action {list(action_KTD.shape)}", *(f"  {path}" for path in paths), *notes, preview(summary)]),
        data=summary,
        artifacts=paths,
        **({"notes": notes} if notes else {}),
    )


def _action(given: Any, access: Access) -> tuple[np.ndarray, Found]:
    """The chunks as float32 `[K, T, D]`, and what the manifest beside their file says."""
    found = Found()
    value = values.resolve(given, "inputs")
    if isinstance(given, str) and not given.startswith(PREFIX) and given.lstrip()[:1] not in ("[", "{"):
        found = _manifest(access.readable(Path(given), "inputs"))
    if isinstance(value, dict) and isinstance(value.get("domain"), str):
        found = Found(actions.space_of(value["domain"]), _number(value.get("fps")))
    array = arrays.action_array(value, "inputs", access)
    return np.ascontiguousarray(array if array.ndim == 3 else array[None]), found


def _manifest(path: Path) -> Found:
    """Domain, units and rate from a `manifest.json` beside the file, where there is one."""
    beside = path.parent / MANIFEST
    if not beside.is_file():
        return Found()
    try:
        record = json.loads(beside.read_text())["rollout"]
        space = ActionSpace(**record["space"]) if record.get("space") else None
        return Found(space, _number(record.get("fps")), str(record.get("prompt") or ""), str(record["mode"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{beside} is not the manifest of a job ({type(error).__name__}). Move the action file elsewhere."
        ) from error


def _rollout(action_KTD: np.ndarray, found: Found, spec: dict[str, Any], request: Request) -> Rollout:
    space = actions.space_of(str(spec["domain"])) if spec.get("domain") else found.space
    fps = _number(spec.get("fps")) or found.fps or request.fps or DEFAULT_FPS
    video = None
    if spec.get("world_video"):
        path = request.access.readable(Path(str(spec["world_video"])), "world_video")
        video = read_clip(path, name=f"world_video={path.name}").frames_FHWC
    details: dict[str, Any] = {}
    if spec.get("dim_labels") or spec.get("gripper_index") is not None:
        details["columns"] = _columns(spec, space, action_KTD.shape[2])
    return Rollout(
        mode=found.mode,
        prompt=str(spec.get("prompt") or found.prompt),
        action=action_KTD,
        video=video,
        fps=float(fps),
        space=space,
        details=details,
    )


def _columns(spec: dict[str, Any], space: ActionSpace | None, width: int) -> list[dict[str, str]]:
    """Names of the columns, and which one is the gripper, as the caller gives them."""
    known = [column.name for column in domains.get(space.domain).columns] if space else []
    labels = spec.get("dim_labels") or known or [f"action_{i}" for i in range(width)]
    right = isinstance(labels, list | tuple) and len(labels) == width and all(isinstance(each, str) for each in labels)
    if not right:
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


def _draw(rollout: Rollout, spec: dict[str, Any]) -> list[Artifact]:
    prefix = files.safe_prefix(str(spec["save_prefix"])) if spec.get("save_prefix") else None
    visualizers: list[Visualizer] = [TimeseriesVisualizer(), AnimationVisualizer()]
    if spec.get("interpret_xyz", True):
        visualizers.insert(1, TrajectoryVisualizer())
    from concurrent.futures import ThreadPoolExecutor

    def draw(visualizer: Visualizer) -> list[Artifact]:
        return files.write(lambda folder: visualizer.draw(rollout, folder), prefix)

    with ThreadPoolExecutor(max_workers=len(visualizers), thread_name_prefix="visualize") as pool:
        return [artifact for written in pool.map(draw, visualizers) for artifact in written]


def _number(value: Any) -> float | None:
    """A rate [Hz] above zero, or None. Raises: `ConfigError` for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < 1e6):
        raise ConfigError(f"fps must be a rate above 0 Hz, got {value!r}.")
    return float(value)
