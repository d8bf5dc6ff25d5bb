"""Calls of policies, worlds and scores: a plugin's run in a thread of its object's own, with a time limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from strands_diffusers.plugin import guard
from strands_diffusers.plugin.acting import Acting
from strands_diffusers.plugin.manager import plugins

T = TypeVar("T")


@dataclass
class Caller:
    """Calls objects, each of a plugin's in one thread for all its calls."""

    limit_s: float | None = None
    """How long one call of a plugin may take [s]."""

    workers: dict[int, guard.Worker] = field(default_factory=dict, repr=False)
    """The thread of each plugin's object, by its id."""

    def __call__(self, name: str, item: Acting, call: Callable[[], T], poll: Callable[[], None] | None = None) -> T:
        """What a call returns. Raises: `guard.PluginFault` for what a plugin raises or returns too late."""
        if not (owner := plugins().owner(type(item))):
            return call()
        worker = self.workers.setdefault(id(item), guard.Worker(name))
        return guard.run(owner, name, call, self.limit_s, poll, worker)

    def leave(self) -> None:
        """Let the threads end."""
        for worker in self.workers.values():
            worker.leave()
