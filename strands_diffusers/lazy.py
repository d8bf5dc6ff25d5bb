"""numpy, loaded at its first use: `from strands_diffusers.lazy import np`.

Every command imports the modules of all plugins to know their options, and most (`--help`, `--cfg`, completion, verbs)
never touch an array; numpy would be a sixth of their time. The modules that are imported at every start use this door.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["np"]

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
