"""Options of a verb, typed as every override is: `serve.port=8001` beside the config of the job that it serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from strands_diffusers.config import typed
from strands_diffusers.config.compose import COMPOSE_ERRORS
from strands_diffusers.config.explain import explain
from strands_diffusers.errors import ConfigError, near_miss

T = TypeVar("T")


def split(prefix: str, cls: type[T], overrides: Sequence[str]) -> tuple[T, list[str]]:
    """The options `prefix.KEY=VALUE` as a checked `cls`, a dataclass, and the other overrides as they are.

    Raises: `ConfigError`, in one line.
    """
    types = dict(typed.leaves(cls, f"{prefix}."))
    own = [override for override in overrides if override.startswith(f"{prefix}.")]
    node = OmegaConf.structured(cls)
    try:
        for override in typed.as_typed(own, types=types):
            parsed = OverridesParser.create().parse_override(override)
            key = str(parsed.key_or_group)
            if key not in types:
                raise ConfigError(f"{key!r} is not a config key.{near_miss(key, types)}")
            OmegaConf.update(node, key.partition(".")[2], parsed.value(), merge=False)
        return OmegaConf.to_object(node), [each for each in overrides if each not in own]  # type: ignore[return-value]
    except COMPOSE_ERRORS as error:
        raise explain(error, own) from error
