"""diffusers' SeaCache, which skips steps that would change little, for one call.

The cache compares successive latents and, while they move little, adds the last residual of the layer stack instead of
running it. It lives in hooks on the transformer, so it is put there for one run and taken away after it.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_locks: "weakref.WeakKeyDictionary[Any, threading.RLock]" = weakref.WeakKeyDictionary()


@contextmanager
def sea_cache(transformer: Any, threshold: float) -> Iterator[None]:
    """Enable SeaCache for the body, and leave the transformer's modules with the attributes that they had."""
    from diffusers import SeaCacheConfig

    with _locks.setdefault(transformer, threading.RLock()):
        before = {module: set(vars(module)) for module in transformer.modules()}
        transformer.enable_cache(SeaCacheConfig(threshold=threshold))
        try:
            yield
        finally:
            transformer.disable_cache()
            for module, names in before.items():
                for name in set(vars(module)) - names:
                    delattr(module, name)
