"""`strands-diffusers play`: compose and check as every job is, load the model, show the page until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

from strands_diffusers.config import options
from strands_diffusers.errors import ConfigError
from strands_diffusers.play.options import PlayConfig
from strands_diffusers.plugin.choices import prepare


def play(arguments: list[str], say: Callable[[str], None]) -> int:
    """Act in the world model yourself, in the browser; overrides as for a rollout in condition=closed_loop."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    if wrong := [each for each in arguments if "=" not in each]:
        raise ConfigError(
            f"play takes overrides, as play.port=8765 observation=sample:push_up; {wrong[0]!r} is none. See docs/play.md."
        )
    prepare()
    config, overrides = options.split("play", PlayConfig, arguments)
    config.require_packages()
    config.token()
    from strands_diffusers.play.session import Session
    from strands_diffusers.play.web import server

    session = Session(overrides, config.memory_mb)
    for note in session.notes:
        say(f"warning: {note}")
    begun = time.perf_counter()
    listening, door = server(session, config)  # a port that is taken is said before the model is loaded
    session.offered()
    door.worked(session.warm)
    token = f"?token=${config.token_env}" if config.token_env else ""
    say(
        f"open {listening.address}/{token} in a browser (ready after {time.perf_counter() - begun:.1f} s; Ctrl-C ends it)"
    )
    listening.run()
    door.close()
    say(f"stopped; saved runs: {session.directory}" if session.saved else "stopped; nothing was saved")
    return 0
