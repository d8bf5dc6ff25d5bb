"""Values kept for the next job: a bounded number of bytes, the least recently used go first."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class Memory:
    """Values by key, `capacity` bytes of arrays and tensors in them at most. Safe for threads."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bytes = 0
        """Bytes held now."""
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of `key`, made by `make` where there is none. What exceeds the capacity is not kept."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key][0]  # type: ignore[no-any-return]
        value = make()  # outside the lock: two threads may make the same value, and either one serves
        size = sum(_sizes(value))
        with self._lock:
            if size <= self.capacity and key not in self._entries:
                self._entries[key] = (value, size)
                self.bytes += size
            self._shrink()
        return value

    def resize(self, capacity: int) -> None:
        """Hold at most `capacity` bytes from now on."""
        with self._lock:
            self.capacity = capacity
            self._shrink()

    def _shrink(self) -> None:
        while self.bytes > self.capacity:
            _, (_, size) = self._entries.popitem(last=False)
            self.bytes -= size


def _sizes(value: Any) -> Iterable[int]:
    """Bytes of each array inside nested lists, tuples and plain objects."""
    if hasattr(value, "nbytes"):
        yield value.nbytes
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _sizes(item)
    elif hasattr(value, "__dict__"):
        yield from _sizes(list(vars(value).values()))
