"""Which engine runs: by name, by what the pipeline allows, and by what can be known before any weight is loaded."""

from typing import Any

from strands_diffusers.config.engines import EngineConfig
from strands_diffusers.errors import EngineError, near_miss
from strands_diffusers.pipelines.engine.base import Call, Engine
from strands_diffusers.pipelines.engine.memory import forget
from strands_diffusers.plugin.manager import plugins

__all__ = ["ENGINES", "choose", "forget", "get_engine", "refuse_before_load"]

ENGINES = ("auto", "exact", "eager", "compiled", "fp8", "cached")
"""The built-in ones; `auto` is `exact` where it can hold, else `eager`. Plugins bring more."""

COSMOS3 = "Cosmos3OmniPipeline"
"""The one pipeline class whose inside the engines other than `eager` know."""


def get_engine(name: str, cache_mb: int = 1024, config: EngineConfig | None = None) -> Engine:
    """Return the engine called `name`, keeping at most `cache_mb` megabytes of conditioning per pipeline.

    `config` holds the options of a plugin's engine; None: its defaults.

    Raises: `EngineError` for an unknown name, and for `auto`, which `choose` resolves.
    """
    from strands_diffusers.pipelines.engine.cached import CachedEngine
    from strands_diffusers.pipelines.engine.compiled import CompiledEngine
    from strands_diffusers.pipelines.engine.eager import EagerEngine
    from strands_diffusers.pipelines.engine.exact import ExactEngine
    from strands_diffusers.pipelines.engine.fp8 import Fp8Engine

    if name == "eager":
        return EagerEngine()
    if name == "cached":
        return CachedEngine()
    exact = {"exact": ExactEngine, "compiled": CompiledEngine, "fp8": Fp8Engine}
    if name in exact:
        return exact[name](cache_bytes=cache_mb * 1024**2)
    others = plugins().classes("engine")
    if name in others:
        return plugins().make(others[name], config)  # type: ignore[no-any-return]
    raise EngineError(_unknown(name))


def choose(
    name: str, pipe: Any, call: Call, cache_mb: int = 1024, config: EngineConfig | None = None
) -> tuple[Engine, str | None]:
    """Return the engine that will run `call`, and the one line why where `auto` had to fall back to `eager`.

    Raises: `EngineError` where an engine that was asked for by name cannot hold.
    """
    engine = get_engine("exact" if name == "auto" else name, cache_mb, config)
    reason = engine.refuse(pipe, call)
    if reason is None:
        return engine, None
    if name == "auto":
        return get_engine("eager"), f"engine=exact cannot hold here: {reason}"
    raise EngineError(f"engine={name} cannot hold here: {reason} {_instead(name)}")


def refuse_before_load(
    name: str, pipeline: str, mode: str, device: str, dtype: str = "auto", offload: str = "none"
) -> str | None:
    """Return why engine `name` cannot serve, as far as is known before any weight is loaded; None where it may.

    `pipeline` is the diffusers class name, `mode` the condition's, `device`, `dtype` and `offload` as in the config (an
    `auto` device is resolved where the answer depends on it). The line names what can serve instead.
    """
    if name in ("auto", "eager") or name in plugins().classes("engine"):
        return None
    if name not in ENGINES:
        return _unknown(name)
    if pipeline != COSMOS3:
        return f"engine={name} knows the inside of {COSMOS3} alone, and this model is a {pipeline}. Use engine=auto or eager."
    reason = None
    if name != "cached" and offload == "group":
        reason = "group offloading hooks run inside diffusers' own call alone (model.offload=none, model or sequential work)."
    elif name == "cached":
        from strands_diffusers.pipelines.engine.cached import refuse_mode

        reason = refuse_mode(mode)
    elif name in ("compiled", "fp8"):
        from strands_diffusers.pipelines.engine import compiled, fp8
        from strands_diffusers.pipelines.loader import resolve_device

        device = resolve_device(device) if device == "auto" else device
        reason = (
            compiled.refuse_machine(device, offload)
            if name == "compiled"
            else fp8.refuse_machine(device, dtype, offload)
        )
    return None if reason is None else f"engine={name} cannot hold here: {reason} {_instead(name)}"


def _unknown(name: str) -> str:
    known = [*ENGINES, *plugins().classes("engine")]
    return f"engine={name} is not an engine.{near_miss(name, known)} Use one of {', '.join(known)}."


def _instead(name: str) -> str:
    return "Use engine=eager." if name == "exact" else "Use engine=auto, exact or eager."
