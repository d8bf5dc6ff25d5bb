"""The enumerations that users type, and the checks that config fields share."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from strands_diffusers.errors import ConfigError

MAX_CHUNKS, MAX_FRAMES, MAX_SIDE, MAX_GUIDANCE = 10_000, 100_000, 16_384, 1000
"""Beyond these a request is a slip of the keyboard; what a machine can hold is worked out before the load."""

TIERS = (256, 480, 704, 720)
"""Resolution tiers of Cosmos 3, each a set of canvases."""

LIMITS: dict[str, tuple[float, float, str]] = {
    "num_inference_steps": (1, 1000, "steps"),
    "guidance_scale": (0, MAX_GUIDANCE, ""),
    "num_samples": (1, 4096, ""),
    "num_frames": (1, MAX_FRAMES, "frames"),
    "height": (16, MAX_SIDE, "pixels"),
    "width": (16, MAX_SIDE, "pixels"),
}
"""Least and greatest value and unit of options, by the name that they have in whatever node."""


class Mode(str, Enum):
    """What is asked for. The first three match `CosmosActionCondition.mode` in diffusers."""

    policy = "policy"
    forward_dynamics = "forward_dynamics"
    inverse_dynamics = "inverse_dynamics"
    closed_loop = "closed_loop"
    text = "text"
    image = "image"
    video = "video"


class Dtype(str, Enum):
    """Weight and compute precision. `auto`: bfloat16 on CUDA and for the embedded model, else float32."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Offload(str, Enum):
    """How weights move between host and accelerator, in diffusers' own terms."""

    none = "none"
    model = "model"
    sequential = "sequential"
    group = "group"


class ViewPoint(str, Enum):
    """Camera label that diffusers turns into the framing sentence of the action caption."""

    ego_view = "ego_view"
    third_person_view = "third_person_view"
    wrist_view = "wrist_view"
    concat_view = "concat_view"


class Normalization(str, Enum):
    """Which map between physical units and model space the statistics stand for."""

    quantile = "quantile"
    min_max = "min_max"
    mean_std = "mean_std"


class Gripper(str, Enum):
    """What a gripper value means to whoever reads physical actions."""

    open_is_1 = "open_is_1"
    closed_is_1 = "closed_is_1"
    closed_is_minus_1 = "closed_is_minus_1"
    open_is_minus_1 = "open_is_minus_1"


class Keep(str, Enum):
    """Which end of a longer clip conditions a video-to-world rollout."""

    first = "first"
    last = "last"


class Perturb(str, Enum):
    """How the given actions are changed before a forward-dynamics rollout: a test of whether the model obeys them."""

    none = "none"
    shuffled = "shuffled"
    zero = "zero"
    mirrored = "mirrored"


class Scene(str, Enum):
    """Scenes that a model of one narrow world can be trained on; `observations.scenes` knows how each looks."""

    pusht = "pusht"


def require(holds: bool, message: str) -> None:
    """Raise `ConfigError(message)` unless `holds`."""
    if not holds:
        raise ConfigError(message)


def in_range(name: str, value: float | None, low: float, high: float = math.inf, unit: str = "") -> None:
    """Refuse a number outside [low, high], and one that is not finite; None passes."""
    if value is None or (math.isfinite(value) and low <= value <= high):
        return
    wanted = f">= {low:g}" if math.isinf(high) else f"from {low:g} to {high:,}"
    example = min(max(low, 1), high)
    raise ConfigError(
        f"{name} must be {wanted}{f' {unit}' if unit else ''}, got {value}. Type {name}={example:g}, for example."
    )


def positive(name: str, value: float | None, unit: str = "", example: float = 10, instead: str = "") -> None:
    """Refuse a number that is not above zero and finite; None passes."""
    if value is None or (math.isfinite(value) and value > 0):
        return
    remedy = instead or f"Type {name}={example:g}, for example."
    raise ConfigError(f"{name} must be > 0{f' {unit}' if unit else ''}, got {value}. {remedy}")


def within_limits(node_name: str, node: object) -> None:
    """Refuse options of a node that are beyond their `LIMITS`, rates and shifts that are not above zero."""
    for name, (low, high, unit) in LIMITS.items():
        in_range(f"{node_name}.{name}", getattr(node, name, None), low, high, unit)
    positive(f"{node_name}.fps", getattr(node, "fps", None), "Hz", 24)
    positive(f"{node_name}.flow_shift", getattr(node, "flow_shift", None), example=5)


def changed(node: Any, names: Sequence[str], change: Callable[[Any], Any]) -> Any:
    """A copy of a config node with what stands at the end of the names changed; the node itself where nothing does."""
    name, *rest = names
    value = node.get(name) if isinstance(node, dict) else getattr(node, name, None)
    if value is None or (new := changed(value, rest, change) if rest else change(value)) is value:
        return node
    return {**node, name: new} if isinstance(node, dict) else dataclasses.replace(node, **{name: new})


def require_text(name: str, text: str | None) -> None:
    """Refuse characters that no file, shell or tokenizer holds: NUL and lone surrogates."""
    bad = next((letter for letter in text or "" if letter == "\x00" or "\ud800" <= letter <= "\udfff"), None)
    require(bad is None, f"{name} holds the character U+{ord(bad or ' '):04X}, which no text can hold. Leave it out.")
