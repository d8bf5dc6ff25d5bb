"""`observation=gymnasium:ID@seed:N`: what an environment shows when it begins."""

from __future__ import annotations

import re
from typing import Any

from strands_diffusers import Observation, ObservationRequest, Source, errors

from .adapter import fitted, open_environment
from .options import Options, SourceOptions

_ADDRESS = re.compile(r"(?P<id>[\w.:/-]+?)(?:@seed:(?P<seed>\d{1,9}))?(?:@task:(?P<task>[^@]+))?")
_FORM = "gymnasium:ID[@seed:N][@task:TEXT], for example gymnasium:CartPole-v1@seed:3"


class GymnasiumSource(Source):
    """The first frame of an environment, reset with a seed, for `world=gymnasium` to begin there.

    Address: `ID[@seed:N][@task:TEXT]`; the seed is 0 where none is given. Options: `source.gymnasium.*`.
    Shapes: frames uint8 `[1, H, W, 3]`. There are no actions and no frames that follow.
    Raises: `ObservationError` for an address that is not of this form or an environment that cannot be made.
    """

    scheme = "gymnasium"
    Config = SourceOptions

    def read(self, address: str, request: ObservationRequest) -> Observation:
        """Make the environment, reset it and look."""
        found, config = _ADDRESS.fullmatch(address), self.config
        if found is None:
            raise errors.ObservationError(f"gymnasium:{address} names no environment. Type {_FORM}.")
        shared: dict[str, Any] = {
            "id": found["id"],
            "kwargs": config.kwargs,
            "reset_options": config.reset_options,
            "image_key": config.image_key,
            "adapter": config.adapter,
            "size": None if config.size is None else list(config.size),
        }
        seed = int(found["seed"] or 0)
        try:
            adapter = open_environment(Options(**shared))
            try:
                frame = fitted(adapter.image(adapter.begin(seed)), config.size, stretch=True)
            finally:
                adapter.env.close()
        except errors.ConfigError as error:
            raise errors.ObservationError(str(error)) from error
        details = {"kind": "gymnasium", "seed": seed, **shared}
        task = found["task"]
        return Observation(frame[None], config.fps, task=task, domain=config.domain, details=details)
