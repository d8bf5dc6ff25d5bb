"""`policy=server`: asks a policy that runs elsewhere, over openpi's websocket protocol (`remote`)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strands_diffusers import actions
from strands_diffusers.config.fields import require
from strands_diffusers.errors import ConfigError, RolloutError, StrandsDiffusersError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.plugin.acting import Look, Policy, Proposal, Setting
from strands_diffusers.remote import Connection, RemoteConfig, Units, check_regions, mapping

if TYPE_CHECKING:
    import numpy


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
    class Config(RemoteConfig, Policy.Config):
        """Where the server is and how it names things."""

        node: ClassVar[str] = "policy"

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

        action_key: str | None = "actions"
        """Name of the actions in the answer, as `action` of cosmos-framework; null: the answer is the actions, as of RoboArena and
        vLLM-Omni."""

        units: Units = Units.model
        """What the answer's actions are in: `model` space, or `physical` units, encoded with the domain's statistics."""

        seed_key: str | None = None
        """Name of the look's seed in what is sent, for servers that draw by it, as ours (`seed`); null: none is sent."""

        def __post_init__(self) -> None:
            super().__post_init__()
            require(
                bool(self.image_key or self.views), "policy.image_key=null sends no image. Name one, or policy.views."
            )
            check_regions("policy.views", self.views)
            sizes = self.resize if self.resize is not None else [1, 1]
            require(
                len(sizes) == 2 and all(1 <= side <= 4096 for side in sizes),
                f"policy.resize={self.resize} is no size. Use policy.resize=[224,224], height and width in pixels.",
            )

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._connection = Connection(self.config)

    def check(self, setting: Setting) -> None:
        """Refuse a missing package or key, units that cannot be encoded, and a server that does not answer."""
        if self.config.units is Units.physical and setting.space.statistics is None:
            raise ConfigError(
                f"policy.units=physical needs statistics to encode actions with, and domain {setting.space.domain} has none "
                "here. Use policy.units=model."
            )
        self._connection.check()

    def reset(self, setting: Setting, seed: int) -> None:
        """Begin an episode, with a connection of its own: the protocol has no message for it."""
        self._setting = setting
        self._connection.close()

    def act(self, look: Look) -> Proposal:
        """Send what is seen, wait for the actions."""
        begin = time.monotonic()
        answer = self._connection.ask(self._observation(look), look.progress)
        taken_s = time.monotonic() - begin
        actions_TD = self._actions(answer)
        timing = answer.get("server_timing") if isinstance(answer, dict) else None
        details: dict[str, Any] = {"steps": len(actions_TD)}
        if look.index == 0:
            details["server"] = _plain(self._connection.facts)
        if isinstance(timing, dict):
            details["server_timing"] = _plain(timing)
        return Proposal(actions_TD[: self._setting.chunk_size], seconds={"server": taken_s}, details=details)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _observation(self, look: Look) -> dict[str, Any]:
        config, frame = self.config, look.frames[-1]
        regions = {config.image_key: [0.0, 0.0, 1.0, 1.0]} if config.image_key else {}
        sent: dict[str, Any] = {
            key: _image(frame, region, config.resize) for key, region in {**regions, **(config.views or {})}.items()
        }
        if config.prompt_key:
            sent[config.prompt_key] = look.prompt
        if config.seed_key:
            sent[config.seed_key] = look.seed
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

    def _actions(self, answer: Any) -> numpy.ndarray:
        """The answer's actions in model space, float32 `[T', D]`. Raises: `RolloutError`."""
        config, setting = self.config, self._setting
        if config.action_key is not None:
            answer = mapping(answer, self._connection.name)
            if config.action_key not in answer:
                raise self._wrong(f"has no {config.action_key!r}, only {', '.join(map(repr, answer)) or 'nothing'}")
            answer = answer[config.action_key]
        elif not isinstance(answer, np.ndarray):
            raise self._wrong(f"is a {type(answer).__name__}, not the actions; name them by policy.action_key=actions")
        rows = np.asarray(answer)
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
        return RolloutError(one_line(RolloutError(f"the answer of {self._connection.name[4:]} {what}"), 600))


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
