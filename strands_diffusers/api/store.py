"""The objects that callers keep between calls, by name: `cache_key` puts one in, `cached:KEY` takes it out again."""

from typing import Any

from strands_diffusers.errors import ConfigError, near_miss

PREFIX = "cached:"


class Store(dict[str, Any]):
    """Named objects, in the order in which they were put. Safe from several threads, as each use is one step of a dict."""

    def split(self, reference: str) -> tuple[Any, list[str]]:
        """The object of `cached:KEY.a.b`, and the attributes after its key; the longest key that is kept wins.

        Raises: `ConfigError` with a near miss where nothing of that name is kept.
        """
        text, kept = reference.removeprefix(PREFIX), self.copy()
        parts = text.split(".")
        for end in range(len(parts), 0, -1):
            if (key := ".".join(parts[:end])) in kept:
                return kept[key], parts[end:]
        there = f"there is {', '.join(sorted(kept))}" if kept else "nothing is kept yet"
        raise ConfigError(
            f"{reference}: no object is kept under that key; {there}.{near_miss(text, kept)} "
            f"Keep one with action='call', cache_key={parts[0]!r}."
        )


STORE = Store()
"""The store of this process."""
