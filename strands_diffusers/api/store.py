"""The objects that callers keep between calls, by name: `cache_key` puts one in, `cached:KEY` takes it out again."""

from __future__ import annotations

import threading
from typing import Any

from strands_diffusers.errors import ConfigError, near_miss

PREFIX = "cached:"


class Store:
    """Named objects. Safe from several threads."""

    def __init__(self) -> None:
        self._objects: dict[str, Any] = {}
        self._lock = threading.RLock()

    def put(self, key: str, value: Any) -> None:
        """Keep `value` under `key`, in the place of whatever was there."""
        with self._lock:
            self._objects[key] = value

    def split(self, reference: str) -> tuple[str, list[str]]:
        """`cached:KEY.a.b` as the key and the attributes after it; the longest key that is kept wins.

        Raises: `ConfigError` with a near miss where nothing of that name is kept.
        """
        text = reference.removeprefix(PREFIX)
        with self._lock:
            parts = text.split(".")
            for end in range(len(parts), 0, -1):
                key = ".".join(parts[:end])
                if key in self._objects:
                    return key, parts[end:]
            names = sorted(self._objects)
        there = f"there is {', '.join(names)}" if names else "nothing is kept yet"
        raise ConfigError(
            f"{reference}: no object is kept under that key; {there}.{near_miss(text, names)} "
            f"Keep one with action='call', cache_key={parts[0]!r}."
        )

    def get(self, key: str) -> Any:
        """The object under `key`, which `split` found."""
        with self._lock:
            return self._objects[key]

    def find(self, key: str) -> Any:
        """The object under `key`, or None."""
        with self._lock:
            return self._objects.get(key)

    def names(self) -> dict[str, str]:
        """Key -> class name, in the order in which they were put."""
        with self._lock:
            return {key: type(value).__name__ for key, value in self._objects.items()}

    def remove(self, key: str | None = None) -> int:
        """Forget one object, or all; how many there were."""
        with self._lock:
            if key is not None:
                return 0 if self._objects.pop(key, None) is None else 1
            count = len(self._objects)
            self._objects.clear()
            return count


STORE = Store()
"""The store of this process."""
