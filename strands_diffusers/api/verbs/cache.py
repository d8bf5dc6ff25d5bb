"""The objects that are kept: those under a `cache_key`, and the pipelines that the loader keeps warm."""

from __future__ import annotations

from strands_diffusers.api.request import Reply, Request, ok
from strands_diffusers.api.store import STORE
from strands_diffusers.errors import ConfigError, near_miss
from strands_diffusers.pipelines import devices, loader


def cache(request: Request) -> Reply:
    """List what is kept."""
    kept, warm = {key: type(value).__name__ for key, value in STORE.copy().items()}, _warm()
    if not kept and not warm:
        return ok("nothing is kept", data={}, details={"kept": {}, "warm": {}})
    lines = [f"  {key}: {name}{' (warm)' if key in warm else ''}" for key, name in (kept | warm).items()]
    return ok("\n".join(["kept:", *lines]), data=kept | warm, details={"kept": kept, "warm": warm})


def clear_cache(request: Request) -> Reply:
    """Free one object (`cache_key`), or everything."""
    key = request.cache_key
    if key is None:
        count = len(STORE) + loader.clear()
        STORE.clear()
    elif key in STORE:
        count = 1
        STORE.pop(key, None)
        devices.release_memory()
    elif key in _warm():
        count = loader.clear()
    else:
        raise ConfigError(f"cache_key={key!r}: nothing is kept under that key.{near_miss(key, list(STORE))}")
    return ok(f"freed {count} object{'s' if count != 1 else ''}", data={"freed": count})


def _warm() -> dict[str, str]:
    """The warm pipelines without a `cache_key`: how each is listed, and its class."""
    return {f"pipe::{model.pipeline}::{model.location}": model.pipeline for model in loader.warm_models()}
