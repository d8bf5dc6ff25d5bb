"""What makes loading cheap: numpy at its first use (`from strands_diffusers.lazy import np`), and no search for garbage.

Every command imports the modules of all plugins to know their options, and most (`--help`, `--cfg`, completion, verbs)
never touch an array; numpy would be a sixth of their time. The modules that are imported at every start use this door.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["np", "without_collector"]


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Load modules without the garbage collector: none of what they make is garbage, and looking takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


if TYPE_CHECKING:
    import numpy as np
else:

    class _Lazy(ModuleType):
        """Stands for a module and imports it when an attribute is asked for."""

        def __getattr__(self, name: str) -> Any:
            import importlib

            module = importlib.import_module(self.__name__)
            self.__dict__.update(module.__dict__)
            return getattr(module, name)

    np = _Lazy("numpy")
