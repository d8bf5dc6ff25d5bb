"""What a client may ask, and what it gets: one session each, of a policy or of a world. No web, no waiting.

Letters: H height, W width, T steps of a chunk, n steps that are acted on, D action width. Messages are maps whose arrays
come and go as `remote` has them.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np

from strands_diffusers import actions, domains, loop
from strands_diffusers.config.schema import MAX_PROMPT_CHARACTERS
from strands_diffusers.errors import RequestError, RolloutError, one_line
from strands_diffusers.plugin.acting import SEED_STEP, Look, Progress, Setting, described, wrong_actions
from strands_diffusers.plugin.caller import Caller
from strands_diffusers.plugin.manager import plugins
from strands_diffusers.records import plain
from strands_diffusers.remote import Units
from strands_diffusers.results import Observation
from strands_diffusers.serve.options import MAX_SIDE, MIN_SIDE, ServeConfig


class WrongMessage(RequestError):  # noqa: N818 - an answer
    """A message that is not what the endpoint takes."""


MAX_SAMPLES = 64
"""Samples of one observation that may be asked for at once."""

Call = Callable[[Progress], dict[Any, Any]]
"""What is done in the engine's thread: it takes a `Progress` and returns the answer; under None, one that is no map."""


class Endpoint(ABC):
    """One session. `ask` checks a message at once and returns what is to be done in the client's turn."""

    name: ClassVar[str]

    def __init__(self, config: ServeConfig, cast: loop.Cast) -> None:
        """`cast`: of the checked job; its policy and world are never used, each session has its own."""
        self.config, self.setting, self.cast = config, cast.setting, cast
        self.left = config.session_frames
        self._begin()

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What a client learns when it connects."""

    def ask(self, message: Mapping[str, Any]) -> Call:
        """Check a message and return what is to be done about it, in the engine's thread. Raises: `WrongMessage`.

        Where that fails for another reason than the request, the session begins anew: its policy or world may stand anywhere.
        """
        work = self._read(message)

        def answer(progress: Progress) -> dict[Any, Any]:
            try:
                return work(progress)
            except RequestError:
                raise
            except BaseException:
                left = self.cast.call
                self._begin()
                self._forget()
                left.leave()
                raise

        return answer

    @abstractmethod
    def _read(self, message: Mapping[str, Any]) -> Call:
        """Check a message. Raises: `WrongMessage`."""

    @abstractmethod
    def _forget(self) -> None:
        """Forget the episode."""

    def _begin(self) -> None:
        """Make the session's own policy or world, of the same class and options, called in a thread of its own."""
        own = {self.name: plugins().make(type(self.item), self.item.config), "call": Caller(self.cast.call.limit_s)}
        self.cast = dataclasses.replace(self.cast, **own)

    def close(self) -> None:
        """Let go of what the session holds."""
        self._call("close", self.item.close)
        self.cast.call.leave()

    @property
    def item(self) -> Any:
        """The session's own policy or world."""
        return getattr(self.cast, self.name)

    def _call(self, what: str, call: Callable[[], Any], progress: Progress | None = None) -> Any:
        poll = (lambda: progress(what, 0, 1)) if progress is not None else None
        return self.cast.call(f"{self.name}={self.item.name}", self.item, call, poll)

    def _common(self) -> dict[str, Any]:
        setting = self.setting
        known = domains.get(setting.space.domain)
        return {
            "server": "strands-diffusers",
            "version": importlib.metadata.version("strands-diffusers"),
            "endpoint": self.name,
            self.name: self.item.name,
            "model": setting.config.model.name if self.item.uses_model else None,
            "domain": known.short,
            "fps": setting.fps,
            "chunk_size": setting.chunk_size,
            "act_steps": setting.act_steps,
            "action_dim": known.width,
            "columns": [column.name for column in known.columns],
        }

    def _spend(self, frames: int) -> None:
        if frames > self.left:
            raise WrongMessage(
                f"this session has had serve.session_frames={self.config.session_frames} frames. Connect again."
            )
        self.left -= frames


