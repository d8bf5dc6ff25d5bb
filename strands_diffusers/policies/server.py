"""`policy=server`: asks a policy that runs elsewhere, over openpi's websocket protocol.

The protocol: on connection the server sends a map of facts about itself. Then each observation is one binary message, a
msgpack map, and each answer another; a text message is the server's error. Arrays are maps of `__ndarray__`, `data`, `dtype`
and `shape`, whose keys are bytes. An API key goes into the header `Authorization: Api-Key KEY`.
Source: Physical-Intelligence/openpi, packages/openpi-client and src/openpi/serving.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from strands_diffusers import actions
from strands_diffusers.config.fields import in_range, positive, require
from strands_diffusers.errors import ConfigError, MissingPackageError, RolloutError, StrandsDiffusersError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.plugin.acting import Look, Policy, Progress, Proposal, Setting
from strands_diffusers.plugin.spec import hookimpl

if TYPE_CHECKING:
    import numpy

_POLL_S = 0.25
"""How often waiting looks whether the job was cancelled [s]."""


class Units(str, Enum):
    """What a server's actions are: in the model's space, or physical (decoded with the domain's statistics)."""

    model = "model"
    physical = "physical"


class ServerPolicy(Policy):
    """Ask a policy server: openpi's websocket protocol, which openpi, cosmos-framework and vLLM-Omni speak.

    Sends the latest frame (uint8 `[H, W, 3]`, the whole of it or regions), the prompt and, where `policy.state_key` is set, the
    world's state (float32 `[S]`). Takes the actions `[T' >= T, D]` of the answer, in order, and keeps the first T.
    Raises: `ConfigError` before anything is loaded where the server does not answer; later `RolloutError` for an answer that is
        late, too large, no msgpack, an error text, or no finite actions of the domain's width. A connection that was lost is
        made again `policy.reconnects` times. Finished looks stay on disk.
    """

    name = "server"
    reaches_out = True

    @dataclass
    class Config(Policy.Config):
        """Where the server is and how it names things."""

        address: str = "ws://localhost:8000"
        """ws://HOST:PORT, or wss:// for an encrypted connection."""

        image_key: str | None = "observation/image"
        """Name of the frame in what is sent; null: only `views`."""

        views: Any = None
        """Further images, {name: [left, top, right, bottom], ...}: regions of the frame as shares of it, 0 to 1."""

        resize: list[int] | None = None
        """Each image is scaled to [height, width] keeping its proportions, the rest black [pixels]; null: sent as it is."""

        prompt_key: str | None = "prompt"
        """Name of the task in what is sent; null: none is sent."""

        state_key: str | None = None
        """Name of the state in what is sent; null: none is sent. The numbers of the world's state in their order."""

        state_entry: str | None = None
        """Entry of the world's state that is sent, as `pusher_px` of world=pusht; null: all its numbers."""

        state: list[float] | None = None
        """The state that is sent where the world gives none, as `world=model`."""

        action_key: str = "actions"
        """Name of the actions in the answer."""

        units: Units = Units.model
        """What the answer's actions are in: `model` space, or `physical` units, encoded with the domain's statistics."""

        api_key_env: str | None = None
        """Name of the environment variable that holds the API key; null: none is sent."""

        connect_s: float = 10.0
        """How long connecting and the server's first message may take [s]."""

        answer_s: float = 60.0
        """How long an answer may take [s]."""

        max_message_mb: float = 16.0
        """The largest message that is taken [MB]."""

        reconnects: int = 2
        """How often a lost connection is made again for one look."""

        def __post_init__(self) -> None:
            require(
                self.address.startswith(("ws://", "wss://")) and len(self.address) > 6,
                f"policy.address={self.address} is no websocket. Use policy.address=ws://HOST:PORT.",
            )
            require(
                bool(self.image_key or self.views), "policy.image_key=null sends no image. Name one, or policy.views."
            )
            views = self.views or {}
            require(
                isinstance(views, dict),
                f"policy.views={self.views} is no mapping. Use policy.views={{name:[0,0,0.5,1]}}.",
            )
            for key, region in views.items():
                good = isinstance(region, list) and len(region) == 4 and all(isinstance(x, float | int) for x in region)
                good = good and 0 <= region[0] < region[2] <= 1 and 0 <= region[1] < region[3] <= 1
                require(
                    good, f"policy.views: {key}={region} is no region. Use [left, top, right, bottom] within 0 and 1."
                )
            sizes = self.resize if self.resize is not None else [1, 1]
            require(
                len(sizes) == 2 and all(1 <= side <= 4096 for side in sizes),
                f"policy.resize={self.resize} is no size. Use policy.resize=[224,224], height and width in pixels.",
            )
            for name in ("connect_s", "answer_s", "max_message_mb"):
                positive(f"policy.{name}", getattr(self, name))
            in_range("policy.reconnects", self.reconnects, 0, 100)

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._socket: Any = None
        self._open = contextlib.ExitStack()
        self._facts: dict[str, Any] = {}

    def check(self, setting: Setting) -> None:
        """Refuse a missing package or key, units that cannot be encoded, and a server that does not answer."""
        for package in ("websockets", "msgpack"):
            if importlib.util.find_spec(package) is None:
                raise MissingPackageError(
                    f"policy=server needs the package {package}: pip install 'strands-diffusers[remote]'"
                )
        variable = self.config.api_key_env
        if variable and not os.environ.get(variable):
            raise ConfigError(
                f"policy.api_key_env={variable}, and that environment variable is not set. Set it to the key."
            )
        if self.config.units is Units.physical and setting.space.statistics is None:
            raise ConfigError(
                f"policy.units=physical needs statistics to encode actions with, and domain {setting.space.domain} has none "
                "here. Use policy.units=model."
            )
        try:
            self._connect()
        except _Lost as error:
            raise ConfigError(
                f"policy=server: {error}. Start the server, or name another by policy.address."
            ) from error
        finally:
            self.close()

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin an episode; the protocol has no message for it."""
        self._setting = setting

    def act(self, look: Look) -> Proposal:
        """Send what is seen, wait for the actions."""
        begin = time.monotonic()
        answer = self._ask(_pack(self._observation(look)), look.progress)
        taken_s = time.monotonic() - begin
        actions_TD = self._actions(answer)
        timing = answer.get("server_timing")
        details: dict[str, Any] = {"steps": len(actions_TD)}
        if look.index == 0:
            details["server"] = _plain(self._facts)
        if isinstance(timing, dict):
            details["server_timing"] = _plain(timing)
        return Proposal(actions_TD[: self._setting.chunk_size], seconds={"server": taken_s}, details=details)

    def close(self) -> None:
        """Close the connection."""
        self._socket = None
        self._open.close()

    def _observation(self, look: Look) -> dict[str, Any]:
        config, frame = self.config, look.frames[-1]
        regions = {config.image_key: [0.0, 0.0, 1.0, 1.0]} if config.image_key else {}
        sent: dict[str, Any] = {
            key: _image(frame, region, config.resize) for key, region in {**regions, **(config.views or {})}.items()
        }
        if config.prompt_key:
            sent[config.prompt_key] = look.prompt
        if config.state_key:
            given, entry = look.state, config.state_entry
            if given is not None and entry is not None:
                if not isinstance(given, dict) or entry not in given:
                    known = ", ".join(given) if isinstance(given, dict) else "one without names"
                    raise RolloutError(f"policy.state_entry={entry} is not in the world's state; there is {known}.")
                given = given[entry]
            state = config.state if given is None else [*_numbers(given)]
            if not state:
                raise RolloutError(
                    f"policy.state_key={config.state_key}, but the world gives no state. Give one by policy.state=[...], or use "
                    "policy.state_key=null."
                )
            sent[config.state_key] = np.array(state, np.float32)
        return sent

    def _actions(self, answer: dict[str, Any]) -> numpy.ndarray:
        """The answer's actions in model space, float32 `[T', D]`. Raises: `RolloutError`."""
        config, setting = self.config, self._setting
        if config.action_key not in answer:
            raise self._wrong(f"has no {config.action_key!r}, only {', '.join(map(repr, answer)) or 'nothing'}")
        rows = np.asarray(answer[config.action_key])
        if rows.ndim != 2 or rows.dtype.kind not in "fiu":
            raise self._wrong(
                f"has {config.action_key!r} of shape {list(rows.shape)} and type {rows.dtype}, not [T, D] numbers"
            )
        if len(rows) < setting.chunk_size:
            raise self._wrong(
                f"has {len(rows)} actions, and {setting.chunk_size} are needed: use condition.chunk_size="
                f"{max(4, len(rows) // 4 * 4)} or less"
            )
        try:
            if config.units is Units.physical:
                rows = actions.check_actions(rows, setting.space.domain, space=setting.space, units="physical")
                rows = actions.to_model(rows, setting.space)
            return actions.check_actions(rows, setting.space.domain, space=setting.space)
        except StrandsDiffusersError as error:
            raise self._wrong(f"cannot be used: {error}") from error

    def _wrong(self, what: str) -> RolloutError:
        return RolloutError(
            one_line(RolloutError(f"the answer of the policy server {self.config.address} {what}"), 600)
        )

    def _ask(self, message: bytes, progress: Progress | None) -> dict[str, Any]:
        """Send a message and return the answer, over a new connection where the old one was lost."""
        for attempt in range(self.config.reconnects + 1):
            try:
                if self._socket is None:
                    self._connect(progress)
                return self._exchange(message, self.config.answer_s, progress)
            except _Lost as error:
                self.close()
                if attempt == self.config.reconnects:
                    tries = f" ({attempt + 1} tries)" if attempt else ""
                    raise RolloutError(f"policy=server: {error}{tries}") from error
                _wait(min(0.5 * 2**attempt, 5.0), progress)
            except BaseException:
                self.close()
                raise
        raise AssertionError("unreachable")

    def _connect(self, progress: Progress | None = None) -> None:
        """Open the connection and read the server's facts. Raises: `_Lost`, `RolloutError`."""
        from websockets.exceptions import InvalidHandshake, InvalidURI
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
            raise _Lost(f"{config.address} did not answer within {config.connect_s:g} s") from None
        except (OSError, InvalidHandshake, InvalidURI, EOFError) as error:
            raise _Lost(f"cannot connect to {config.address}: {one_line(error, 200)}") from error
        try:
            self._facts = self._exchange(None, config.connect_s, progress)
        except RolloutError as error:
            raise _Lost(str(error)) from error

    def _exchange(self, message: bytes | None, limit_s: float, progress: Progress | None) -> dict[str, Any]:
        """Send a message, if any, and return what comes back. Raises: `_Lost` for a connection that went, `RolloutError`."""
        from websockets.exceptions import ConnectionClosed

        address, end = self.config.address, time.monotonic() + limit_s
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
                        raise RolloutError(
                            f"the policy server {address} sent no {what} within {limit_s:g} s."
                        ) from None
                    if progress:
                        progress("policy", 0, 1)
        except ConnectionClosed as error:
            if error.sent and error.sent.code == 1009:
                raise RolloutError(
                    f"the policy server {address} sent more than policy.max_message_mb={self.config.max_message_mb:g}."
                ) from error
            raise _Lost(f"{address} closed the connection ({one_line(error, 120)})") from error
        if isinstance(answer, str):
            last = answer.strip().splitlines()[-1:] or ["nothing"]
            raise RolloutError(one_line(RolloutError(f"the policy server {address} reports: {last[0]}")))
        return _unpack(answer, address)


class _Lost(StrandsDiffusersError):  # noqa: N818 - never leaves this module
    """There is no connection, or no longer."""


def _wait(seconds: float, progress: Progress | None) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _POLL_S))
        if progress:
            progress("policy", 0, 1)


def _image(frame: numpy.ndarray, region: list[float], size: list[int] | None) -> numpy.ndarray:
    """A region of a frame, scaled into `size` [height, width] with black around it: uint8 `[H, W, 3]`."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (round(share * side) for share, side in zip(region, (width, height) * 2, strict=True))
    part = frame[top : max(bottom, top + 1), left : max(right, left + 1)]
    if size is None or part.shape[:2] == tuple(size):
        return np.ascontiguousarray(part)
    from PIL import Image

    scale = min(size[0] / part.shape[0], size[1] / part.shape[1])
    inner = [max(1, int(side * scale)) for side in part.shape[:2]]
    scaled = np.asarray(Image.fromarray(part).resize((inner[1], inner[0]), Image.Resampling.BILINEAR))
    sheet = np.zeros((*size, 3), np.uint8)
    y, x = ((whole - side) // 2 for whole, side in zip(size, inner, strict=True))
    sheet[y : y + inner[0], x : x + inner[1]] = scaled
    return sheet


def _numbers(value: Any) -> Iterable[float]:
    """The numbers of a JSON-ready state, in their order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float):
        yield float(value)


def _plain(value: Any, depth: int = 3) -> Any:
    """What of a server's facts can stand in a record: short and JSON-ready."""
    if isinstance(value, dict) and depth:
        return {str(key)[:80]: _plain(item, depth - 1) for key, item in list(value.items())[:32]}
    if isinstance(value, bool | int | type(None)) or (isinstance(value, float) and abs(value) < float("inf")):
        return value
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return str(value)[:200]


# ------------------------------------------------------------------------------------------------- messages


def _pack(value: Any) -> bytes:
    import msgpack

    def array(item: Any) -> Any:
        return {b"__ndarray__": True, b"data": item.tobytes(), b"dtype": item.dtype.str, b"shape": item.shape}

    return bytes(msgpack.packb(value, default=array))


def _unpack(message: bytes, address: str) -> dict[str, Any]:
    """A message as a map. Raises: `RolloutError` for whatever else it is."""
    import msgpack

    def array(item: dict[Any, Any]) -> Any:
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
        found = msgpack.unpackb(message, object_hook=array)
    except Exception as error:
        detail = one_line(error, 120)
        raise RolloutError(
            f"the policy server {address} sent {len(message):,} bytes that are no msgpack: {detail}"
        ) from error
    if not isinstance(found, dict):
        raise RolloutError(f"the policy server {address} sent a {type(found).__name__}, not a map.")
    return found


@hookimpl
def register_policies() -> list[type[Policy]]:
    """The policy `server`."""
    return [ServerPolicy]
