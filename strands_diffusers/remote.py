"""Programs that are asked over a websocket: the messages, which our own server speaks too, and a connection.

The protocol is openpi's: on connection the server sends a map of facts about itself. Then each message is a msgpack map, and
each answer another; a text message is the server's error. Arrays are maps of `__ndarray__`, `data`, `dtype` and `shape`, whose
keys are bytes. An API key goes into the header `Authorization: Api-Key KEY`. RoboArena and vLLM-Omni answer with the array of
actions itself, and the latter with a map of `type: error` where something failed.
Sources: Physical-Intelligence/openpi, packages/openpi-client and src/openpi/serving; robo-arena/roboarena, policy_server.py;
vllm-project/vllm-omni, entrypoints/openpi/connection.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from strands_diffusers.config.fields import in_range, positive, require
from strands_diffusers.errors import ConfigError, MissingPackageError, RolloutError, StrandsDiffusersError, one_line
from strands_diffusers.lazy import np

if TYPE_CHECKING:
    from strands_diffusers.plugin.acting import Progress

_POLL_S = 0.25
"""How often waiting looks whether the job was cancelled [s]."""

MOST_ITEMS = 200_000
"""More entries than this in the lists and maps of one message are refused: numbers belong into arrays."""


class Units(str, Enum):
    """What the actions of an answer are in: the model's space, or physical units (by the domain's statistics)."""

    model = "model"
    physical = "physical"


def check_regions(key: str, views: Any) -> dict[str, list[float]]:
    """The regions of a frame by the name of the image there, in shares of it. Raises: `ConfigError` for what is none."""
    views = views or {}
    require(isinstance(views, dict), f"{key}={views} is no mapping. Use {key}={{name:[0,0,0.5,1]}}.")
    for name, region in views.items():
        good = isinstance(region, list) and len(region) == 4 and all(isinstance(x, float | int) for x in region)
        good = good and 0 <= region[0] < region[2] <= 1 and 0 <= region[1] < region[3] <= 1
        require(good, f"{key}: {name}={region} is no region. Use [left, top, right, bottom] within 0 and 1.")
    return views  # type: ignore[no-any-return]


@dataclass
class RemoteConfig:
    """Where a server is, and what it may take. A subclass sets `node`, the name of its config node."""

    node: ClassVar[str]

    address: str = "ws://localhost:8000"
    """ws://HOST:PORT, or wss:// for an encrypted connection."""

    api_key_env: str | None = None
    """Name of the environment variable that holds the API key; null: none is sent."""

    connect_s: float = 10.0
    """How long connecting and the server's first message may take [s]."""

    answer_s: float = 60.0
    """How long an answer may take [s]."""

    max_message_mb: float = 16.0
    """The largest message that is taken [MB]."""

    reconnects: int = 2
    """How often a lost connection is made again for one answer."""

    def __post_init__(self) -> None:
        at = self.node
        require(
            self.address.startswith(("ws://", "wss://")) and len(self.address) > 6,
            f"{at}.address={self.address} is no websocket. Use {at}.address=ws://HOST:PORT.",
        )
        for name in ("connect_s", "answer_s", "max_message_mb"):
            positive(f"{at}.{name}", getattr(self, name))
        in_range(f"{at}.reconnects", self.reconnects, 0, 100)


class Lost(StrandsDiffusersError):  # noqa: N818 - passes to whoever decides what it means
    """There is no connection, or no longer."""


class WrongBytes(RolloutError):  # noqa: N818 - a kind of answer
    """A message that is no map."""