class PolicyEndpoint(Endpoint):
    """openpi's policy server: an observation in, a chunk of actions out.

    An episode is a connection, up to `reset_key`, another task, another `session_key`, or a message `{"endpoint": "reset"}`, as clients
    of RoboArena and vLLM-Omni send it. The k-th look has the seed `seed + 1000003 * k`, as in
    `condition=closed_loop`, unless the observation brings one; it is taken that `condition.act_steps` actions of each chunk
    were acted on. A policy sees the frame that was sent, no earlier ones.
    """

    name = "policy"

    def __init__(self, config: ServeConfig, cast: loop.Cast) -> None:
        super().__init__(config, cast)
        self._prompt: str | None = None
        self._session: str | None = None
        self._looks = 0
        self._acted_TD = np.zeros((0, domains.get(self.setting.space.domain).width or 0), np.float32)
        self._proposed_TD: np.ndarray | None = None

    def facts(self) -> dict[str, Any]:
        """Names of what is sent and taken, and what the actions are."""
        config, physical = self.config, self.config.units is Units.physical
        named = [each for each in vars(config) if each.endswith("_key")]
        columns = domains.get(self.setting.space.domain).columns
        units = {"column_units": [column.unit for column in columns]} if physical else {}
        return {
            **self._common(),
            "units": config.units.value,
            **units,
            "views": config.views,
            **{name: getattr(config, name) for name in named},
        }

    def _forget(self) -> None:
        self._prompt = None

    def _read(self, message: Mapping[str, Any]) -> Call:
        config = self.config
        if isinstance(asked := message.get("endpoint"), str) and asked == "reset":
            return self._reset
        frame = _composed(config, message)
        prompt = message.get(config.prompt_key) if config.prompt_key else None
        prompt = self.setting.prompt if prompt is None else prompt
        if not isinstance(prompt, str) or len(prompt) > MAX_PROMPT_CHARACTERS:
            raise WrongMessage(f"{config.prompt_key!r} must be text of at most {MAX_PROMPT_CHARACTERS:,} characters.")
        reset = message.get(config.reset_key, False)
        if not isinstance(reset, bool | np.bool_):
            raise WrongMessage(f"{config.reset_key!r} must be true or false.")
        session = message.get(config.session_key)
        if session is not None:
            session = str(session.tolist() if isinstance(session, np.ndarray) else session)[:200]
        seeds, several = _seeds(message, config.seed_key)
        state = _state(message, config.state_key) if config.state_key else None
        seen = Look(0, frame[None], self._acted_TD[:0], prompt, 0, state=state)
        return partial(self._act, seen, bool(reset), session, seeds, several)

    def _reset(self, progress: Progress) -> dict[str, Any]:
        self._forget()
        return {"status": "reset successful"}

    def _act(
        self, seen: Look, reset: bool, session: str | None, seeds: list[int] | None, several: bool, progress: Progress
    ) -> dict[Any, Any]:
        self._spend(1)
        policy, setting, prompt = self.item, self.setting, seen.prompt
        session = self._session if session is None else session
        reset = reset or session != self._session
        if reset or prompt != self._prompt:
            if prompt != setting.prompt:
                setting = dataclasses.replace(setting, prompt=prompt)
                self._call("check", partial(policy.check, setting), progress)
            self._prompt = None  # until the policy has begun
            self._call("reset", partial(policy.reset, setting, setting.config.seed), progress)
            self.setting, self._prompt, self._session, self._looks = setting, prompt, session, 0
            self._acted_TD, self._proposed_TD = self._acted_TD[:0], None
        seeds = seeds or [setting.config.seed + SEED_STEP * self._looks]
        now: dict[str, Any] = {"index": self._looks, "actions": self._acted_TD, "proposed": self._proposed_TD}
        look = dataclasses.replace(seen, **now, seed=seeds[0], progress=progress)
        if not several:
            found = [self._call("act", partial(policy.act, look), progress)]
        elif (found := self._call("answers", partial(policy.answers, look, seeds), progress)) is None:
            raise WrongMessage(f"policy={policy.name} gives one answer to an observation; send one seed.")
        chunks = [each.actions for each in found]
        for rows in chunks:
            if wrong := wrong_actions(rows, (setting.chunk_size, self._acted_TD.shape[1])):
                raise RolloutError(f"policy={policy.name} {wrong}.")
        self._proposed_TD = chunks[0]
        self._acted_TD, self._looks = np.concatenate([self._acted_TD, chunks[0][: setting.act_steps]]), self._looks + 1
        whole = np.stack(chunks) if several else chunks[0]
        if self.config.units is Units.physical:
            whole = actions.to_physical(whole, setting.space)
        stages: Counter[str] = Counter()
        for each in found:
            stages.update(each.seconds)
        return {self.config.action_key: whole, "stages": stages}


