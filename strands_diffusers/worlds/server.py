"""`world=server`: a world that runs elsewhere, as `strands-diffusers serve` serves it at `/world` (`docs/serving.md`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strands_diffusers import domains
from strands_diffusers.errors import ConfigError, RolloutError, one_line
from strands_diffusers.lazy import np
from strands_diffusers.plugin.acting import Progress, Setting, Stepped, World
from strands_diffusers.records import plain
from strands_diffusers.remote import Connection, RemoteConfig, mapping

if TYPE_CHECKING:
    import numpy


class ServerWorld(World):
    """Ask a world server: the first frame is sent, then actions; frames come back, and states where it knows any.

    Each episode has a connection of its own, which ends with it. Raises: `ConfigError` before anything is loaded where the server
    does not answer, or acts in another domain or at another rate; later `RolloutError` where it is lost or answers wrongly.
    Finished looks stay on disk.
    """

    name = "server"
    reaches_out = True

    @dataclass
    class Config(RemoteConfig, World.Config):
        """Where the server is."""

        node: ClassVar[str] = "world"

        address: str = "ws://localhost:8000/world"
        """ws://HOST:PORT/world, or wss:// for an encrypted connection."""

    _hold: numpy.ndarray | None = None

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._connection = Connection(self.config)

    def check(self, setting: Setting) -> None:
        """Refuse a missing package or key, and a server that does not answer or is a world of another kind."""
        self._connection.check()
        facts, known = self._connection.facts, domains.short_name(setting.space.domain)
        for fact, key, mine in (("domain", "domain", known), ("fps", "domain.fps", setting.fps)):
            if facts.get(fact) != mine:
                said = one_line(ConfigError(str(facts.get(fact))), 60)
                raise ConfigError(
                    f"{self._connection.name} says {fact} {said}, and {key} is {mine} here. Use {key}={said}, or another server."
                )

    def reset(self, setting: Setting, seed: int) -> tuple[numpy.ndarray, Any]:
        """Send the observation's first frame and details, over a connection of its own."""
        assert setting.observation.frames is not None
        self._connection.close()
        begin = {
            "type": "reset",
            "frame": setting.observation.frames[0],
            "details": plain(setting.observation.details),
            "prompt": setting.prompt,
            "seed": seed,
        }
        answer = mapping(self._connection.ask(begin), self._connection.name)
        hold = answer.get("hold")
        self._hold = None if hold is None else np.asarray(hold, np.float32)
        return self._array(answer, "frame", 3), answer.get("state")

    def step(self, actions: numpy.ndarray, num_steps: int, progress: Progress | None = None) -> Stepped:
        """Send the actions, wait for the frames."""
        sent = {"type": "step", "actions": actions, "num_steps": num_steps}
        if not self._connection.connected:
            raise RolloutError(f"the connection to {self._connection.name} is closed: the episode cannot go on there.")
        answer = mapping(
            self._connection.ask(sent, progress, again=False), self._connection.name
        )  # another connection is another episode
        timing = answer.get("server_timing")
        seconds = {
            f"server.{str(name)[:40].removesuffix('_ms')}": value / 1000
            for name, value in (list(timing.items())[:16] if isinstance(timing, dict) else ())
            if isinstance(value, float)
        }
        return Stepped(self._array(answer, "frames", 4), answer.get("states"), seconds)

    def hold(self) -> numpy.ndarray | None:
        """What the server said when the episode began."""
        return self._hold

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _array(self, answer: dict[str, Any], key: str, axes: int) -> numpy.ndarray:
        found = answer.get(key)
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != axes or not found.size:
            kind = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
            raise RolloutError(
                f"the answer of {self._connection.name[4:]} has {key!r} of {kind}, not uint8 with {axes} axes."
            )
        return found
