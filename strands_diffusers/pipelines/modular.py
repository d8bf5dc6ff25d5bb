"""Modular pipelines: their configuration, components and named outputs are three steps where others have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strands_diffusers.errors import ModelError, near_miss
from strands_diffusers.pipelines import catalog


def is_modular(pipe_or_class: Any) -> bool:
    """Whether this is a modular pipeline, or the class of one."""
    from diffusers import ModularPipeline

    cls = pipe_or_class if isinstance(pipe_or_class, type) else type(pipe_or_class)
    return issubclass(cls, ModularPipeline)


def load(cls: Any, location: Path | str, arguments: dict[str, Any]) -> Any:
    """Read the configuration, load every component that has weights, and check that none is missing.

    `arguments` are those of `from_pretrained`; `workflow` among them loads only what that workflow needs.
    Raises: `ModelError` naming the components that could not be loaded, for diffusers itself only logs them.
    """
    options = {key: arguments.pop(key) for key in ("revision", "workflow") if key in arguments}
    pipe = cls(pretrained_model_name_or_path=str(location), **options)  # from_pretrained would choose a class by itself
    arguments.pop("low_cpu_mem_usage", None)
    pipe.load_components([name for name, spec in _weighted(pipe).items() if spec.type_hint is not None], **arguments)
    missing = [name for name in _weighted(pipe) if getattr(pipe, name, None) is None]
    needed = [
        name for name in missing if name in ("transformer", "unet", "vae", "scheduler") or name.startswith("text_")
    ]
    if needed:
        plain = cls.__name__.replace("Modular", "")
        instead = f", or pipeline={plain!r}" if plain in catalog.pipelines() else ""
        raise ModelError(
            f"{cls.__name__} could not load {', '.join(needed)} from {location}. Use a checkpoint that has them{instead}."
        )
    return pipe


def call(pipe: Any, positional: list[Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Run the blocks and return their named outputs, those that were made.

    Raises: `ModelError` for a positional argument, and for an input that no block takes: diffusers would ignore it.
    """
    if positional:
        raise ModelError(f"{type(pipe).__name__} takes named inputs only; put them in parameters, as prompt=...")
    inputs = [each.name for each in pipe.blocks.inputs if each.name]
    for name in arguments:
        if name not in inputs:
            raise ModelError(
                f"{type(pipe).__name__} takes no {name!r}.{near_miss(name, inputs)} It takes {', '.join(inputs)}."
            )
    names = [each.name for each in pipe.blocks.outputs]
    made = pipe(output=names, **arguments)
    return {name: made.get(name) for name in names if made.get(name) is not None}


def _weighted(pipe: Any) -> dict[str, Any]:
    """The specs of the components that come from the checkpoint; one without a class (`type_hint`) is not part of it."""
    return {
        name: spec for name, spec in pipe._component_specs.items() if spec.default_creation_method == "from_pretrained"
    }