class WorldEndpoint(Endpoint):
    """A world: `reset` with a frame, then `step` with actions, frames back.

    `{"type": "reset", "frame"?: uint8 [H, W, 3], "details"?: map, "prompt"?: text, "seed"?: int}` -> `{"frame", "state", "hold"}`.
    Without a frame it begins at the server's own observation. `details` are the observation's, as a simulator needs them.
    `{"type": "step", "actions": float32 [T, D], "num_steps"?: n}` -> `{"frames": uint8 [n, H, W, 3], "states"}`.
    """

    name = "world"
    _begun = False

    def facts(self) -> dict[str, Any]:
        """What the world is."""
        return self._common()

    def _forget(self) -> None:
        self._begun = False

    def _read(self, message: Mapping[str, Any]) -> Call:
        kind = message.get("type")
        if not isinstance(kind, str) or kind not in ("reset", "step"):
            raise WrongMessage(f"'type' must be 'reset' or 'step', got {str(kind)[:40]!a}.")
        if kind == "reset":
            setting, seed = self._beginning(message), message.get("seed")
            return partial(self._reset, setting, setting.config.seed if seed is None else _seed("seed", seed))
        if not self._begun:
            raise WrongMessage("a 'step' came before a 'reset' that worked.")
        rows, width = message.get("actions"), domains.get(self.setting.space.domain).width or 0
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != width or rows.dtype.kind != "f":
            raise WrongMessage(f"'actions' must be floats [T, {width}], got {described(rows)}.")
        if not 1 <= len(rows) <= self.setting.chunk_size or not np.isfinite(rows).all():
            raise WrongMessage(f"'actions' must be 1 to {self.setting.chunk_size} finite rows, got {len(rows)}.")
        count = message.get("num_steps", len(rows))
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= len(rows):
            raise WrongMessage(f"'num_steps' must be 1 to {len(rows)}, got {str(count)[:40]!a}.")
        return partial(self._step, np.array(rows, np.float32), count)

    def _beginning(self, message: Mapping[str, Any]) -> Setting:
        """The setting of the episode that a `reset` begins."""
        setting, prompt, details = self.setting, message.get("prompt"), message.get("details")
        details = {} if details is None else details
        if prompt is not None and (not isinstance(prompt, str) or len(prompt) > MAX_PROMPT_CHARACTERS):
            raise WrongMessage(f"'prompt' must be text of at most {MAX_PROMPT_CHARACTERS:,} characters.")
        if not isinstance(details, dict) or not all(isinstance(key, str) for key in details):
            raise WrongMessage(f"'details' must be a map of the observation's facts, got {described(details)}.")
        seen = setting.observation
        if message.get("frame") is not None:
            frame = _frame("frame", message["frame"])
            try:
                details = plain(details)
            except (TypeError, ValueError, RecursionError) as error:
                raise WrongMessage(f"'details' must be JSON-ready: {one_line(error, 100)}") from error
            seen = Observation(frame[None], setting.fps, None, prompt, seen.domain, "a client's frame", details)
        return dataclasses.replace(setting, observation=seen, prompt=setting.prompt if prompt is None else prompt)

    def _reset(self, setting: Setting, seed: int, progress: Progress) -> dict[str, Any]:
        self._spend(1)
        world, self._begun = self.item, False
        self._call("check", partial(world.check, setting), progress)
        frame, state = self._call("reset", partial(world.reset, setting, seed), progress)
        hold = self._call("hold", world.hold, progress)
        self._begun, self._shape = True, np.asarray(frame).shape
        return {"frame": _shown(world, np.asarray(frame), self._shape), "state": plain(state), "hold": hold}

    def _step(self, rows: np.ndarray, count: int, progress: Progress) -> dict[str, Any]:
        self._spend(count)
        world, self._begun = self.item, False  # until it has worked
        found = self._call("step", partial(world.step, rows, count, progress), progress)
        self._begun = True
        frames = _shown(world, found.frames, (count, *self._shape))
        states = None if found.states is None else plain(list(found.states))
        return {"frames": frames, "states": states, "stages": dict(found.seconds)}


