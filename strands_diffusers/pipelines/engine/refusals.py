"""When `engine=exact` does not reproduce diffusers' call: each reason in one line, fit to be shown to a user.

The engine calls the parts of the transformer itself. Whatever was put around or in place of those parts (another
attention processor, a hook, a compiled layer) would be left out, so it is looked for and named.
"""

import inspect
from typing import Any

from strands_diffusers.config.models import COSMOS3
from strands_diffusers.errors import first_few
from strands_diffusers.pipelines.engine import seams
from strands_diffusers.plugin.engine import Call

OWN_STATE = frozenset(
    ["latents", "sound_latents", "action_latents", "callback_on_step_end", "return_dict", "output_type", "generator"]
)
"""Arguments that the engine sets or has no place for."""


def refuse_pipeline(name: str) -> str | None:
    """Return why pipelines of this class cannot be served, or None."""
    return None if name == COSMOS3 else f"it knows the inside of {COSMOS3} alone, and this model is a {name}."


def refuse_exact(pipe: Any, call: Call) -> str | None:
    """Return why the engine cannot hold for this pipeline and call, or None."""
    import diffusers

    if reason := refuse_pipeline(type(pipe).__name__):
        return reason
    if type(pipe) is not getattr(diffusers, COSMOS3, None):
        return "this Cosmos3OmniPipeline is a class of its own, not diffusers'."
    if moved := [path.partition(":")[2] for path in seams.changed()]:
        names = first_few(moved, 1)
        return f"diffusers {diffusers.__version__} changed {names}, which this version was not tested against."
    return (
        _refuse_transformer(pipe.transformer)
        or _refuse_vae(pipe.vae)
        or _refuse_replaced(pipe, pipe.transformer, pipe.vae)
        or _refuse_call(pipe, call)
    )


def _refuse_replaced(*parts: Any) -> str | None:
    """Name a method that was replaced on the instance: diffusers would call it, the engine would not."""
    for part in parts:
        replaced = seams.mirrored_names(type(part)) & set(vars(part))
        if replaced:
            return f"{type(part).__name__}.{min(replaced)} was replaced on this pipeline."
    return None


def _refuse_call(pipe: Any, call: Call) -> str | None:
    import torch
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import Cosmos3MixedPrecisionConfig

    known = inspect.signature(type(pipe).__call__).parameters
    for name, value in call.arguments.items():
        if name not in known:
            return f"Cosmos3OmniPipeline takes no argument {name}."
        if name in OWN_STATE and value is not None:
            return f"the argument {name} is diffusers' own call's alone."
    device = pipe._get_execution_device().type
    if torch.is_autocast_enabled(device):
        return "torch.autocast is on."
    precision = {name: value for name, value in call.arguments.items() if name.startswith("mixed_precision_")}
    if Cosmos3MixedPrecisionConfig.resolve(pipe.transformer, **precision).enabled:
        return (
            "the checkpoint's mixed FP8 precision changes from step to step, so that nothing can be kept over the steps; "
            "the price is text, frames and video worked out in full, 2 to 5 times the work (model.revision=null: 16 bits)."
        )
    return None


def _refuse_transformer(transformer: Any) -> str | None:
    from diffusers import Cosmos3OmniTransformer

    if type(transformer) is not Cosmos3OmniTransformer:
        return f"the transformer is a {type(transformer).__name__}, not diffusers' Cosmos3OmniTransformer."
    if transformer._cp_shard_fn is not None or transformer._cp_gather_fn is not None:
        return "the transformer is sharded over devices (context parallelism)."
    if transformer.is_cache_enabled:
        return "a step cache is enabled on the transformer: disable_cache() switches it off."
    for index, attn in enumerate(layer.self_attn for layer in transformer.layers):
        if type(attn.processor).__name__ != "Cosmos3AttnProcessor" or "__call__" in vars(attn.processor):
            return f"the attention processor of layer {index} is {type(attn.processor).__name__}."
        if attn.processor._parallel_config is not None:
            return "the attention is sharded over devices (context parallelism)."
    modules = transformer.named_modules()
    return next(filter(None, (_refuse_module(name or "the transformer", module) for name, module in modules)), None)


def _refuse_module(name: str, module: Any) -> str | None:
    """Name what sits around a module that the engine might not call. Leaves are called as modules: all is kept there."""
    state = vars(module)
    if reason := _refuse_hooks(name, module):
        return reason
    if not state["_modules"]:
        return None
    if state["_forward_hooks"] or state["_forward_pre_hooks"]:
        return f"a forward hook is registered on {name}."
    if "forward" in state and "_hf_hook" not in state:
        return f"the forward of {name} was replaced."
    if state.get("_compiled_call_impl") is not None:
        return f"{name} was compiled in place; engine=compiled compiles without touching the pipeline."
    return None


def _refuse_vae(vae: Any) -> str | None:
    from diffusers import AutoencoderKLWan

    if type(vae) is not AutoencoderKLWan:
        return f"the VAE is a {type(vae).__name__}, not diffusers' AutoencoderKLWan."
    if sum(vae.config.temperal_downsample) != 2 or int(vae.config.scale_factor_temporal) != 4:
        return "the VAE does not compress time by 4."
    return next(filter(None, (_refuse_hooks("the VAE", module) for module in vae.modules())), None)


def _refuse_hooks(name: str, module: Any) -> str | None:
    hooks = getattr(vars(module).get("_diffusers_hook"), "hooks", None)
    return f"diffusers hooks are active on {name} ({', '.join(sorted(hooks))})." if hooks else None
