"""Where a server listens, and to whom: the options that every server of this package has. Needs no web package."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from strands_diffusers.config.fields import in_range, positive, require
from strands_diffusers.errors import ConfigError, MissingPackageError
from strands_diffusers.remote import Units, check_regions

PACKAGES = ("msgpack", "prometheus_client", "starlette", "uvicorn", "websockets")


def of_this_machine(host: str) -> bool:
    """Whether the name or address is always the machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class WebConfig:
    """Base of the options of a server. A subclass sets `node`, the name of its config node, and adds its own."""

    node: ClassVar[str] = "serve"

    host: str = "127.0.0.1"
    """Address to listen on: this machine alone, or 0.0.0.0 for every machine that reaches it, which needs `token_env`."""

    port: int = 8000
    """Port to listen on, 0 to 65535; 0 takes a free one."""

    token_env: str | None = None
    """Name of the environment variable that holds the token which clients must send; null: none is asked for."""

    origins: list[str] = field(default_factory=list)
    """Further web pages that may connect, as https://robots.example; a page of the server's own always may."""

    max_message_mb: float = 16.0
    """The largest message that is taken [MB]."""

    stop_s: float = 30.0
    """How long the answers in work may take after SIGTERM [s]."""

    def __post_init__(self) -> None:
        at = self.node
        in_range(f"{at}.port", self.port, 0, 65535)
        positive(f"{at}.max_message_mb", self.max_message_mb)
        positive(f"{at}.stop_s", self.stop_s, "seconds")
        for origin in self.origins:
            require(
                bool(urlsplit(origin).netloc) and not urlsplit(origin).path,
                f"{at}.origins: {origin!r} is no origin. Use SCHEME://HOST[:PORT], as https://robots.example.",
            )
        require(
            self.loopback or self.token_env is not None,
            f"{at}.host={self.host} opens the server to other machines, which needs a token. Put one into an environment "
            f"variable and name it: export SERVE_TOKEN=..., {at}.token_env=SERVE_TOKEN",
        )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return of_this_machine(self.host)

    def token(self) -> str | None:
        """The token itself. Raises: `ConfigError` where the variable is not set."""
        if self.token_env is None:
            return None
        if not (token := os.environ.get(self.token_env, "").strip()):
            raise ConfigError(
                f"{self.node}.token_env={self.token_env}, and that environment variable is not set. Set it to the token."
            )
        return token

    def require_packages(self) -> None:
        """Raises: `MissingPackageError` where the extra is not installed."""
        if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
            raise MissingPackageError(
                f"strands-diffusers {self.node} needs {', '.join(missing)}: pip install 'strands-diffusers[serve]'"
            )


@dataclass
class ServeConfig(WebConfig):
    """`strands-diffusers serve`: how what clients send and get is called, and how much of it they may have."""

    image_key: str | None = "observation/image"
    """Name of the frame in an observation, uint8 [H, W, 3]; null: only `views`."""

    views: Any = None
    """Images that make one frame, {name: [left, top, right, bottom], ...}: each scaled into its region, in shares of it."""

    size: list[int] | None = None
    """Height and width of the frame that `views` make [pixels]."""

    prompt_key: str | None = "prompt"
    """Name of the task in an observation, which may leave it out; null: the task is the config's or the observation's own."""

    state_key: str | None = None
    """Name of the state in an observation, for policies that read one: a map of numbers, or an array; null: none is taken."""

    seed_key: str = "seed"
    """Name of the look's seed in an observation, which may leave it out: then it follows from `seed` and the look's number. A
    list of up to 64 asks for as many samples, which the model makes together."""

    reset_key: str = "reset"
    """Name of a flag in an observation, which may leave it out: true begins a new episode on the same connection."""

    session_key: str = "session_id"
    """Name of an episode's id in an observation, which may leave it out: another id begins another episode."""

    action_key: str | None = "actions"
    """Name of the actions in an answer; null: the answer is the actions alone."""

    units: Units = Units.model
    """What the actions of an answer are in: `model` space, or `physical` units."""

    max_sessions: int = 32
    """Clients at once, of policy and world together, 1 to 256; further ones are refused with status 503."""

    max_queue: int = 32
    """Requests that may wait, 1 to 256, each client with one at most; further ones are answered `busy`."""

    session_frames: int = 10_000
    """Frames of one session; then the client has to connect again."""

    idle_s: float = 600.0
    """A client that sends no whole message, or does not take its answer, for so long loses its place [s]."""

    answer_s: float = 300.0
    """How long the model may take for one answer [s]."""

    @property
    def images(self) -> list[str]:
        """Names of the images in an observation."""
        return [self.image_key] if self.image_key else list(self.views)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(bool(self.image_key or self.views), "serve.image_key=null takes no image. Name one, or serve.views.")
        views = check_regions("serve.views", self.views)
        require(
            bool(views) == (self.size is not None) and (self.image_key is None or not views),
            "serve.views={name:[left,top,right,bottom],...} make a frame of serve.size=[height,width], with serve.image_key=null.",
        )
        sizes = self.size if self.size is not None else [16, 16]
        require(
            len(sizes) == 2 and all(MIN_SIDE <= side <= MAX_SIDE for side in sizes),
            f"serve.size={self.size} is no size. Use serve.size=[480,640], height and width in pixels.",
        )
        in_range("serve.max_sessions", self.max_sessions, 1, 256)
        in_range("serve.max_queue", self.max_queue, 1, 256)
        in_range("serve.session_frames", self.session_frames, 1, 10**9)
        positive("serve.idle_s", self.idle_s, "seconds")
        positive("serve.answer_s", self.answer_s, "seconds")


MIN_SIDE, MAX_SIDE = 16, 4096
"""Smallest and largest side of a frame that is taken [pixels]."""
