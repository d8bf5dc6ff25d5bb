"""`strands-diffusers serve`: compose and check as every job is, load the model, listen until SIGTERM."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from strands_diffusers import loop, remote
from strands_diffusers.config import compose, options
from strands_diffusers.errors import ConfigError
from strands_diffusers.plugin.choices import prepare
from strands_diffusers.runner import job
from strands_diffusers.serve.options import ServeConfig

if TYPE_CHECKING:
    from strands_diffusers.serve.app import Server

FIXED = ("condition=closed_loop", "output=[]", "visualizer=[]", "metric=[]", "tracker=none")
UNUSED = ("output", "visualizer", "metric", "tracker", "output_dir", "resume", "sweep")
"""Keys that nothing is written, drawn, measured or logged by; `score` is what `policy=best_of` may choose by."""


def checked(overrides: Sequence[str]) -> tuple[ServeConfig, loop.Cast]:
    """The server's options, and who is served, checked. Raises: a `RequestError`."""
    prepare()
    if flags := [each for each in overrides if each.startswith("-")]:
        raise ConfigError(f"serve takes overrides, as serve.port=8000 policy=model; {flags[0]!r} is none.")
    config, rest = options.split("serve", ServeConfig, overrides)
    config.require_packages()
    config.token()
    named = {each.partition("=")[0].split(".")[0] for each in rest}
    if useless := [key for key in UNUSED if key in named]:
        raise ConfigError(f"serve writes, draws, measures and logs nothing: leave {useless[0]}= out.")
    rest = [each for each in rest if each != FIXED[0]]
    if any(each.startswith("condition=") for each in rest):
        raise ConfigError("serve serves what acts in condition=closed_loop; leave condition= out.")
    cast = job.check(compose.compose([*FIXED, *rest])).cast
    assert cast is not None
    for group, item in (("policy", cast.policy), ("world", cast.world)):
        if item.name == "server":
            raise ConfigError(f"{group}=server is served by another server already. Name that one to your clients.")
    return config, cast


def server(config: ServeConfig, cast: loop.Cast) -> Server:
    """A bound server of what is checked; nothing is loaded. Raises: `ConfigError`."""
    from strands_diffusers.serve.app import Server, Stopping
    from strands_diffusers.serve.sessions import Sessions

    stopping = Stopping()
    return Server(Sessions(config, cast, stopping).app, config, stopping)


def warm(config: ServeConfig, cast: loop.Cast) -> float:
    """Answer one look and begin one episode at the config's own observation, so that the model is loaded; seconds of it."""
    from strands_diffusers.serve.endpoints import PolicyEndpoint, WorldEndpoint

    begun = time.perf_counter()
    assert cast.setting.observation.frames is not None
    frame = cast.setting.observation.frames[0]
    seen = dict.fromkeys(config.images, frame)
    for endpoint, message in (
        (PolicyEndpoint(config, cast), seen),
        (WorldEndpoint(config, cast), {"type": "reset"}),
    ):
        try:
            remote.pack(endpoint.ask(message)(lambda *_: None))
        finally:
            endpoint.close()
    return time.perf_counter() - begun


def serve(arguments: list[str], say: Callable[[str], None]) -> int:
    """Serve a policy and a world to other programs, over websockets: openpi's protocol; overrides as for a rollout."""
    if arguments in (["--help"], ["-h"]):
        say(f"strands-diffusers serve [KEY=VALUE ...]\n\n{serve.__doc__}\n\nKeys of a run, and:")
        say("\n".join(f"  serve.{each.name}={each.default}" for each in fields(ServeConfig) if each.name != "origins"))
        say("What each means: docs/serving.md, docs/config.md.")
        return 0
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config, cast = checked(arguments)
    listening = server(config, cast)
    taken = warm(config, cast)
    at = listening.address.replace("http", "ws")
    say(f"policy={cast.policy.name}  {at}/       (openpi's protocol)")
    say(f"world={cast.world.name}   {at}/world")
    say(f"warm after {taken:.1f} s; {listening.address}/healthz, /metrics; SIGTERM or Ctrl-C ends it")
    sys.stdout.flush()
    listening.run()
    say("stopped")
    return 0