class Connection:
    """A connection to one server, made when it is first needed, and again where it was lost."""

    def __init__(self, config: RemoteConfig) -> None:
        self.config, self.kind = config, config.node
        self.name = f"the {self.kind} server {config.address}"
        self.facts: dict[str, Any] = {}
        """What the server said of itself."""
        self._socket: Any = None
        self._open = contextlib.ExitStack()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._socket is not None

    def check(self) -> None:
        """Refuse a missing package or key, and a server that does not answer. Raises: a `RequestError`."""
        config, at = self.config, self.kind
        for package in ("websockets", "msgpack"):
            if importlib.util.find_spec(package) is None:
                raise MissingPackageError(
                    f"{at}=server needs the package {package}: pip install 'strands-diffusers[remote]'"
                )
        variable = config.api_key_env
        if variable and not os.environ.get(variable):
            raise ConfigError(
                f"{at}.api_key_env={variable}, and that environment variable is not set. Set it to the key."
            )
        try:
            self.connect()
        except Lost as error:
            raise ConfigError(f"{at}=server: {error}. Start the server, or name another by {at}.address.") from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket = None
        self._open.close()

    def ask(self, content: dict[str, Any], progress: Progress | None = None, *, again: bool = True) -> Any:
        """Send a map and return the answer, a map or an array; with `again` over a new connection where the old one was lost.

        Raises: `RolloutError` for whatever is wrong with the server or its answer.
        """
        message, tries = pack(content), self.config.reconnects if again else 0
        for attempt in range(tries + 1):
            try:
                if self._socket is None:
                    self.connect(progress)
                return self._exchange(message, self.config.answer_s, progress)
            except Lost as error:
                self.close()
                if attempt == tries:
                    more = f" ({attempt + 1} tries)" if attempt else ""
                    raise RolloutError(f"{self.kind}=server: {error}{more}") from error
                _wait(min(0.5 * 2**attempt, 5.0), self.kind, progress)
            except BaseException:
                self.close()
                raise
        raise AssertionError("unreachable")

    def connect(self, progress: Progress | None = None) -> None:
        """Open the connection and read the server's facts. Raises: `Lost`."""
        from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
        from websockets.sync.client import connect

        config = self.config
        key = os.environ.get(config.api_key_env or "", "")
        try:
            opened = connect(
                config.address,
                additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
                compression=None,
                open_timeout=config.connect_s,
                ping_interval=None,  # a server that computes answers no ping
                close_timeout=1,
                max_size=int(config.max_message_mb * 1e6),
            )
            self._socket = self._open.enter_context(opened)
        except TimeoutError:
            raise Lost(f"{config.address} did not answer within {config.connect_s:g} s") from None
        except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
            said = (
                bytes(error.response.body or b"").decode("utf-8", "replace") if isinstance(error, InvalidStatus) else ""
            )
            detail = f"{one_line(error, 200)}{f': {said}' if said.strip() else ''}"
            raise Lost(f"cannot connect to {config.address}: {one_line(Lost(detail), 300)}") from error
        try:
            self.facts = mapping(self._exchange(None, config.connect_s, progress), self.name)
        except RolloutError as error:
            raise Lost(str(error)) from error

    def _exchange(self, message: bytes | None, limit_s: float, progress: Progress | None) -> Any:
        """Send a message, if any, and return what comes back. Raises: `Lost` for a connection that went, `RolloutError`."""
        from websockets.exceptions import ConnectionClosed

        end = time.monotonic() + limit_s
        try:
            if message is not None:
                self._socket.send(message)
            while True:
                try:
                    answer = self._socket.recv(timeout=max(0.0, min(_POLL_S, end - time.monotonic())))
                    break
                except TimeoutError:
                    if time.monotonic() >= end:
                        what = "answer" if message is not None else "first message"
                        raise RolloutError(f"{self.name} sent no {what} within {limit_s:g} s.") from None
                    if progress:
                        progress(self.kind, 0, 1)
        except ConnectionClosed as error:
            if error.sent and error.sent.code == 1009:
                limit = f"{self.kind}.max_message_mb={self.config.max_message_mb:g}"
                raise RolloutError(f"{self.name} sent more than {limit}.") from error
            raise Lost(f"{self.config.address} closed the connection ({one_line(error, 120)})") from error
        if isinstance(answer, str):
            last = answer.strip().splitlines()[-1:] or ["nothing"]
            raise RolloutError(one_line(RolloutError(f"{self.name} reports: {last[0]}")))
        found = unpack(answer, self.name)
        if isinstance(found, dict) and found.get("type") == "error":
            raise RolloutError(one_line(RolloutError(f"{self.name} reports: {found.get('message')}")))
        return found


def _wait(seconds: float, what: str, progress: Progress | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _POLL_S))
        if progress:
            progress(what, 0, 1)


def pack(value: Any) -> bytes:
    """A map of JSON-ready values and arrays, or an array, as a message."""
    import msgpack

    def array(item: Any) -> Any:
        return {b"__ndarray__": True, b"data": item.tobytes(), b"dtype": item.dtype.str, b"shape": item.shape}

    return bytes(msgpack.packb(value, default=array))


def unpack(message: bytes, who: str) -> Any:
    """What a message holds; its arrays lie in the message and cannot be written to. `who` sent it.

    Raises: `WrongBytes` for what is no msgpack.
    """
    import msgpack

    items = 0

    def count(more: int) -> None:
        nonlocal items
        items += more
        if items > MOST_ITEMS:
            raise ValueError(f"more than {MOST_ITEMS:,} entries")

    def listed(item: list[Any]) -> list[Any]:
        count(len(item) + 1)
        return item

    def array(item: dict[Any, Any]) -> Any:
        count(len(item) + 1)
        if not {b"__ndarray__", b"__npgeneric__"} & item.keys():
            return item
        kind = np.dtype(item[b"dtype"])
        if kind.kind not in "biufSU":
            raise ValueError(f"an array of type {kind}")
        if b"__npgeneric__" in item:
            return kind.type(item[b"data"])
        shape, data = tuple(item[b"shape"]), item[b"data"]
        if len(data) != kind.itemsize * math.prod(shape):
            raise ValueError(f"{len(data)} bytes for an array of {kind} {list(shape)}")
        return np.ndarray(shape, kind, data)

    try:
        found = msgpack.unpackb(
            message, object_hook=array, list_hook=listed, max_array_len=MOST_ITEMS, max_map_len=MOST_ITEMS
        )
    except Exception as error:
        detail = one_line(error, 120)
        raise WrongBytes(f"{who} sent {len(message):,} bytes that are no msgpack: {detail}") from error
    return found


def mapping(found: Any, who: str) -> dict[str, Any]:
    """What `unpack` found, which must be a map. Raises: `WrongBytes`."""
    if not isinstance(found, dict):
        raise WrongBytes(f"{who} sent a {type(found).__name__}, not a map.")
    return found
