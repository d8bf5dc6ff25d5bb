"""Where a server listens, and to whom: the options that every server of this package has. Needs no web package."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from strands_diffusers.config.fields import in_range, positive, require
from strands_diffusers.errors import ConfigError, MissingPackageError

PACKAGES = ("msgpack", "prometheus_client", "starlette", "uvicorn", "websockets")


def of_this_machine(host: str) -> bool:
    """Whether the name or address is always the machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass
class WebConfig:
    """Base of the options of a server. A subclass sets `_prefix`, the name of its config node, and adds its own."""

    _prefix: ClassVar[str] = "serve"

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
        at = self._prefix
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
                f"{self._prefix}.token_env={self.token_env}, and that environment variable is not set. Set it to the token."
            )
        return token

    def require_packages(self) -> None:
        """Raises: `MissingPackageError` where the extra is not installed."""
        if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
            raise MissingPackageError(
                f"strands-diffusers {self._prefix} needs {', '.join(missing)}: pip install 'strands-diffusers[serve]'"
            )
