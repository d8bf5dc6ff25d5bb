"""Calling parts of a model that accelerate moves between devices.

diffusers calls the transformer and its layers as modules, and accelerate's hooks fire on those calls. The engine calls
parts of them, so it calls the hooks itself, in the way accelerate's own wrapper of `forward` does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def awake(module: Any) -> Iterator[None]:
    """Hold the weights of `module` where it computes, as `diffusers.utils.accelerate_utils.apply_forward_hook` does."""
    hook = getattr(module, "_hf_hook", None)
    if hook is None:
        yield
        return
    hook.pre_forward(module)
    try:
        yield
    finally:
        hook.post_forward(module, None)


def through_hooks(module: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Return `function(module, *args)` with the hook of `module` before and after it, where it has one."""
    hook = getattr(module, "_hf_hook", None)
    if hook is None:
        return function(module, *args)
    args, _ = hook.pre_forward(module, *args)
    return hook.post_forward(module, function(module, *args))
