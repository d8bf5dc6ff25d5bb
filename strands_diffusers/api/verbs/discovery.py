"""What diffusers has to offer, read from its sources: fast, and without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from strands_diffusers.api.request import Reply, Request, ok, require
from strands_diffusers.api.store import PREFIX, STORE
from strands_diffusers.pipelines import catalog
from strands_diffusers.pipelines.catalog import PipelineInfo


def wfm(request: Request) -> Reply:
    """World-foundation and action-capable pipelines: what each takes and gives."""
    found = catalog.world_models()
    return ok(
        f"{len(found)} world-foundation and action-capable pipelines:\n{_lines(found)}",
        data=[info.name for info in found],
        details={info.name: _detail(info) for info in found},
    )


def pipelines(request: Request) -> Reply:
    """Every pipeline class."""
    found = catalog.everything()
    return ok(
        f"{len(found)} pipelines:\n{_lines(found)}",
        data=[info.name for info in found],
        details={info.name: _detail(info) for info in found},
    )


def models(request: Request) -> Reply:
    """Every model class: transformers, autoencoders, controlnets."""
    names = list(catalog.models())
    return ok(f"{len(names)} model classes:\n  " + "\n  ".join(names), data=names)


def schedulers(request: Request) -> Reply:
    """Every scheduler class."""
    names = list(catalog.schedulers())
    return ok(f"{len(names)} schedulers:\n  " + "\n  ".join(names), data=names)


def tasks(request: Request) -> Reply:
    """The tasks of `AutoPipelineFor*`: task -> family -> class."""
    found = catalog.tasks()
    return ok("Task tables of AutoPipelineFor*:\n" + json.dumps(found, indent=2), data=found)


def modalities(request: Request) -> Reply:
    """Pipelines by what they turn into what."""
    groups = catalog.modalities()
    lines = [f"{label} ({len(names)}): {', '.join(names)}" for label, names in groups.items()]
    return ok("Pipelines by what they take and give:\n" + "\n".join(lines), data=groups)


def pipeline_info(request: Request) -> Reply:
    """One pipeline: parameters with defaults, components, outputs, documentation."""
    name = require(request.target or request.pipeline, "target", request.action, "Cosmos3OmniPipeline")
    found = catalog.pipeline_info(name)
    return ok(f"{name}: {found['modality']}\n{json.dumps(found, indent=2)}", data=found)


def inspect(request: Request) -> Reply:
    """Anything that `call` can reach: its signature, methods and documentation."""
    name = require(request.target or request.pipeline, "target", request.action, "UniPCMultistepScheduler")
    found = _kept(name) if name.startswith(PREFIX) else catalog.describe_name(name)
    return ok(f"{name}\n{json.dumps(found, indent=2)}", data=found)


def _kept(name: str) -> dict[str, Any]:
    """A kept object: what it is, and its public methods."""
    from strands_diffusers.api import names
    from strands_diffusers.api.serialize import Writer

    key, attributes = STORE.split(name)
    if attributes:
        target = names.resolve(name)
        value = target.function or target.value
        return {
            "name": name,
            **(names.signature(value) if callable(value) else {"value": Writer(save=False).value(value)}),
        }
    value = STORE.get(key)
    described = Writer(save=False).value(value)
    more = described if isinstance(described, dict) else {"value": described}
    return {"name": name, "class": type(value).__name__, **more, "methods": names.methods(value)}


def _detail(info: PipelineInfo) -> dict[str, Any]:
    return {
        "takes": list(info.inputs),
        "gives": list(info.outputs),
        "modular": info.modular,
        "family": info.family,
        "module": info.module,
        "modality": info.modality,
    }


def _lines(found: Sequence[PipelineInfo]) -> str:
    width = max((len(info.name) for info in found), default=0)
    return "\n".join(f"  {info.name:<{width}}  {info.modality}{'  modular' if info.modular else ''}" for info in found)
