"""Which engine runs: by name, by what the pipeline allows, and by what can be known before any weight is loaded."""

from __future__ import annotations

from typing import Any

from strands_diffusers.config.engines import EngineConfig
from strands_diffusers.errors import EngineError, near_miss
from strands_diffusers.plugin.engine import Call, Engine
from strands_diffusers.plugin.manager import plugins

INSTEAD = "Use engine=auto or eager."


def get_engine(name: str, config: EngineConfig | None = None) -> Engine:
    """Return the engine called `name`, built in or a plugin's, with its options; None: their defaults.

    Raises: `EngineError` for an unknown name, and for `auto`, which `choose` resolves.
    """
    from strands_diffusers.pipelines.engine.eager import EagerEngine
    from strands_diffusers.pipelines.engine.exact import ExactEngine

    known: dict[str, Any] = {"exact": ExactEngine, "eager": EagerEngine, **plugins().classes("engine")}
    if name not in known:
        names = ["auto", *known]
        raise EngineError(f"engine={name} is not an engine.{near_miss(name, names)} Use one of {', '.join(names)}.")
    return plugins().make(known[name], config)  # type: ignore[no-any-return]


def choose(name: str, pipe: Any, call: Call, config: EngineConfig | None = None) -> tuple[Engine, str | None]:
    """Return the engine that will run `call`, and the one line why where `auto` had to fall back to `eager`.

    Raises: `EngineError` where an engine that was asked for by name cannot hold.
    """
    engine = get_engine("exact" if name == "auto" else name, config)
    reason = engine.refuse(pipe, call)
    if reason is None:
        return engine, None
    if name == "auto":
        return get_engine("eager"), f"engine=exact cannot hold here: {reason}"
    raise EngineError(f"engine={name} cannot hold here: {reason} {INSTEAD}")


def refuse_before_load(
    name: str, pipeline: str, mode: str, device: str, dtype: str = "auto", offload: str = "none"
) -> str | None:
    """Return why engine `name` cannot serve, and what can, as far as is known before any weight is loaded.

    None where it may. `pipeline` is the diffusers class name, `mode` the condition's, the rest is as in the config.
    """
    try:
        reason = None if name == "auto" else get_engine(name).refuse_before_load(pipeline, mode, device, dtype, offload)
    except EngineError as error:
        return str(error)
    return None if reason is None else f"engine={name} cannot hold here: {reason} {INSTEAD}"
