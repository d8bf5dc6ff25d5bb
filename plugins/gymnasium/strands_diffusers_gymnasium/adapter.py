"""Between an environment and a world: where its image is, what its actions are, what state it gives. Subclass it for what differs.

Letters: H height, W width, D width of the model's actions, d of the environment's.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from strands_diffusers import ActionSpace, actions, domains, errors

if TYPE_CHECKING:
    import numpy as np

    from .options import Options

MOST_NUMBERS = 64
"""An observation of more numbers than this is no state that a record should hold."""


class Adapter:
    """An environment as a world sees it: `world.adapter=my_module:MyAdapter` names a subclass.

    Attributes: `env` (the gymnasium environment), `options` (the node `world` of the config), `space` (what the model's actions
    mean; None where no action is involved).
    """

    def __init__(self, env: Any, options: Options, space: ActionSpace | None = None) -> None:
        self.env, self.options, self.space = env, options, space

    def check(self) -> None:
        """Refuse actions that the environment cannot take. Raises: `ConfigError`."""
        self._map()

    def begin(self, seed: int | None) -> Any:
        """Reset the environment. Return its observation."""
        observation, _ = self.env.reset(seed=seed, options=self.options.reset_options or None)
        return observation

    def image(self, observation: Any) -> np.ndarray:
        """Return what is seen: uint8 `[H, W, 3]`, of any size. Raises: `ConfigError` where there is no image."""
        import numpy as np

        key = self.options.image_key
        if key is None:
            found, what = self.env.render(), "render()"
        elif isinstance(observation, Mapping):
            if key not in observation:
                raise errors.ConfigError(
                    f"the observation of {self.options.id} has no {key!r}; it has {', '.join(map(repr, observation))}. "
                    "Use world.image_key, or null for its own rendering."
                )
            found, what = observation[key], f"the observation's {key!r}"
        else:
            found, what = observation, "the observation"
        image = np.asarray(found)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise errors.ConfigError(
                f"{what} of {self.options.id} is {image.dtype} {list(image.shape)}, no image: uint8 [H, W, 3] is needed. "
                "Use world.image_key, or null for its own rendering."
            )
        return image

    def action(self, row: np.ndarray) -> Any:
        """Return what the environment's `step` takes for one action float32 `[D]` of the model."""
        import numpy as np

        columns, scale, offset = self._map()
        if self.options.actions == "statistics":
            assert self.space is not None
            row = actions.to_physical(row, self.space)
        values = np.asarray(row, np.float64)[columns] * scale + offset
        box = self.env.action_space
        if hasattr(box, "n"):
            part = math.floor((float(values[0]) + 1) / 2 * int(box.n))
            return int(box.start) + min(max(part, 0), int(box.n) - 1)
        values = values.reshape(box.shape).astype(box.dtype)
        return np.clip(values, box.low, box.high) if self.options.clip else values

    def state(self, observation: Any, info: Mapping[str, Any]) -> Any:
        """Return the environment's state, JSON-ready: an observation of a few numbers, else None."""
        import numpy as np

        if isinstance(observation, Mapping):
            found = {
                str(key): self.state(value, info) for key, value in observation.items() if key != self.options.image_key
            }
            return {key: value for key, value in found.items() if value is not None} or None
        values = np.asarray(observation)
        few = values.dtype.kind in "fiub" and values.size <= MOST_NUMBERS
        return values.astype(float).tolist() if few and np.isfinite(values.astype(float)).all() else None

    def _map(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """Columns of the model's actions that are taken, and what they are multiplied by and moved by."""
        import numpy as np

        options, space = self.options, self.space
        if space is None:
            raise errors.ConfigError("world=gymnasium needs a domain with actions. Use domain=NAME.")
        width = domains.get(space.domain).width or 0
        columns, box = list(options.columns or range(width)), self.env.action_space
        discrete = hasattr(box, "n")
        if not discrete and not (hasattr(box, "low") and hasattr(box, "high")):
            raise errors.ConfigError(
                f"{options.id} takes actions of {type(box).__name__}; world=gymnasium knows Box and Discrete. "
                "Use world.adapter=MODULE:CLASS, a subclass of strands_diffusers_gymnasium.Adapter."
            )
        needed = 1 if discrete else math.prod(box.shape)
        if len(columns) != needed or not all(0 <= column < width for column in columns):
            raise errors.ConfigError(
                f"{options.id} takes {needed} number{'s' * (needed != 1)} a step, and columns {columns} of the {width} of domain "
                f"{space.domain} are given. Use world.columns={list(range(min(needed, width)))}, for example."
            )
        scale, offset = np.ones(needed), np.zeros(needed)
        if options.actions == "affine":
            if options.scale is None or options.offset is None or {len(options.scale), len(options.offset)} != {needed}:
                raise errors.ConfigError(
                    f"world.actions=affine needs world.scale and world.offset of {needed} numbers each: "
                    "environment = scale * model + offset."
                )
            return columns, np.array(options.scale), np.array(options.offset)
        if options.actions == "statistics":
            if not actions.decodable(space):
                raise errors.ConfigError(
                    f"world.actions=statistics decodes actions, and domain {space.domain} has no statistics here. "
                    "Use world.actions=box or affine."
                )
        elif not discrete:
            low, high = np.ravel(box.low).astype(float), np.ravel(box.high).astype(float)
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                raise errors.ConfigError(
                    f"the actions of {options.id} have no bounds to map -1 to 1 to. Use world.actions=affine with world.scale and "
                    "world.offset."
                )
            scale, offset = (high - low) / 2, (high + low) / 2
        return columns, scale, offset


def open_environment(options: Options, space: ActionSpace | None = None) -> Adapter:
    """Make the environment and its adapter. Raises: `ConfigError` where that cannot be."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures are asked for, never a window
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import gymnasium

    cls = _adapter_class(options.adapter)
    mode = {} if options.image_key is not None else {"render_mode": "rgb_array"}
    try:
        env = gymnasium.make(options.id, **{**mode, **(options.kwargs or {})})
    except (gymnasium.error.Error, ImportError, TypeError, ValueError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise errors.ConfigError(f"world.id={options.id} cannot be made: {type(error).__name__}: {text}") from error
    return cls(env, options, space)


def _adapter_class(name: str | None) -> type[Adapter]:
    if name is None:
        return Adapter
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise errors.ConfigError(f"world.adapter={name} cannot be loaded: {error}. Use MODULE:CLASS.") from error
    if not (isinstance(found, type) and issubclass(found, Adapter)):
        raise errors.ConfigError(f"world.adapter={name} is no subclass of strands_diffusers_gymnasium.Adapter.")
    return found


def fitted(image: np.ndarray, size: Sequence[int] | None, stretch: bool = False) -> np.ndarray:
    """The image at `size` (H, W), averaged down or interpolated up; None: as it is. Raises: `ConfigError` for other proportions."""
    import numpy as np
    from PIL import Image

    height, width = image.shape[:2]
    if size is None or [height, width] == list(size):
        return np.ascontiguousarray(image)
    if not stretch and abs(height * size[1] / (width * size[0]) - 1) > 0.02:
        raise errors.ConfigError(
            f"the environment's image is {width}x{height}, and the observation {size[1]}x{size[0]}: other proportions. Use "
            f"world.size=[{size[0]},{size[1]}] to stretch it, or an observation of observation=gymnasium:ID."
        )
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def merged(options: Options, details: Mapping[str, Any]) -> Options:
    """The options, with what they leave open taken from an observation of `gymnasium:`."""
    if details.get("kind") != "gymnasium" or options.id not in (None, details["id"]):
        return options
    given = {
        name: details[name]
        for name in ("id", "kwargs", "image_key", "reset_options", "adapter", "size")
        if not getattr(options, name)
    }
    return dataclasses.replace(options, **given)