ENDPOINTS: dict[str, type[Endpoint]] = {
    "/": PolicyEndpoint,
    "/v1/realtime/robot/openpi": PolicyEndpoint,
    "/world": WorldEndpoint,
}
"""By the path that a client connects to; the long one is where clients of vLLM-Omni look."""


def _shown(world: Any, frames: Any, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.shape != shape:
        raise RolloutError(f"world={world.name} gave frames {described(frames)}; they must be uint8 {list(shape)}.")
    return frames


def _frame(key: str, value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3 or value.shape[2] != 3:
        raise WrongMessage(f"{key!r} must be uint8 [H, W, 3], got {described(value)}.")
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in value.shape[:2]):
        raise WrongMessage(f"{key!r} is {value.shape[1]}x{value.shape[0]} pixels; sides are {MIN_SIDE} to {MAX_SIDE}.")
    return np.array(value)


def _composed(config: ServeConfig, message: Mapping[str, Any]) -> np.ndarray:
    for key in config.images:
        if key not in message:
            there = ", ".join(repr(str(each)[:60]) for each in list(message)[:12])
            raise WrongMessage(
                f"there is no {key!r}, only {there or 'nothing'}. The server's first message has the names."
            )
    if config.image_key:
        return _frame(config.image_key, message[config.image_key])
    from PIL import Image

    height, width = config.size or (0, 0)
    sheet = Image.new("RGB", (width, height))
    for key, (left, top, right, bottom) in config.views.items():
        x, y, end_x, end_y = round(left * width), round(top * height), round(right * width), round(bottom * height)
        shown = Image.fromarray(_frame(key, message[key]))
        size = (max(1, end_x - x), max(1, end_y - y))
        sheet.paste(shown if shown.size == size else shown.resize(size, Image.Resampling.BILINEAR), (x, y))
    return np.asarray(sheet)


def _seed(key: str, seed: Any) -> int:
    seed = seed.item() if isinstance(seed, np.integer) else seed
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise WrongMessage(f"{key!r} must be a whole number, 0 to 2**63 - 1.")
    return seed


def _seeds(message: Mapping[str, Any], key: str) -> tuple[list[int] | None, bool]:
    """The seeds of a look, and whether several samples of it are asked for."""
    seed = message.get(key)
    if isinstance(seed, np.ndarray) and seed.ndim == 1:
        seed = list(seed)
    if not isinstance(seed, list):
        return None if seed is None else [_seed(key, seed)], False
    if not 1 <= len(seed) <= MAX_SAMPLES:
        raise WrongMessage(f"{key!r} holds {len(seed)} seeds; there may be 1 to {MAX_SAMPLES}.")
    return [_seed(key, each) for each in seed], True


def _state(message: Mapping[str, Any], key: str) -> Any:
    """The state that a policy reads: JSON-ready, arrays as lists."""

    def ready(value: Any, depth: int = 4) -> Any:
        if isinstance(value, dict) and depth:
            return {str(name): ready(each, depth - 1) for name, each in value.items()}
        if isinstance(value, list) and depth:
            return [ready(each, depth - 1) for each in value]
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            return value.tolist()
        if isinstance(value, bool | int | float):
            return value
        raise WrongMessage(f"{key!r} must be numbers, an array of them, or a map of such, got {described(value)}.")

    return None if message.get(key) is None else ready(message[key])
