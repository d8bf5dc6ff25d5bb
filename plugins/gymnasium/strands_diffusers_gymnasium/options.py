"""The options that the world and the source share."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from strands_diffusers import Source, World, errors


class Actions(str, Enum):
    """How the model's actions become the environment's."""

    box = "box"
    statistics = "statistics"
    affine = "affine"


@dataclass
class Options(World.Config):
    """Which environment, where its image is, what its actions are."""

    id: str | None = None
    """gymnasium's name, `CartPole-v1` or `my_module:MyEnv-v0`; null: that of the observation `gymnasium:`."""

    kwargs: Any = None
    """Further arguments of `gymnasium.make`: {name: value, ...}; null: none."""

    reset_options: Any = None
    """What `reset` is given as `options`: {name: value, ...}; null: nothing."""

    image_key: str | None = None
    """Name of the image in the environment's observation; any where it is the image itself; null: what `render()` shows."""

    size: list[int] | None = None
    """Frames are scaled to [height, width] [pixels], stretched if need be; null: the observation's size."""

    actions: Actions = Actions.box
    """box: -1 to 1 becomes the environment's bounds, or parts of equal width where its actions are numbered.
    statistics: decoded to physical units. affine: `scale` * value + `offset`."""

    columns: list[int] | None = None
    """Columns of the model's actions that the environment takes, in its order; null: all."""

    scale: list[float] | None = None
    """With actions=affine: one factor per column."""

    offset: list[float] | None = None
    """With actions=affine: one number per column, added after scaling."""

    clip: bool = False
    """Whether actions beyond the environment's bounds are cut to them; else they go to it as they are."""

    seed: int | None = None
    """Seed of the environment's start; null: the observation's where it is of `gymnasium:`, else the sample's."""

    adapter: str | None = None
    """MODULE:CLASS of a subclass of `strands_diffusers_gymnasium.Adapter`, for what differs."""

    def __post_init__(self) -> None:
        for name in ("kwargs", "reset_options"):
            if not isinstance(getattr(self, name), dict | None):
                raise errors.ConfigError(
                    f"world.{name}={getattr(self, name)} is no mapping. Use world.{name}={{name:value}}."
                )
        if self.size is not None and (len(self.size) != 2 or not all(16 <= side <= 4096 for side in self.size)):
            raise errors.ConfigError(
                f"world.size={self.size} is no size. Use world.size=[96,96], height and width in pixels."
            )
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise errors.ConfigError(f"world.seed={self.seed} is not within 0 and 2**32 - 1.")


@dataclass
class SourceOptions(Source.Config):
    """Options of the source `gymnasium`."""

    kwargs: Any = None
    """Further arguments of `gymnasium.make`: {name: value, ...}; null: none."""

    reset_options: Any = None
    """What `reset` is given as `options`: {name: value, ...}; null: nothing."""

    image_key: str | None = None
    """Name of the image in the environment's observation; null: what `render()` shows."""

    size: list[int] | None = None
    """Frames are scaled to [height, width] [pixels], stretched if need be; null: as they are."""

    adapter: str | None = None
    """MODULE:CLASS of a subclass of `strands_diffusers_gymnasium.Adapter`, for what differs."""

    domain: str | None = None
    """Domain that the observation belongs to; null: any."""

    fps: float | None = None
    """Steps per second of the environment's time [Hz]; null: it does not say."""
