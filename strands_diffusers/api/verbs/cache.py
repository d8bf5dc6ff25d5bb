"""The objects that are kept: those under a `cache_key`, and the pipelines that the loader keeps warm."""

from __future__ import annotations

from strands_diffusers.api.request import Reply, Request, ok
from strands_diffusers.api.store import STORE
from strands_diffusers.errors import ConfigError, near_miss
from strands_diffusers.pipelines import loader


def cache(request: Request) -> Reply:
    """List what is kept."""
    kept = STORE.names()
    warm = {warm_key(model.pipeline, model.location): model.pipeline for model in loader.warm_models()}
    if not kept and not warm:
        return ok("nothing is kept", data={}, details={"kept": {}, "warm": {}})
    lines = [f"  {key}: {name}" for key, name in kept.items()] + [
        f"  {key}: {name} (warm)" for key, name in warm.items()
    ]
    return ok("kept:\n" + "\n".join(lines), data=kept | warm, details={"kept": kept, "warm": warm})


def clear_cache(request: Request) -> Reply:
    """Free one object (`cache_key`), or everything."""
    key = request.cache_key
    if key is None:
        count = STORE.remove() + loader.clear()
    else:
        count = STORE.remove(key)
        if not count and key in {warm_key(model.pipeline, model.location) for model in loader.warm_models()}:
            count = loader.clear()
        if not count:
            names = list(STORE.names())
            raise ConfigError(f"cache_key={key!r}: nothing is kept under that key.{near_miss(key, names)}")
        loader.release_memory()
    return ok(f"freed {count} object{'s' if count != 1 else ''}", data={"freed": count})


def warm_key(pipeline: str, location: str) -> str:
    """How a warm pipeline without a `cache_key` is listed."""
    return f"pipe::{pipeline}::{location}"
