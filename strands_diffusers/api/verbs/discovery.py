"""What diffusers has to offer, read from its sources: fast, and without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from strands_diffusers.api.request import Reply, Request, ok, only, preview, require
from strands_diffusers.api.store import PREFIX, STORE
from strands_diffusers.errors import ConfigError, near_miss
from strands_diffusers.pipelines import catalog
from strands_diffusers.pipelines.catalog import MODALITIES, PipelineInfo

PAGE = 40
"""Entries of a list that one reply shows: an agent reads all of a reply, and pays for it."""

T = TypeVar("T")


def wfm(request: Request) -> Reply:
    """World-foundation and action-capable pipelines: what each takes and gives."""
    return _pipelines(request, catalog.world_models(), "world-foundation and action-capable pipelines")


def pipelines(request: Request) -> Reply:
    """Every pipeline class."""
    return _pipelines(request, catalog.everything(), "pipelines")


def models(request: Request) -> Reply:
    """Every model class: transformers, autoencoders, controlnets."""
    return _classes(request, catalog.models(), "model classes")


def schedulers(request: Request) -> Reply:
    """Every scheduler class."""
    return _classes(request, catalog.schedulers(), "schedulers")


def _pipelines(request: Request, found: Sequence[PipelineInfo], what: str) -> Reply:
    """The pipelines that pass the filters of the request, as many as its limit lets through."""
    known: dict[str, Any] = {"name": str, "family": str, "takes": str, "gives": str, "limit": int, "offset": int}
    spec = only(request.parameters, known, request.action)
    for key in ("takes", "gives"):
        if (kind := spec.get(key, MODALITIES[0])) not in MODALITIES:
            raise ConfigError(f"{key}={kind!r} is none of {', '.join(MODALITIES)}.{near_miss(kind, MODALITIES)}")
    kept = [
        info
        for info in found
        if spec.get("name", "").lower() in info.name.lower()
        and spec.get("family", "").lower() in info.family
        and ("takes" not in spec or spec["takes"] in info.inputs)
        and ("gives" not in spec or spec["gives"] in info.outputs)
    ]
    width = max((len(info.name) for info in kept), default=0)

    def line(info: PipelineInfo) -> str:
        return f"{info.name:<{width}}  {info.modality}{'  modular' if info.modular else ''}"

    shown, text = _page(kept, spec, f"{len(kept)} of {len(found)} {what}", line)
    details = {
        info.name: {"takes": [*info.inputs], "gives": [*info.outputs], "modular": info.modular, "family": info.family}
        for info in shown
    }
    return ok(text, data=[info.name for info in shown], details=details)


def _classes(request: Request, found: Sequence[str], what: str) -> Reply:
    spec = only(request.parameters, {"name": str, "limit": int, "offset": int}, request.action)
    kept = [name for name in found if spec.get("name", "").lower() in name.lower()]
    shown, text = _page(kept, spec, f"{len(kept)} of {len(found)} {what}", str)
    return ok(text, data=list(shown))


def _page(kept: Sequence[T], spec: Mapping[str, Any], title: str, line: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """The entries from `offset` on, at most `limit`, and a text of them that says how to see the others."""
    start, limit = spec.get("offset", 0), spec.get("limit", PAGE)
    if start < 0 or limit < 1:
        raise ConfigError(f"limit={limit} and offset={start}: a list begins at 0 and shows 1 or more.")
    shown = kept[start : start + limit]
    lines = [f"{title}:", *(f"  {line(each)}" for each in shown)]
    if (left := len(kept) - start - len(shown)) > 0:
        lines.append(f'{left} more: parameters={{"offset": {start + len(shown)}}}, or filter by name.')
    return shown, "\n".join(lines)


def tasks(request: Request) -> Reply:
    """The tasks of `AutoPipelineFor*`: task -> family -> class."""
    found = catalog.tasks()
    return ok("Task tables of AutoPipelineFor*:\n" + json.dumps(found, indent=2), data=found)


def modalities(request: Request) -> Reply:
    """Pipelines by what they turn into what: how many of each, and the first names."""
    spec = only(request.parameters, {"name": str, "limit": int}, request.action)
    groups = {label: names for label, names in catalog.modalities().items() if spec.get("name", "") in label}
    limit = spec.get("limit", 3)
    data = {label: {"count": len(names), "names": names[:limit]} for label, names in groups.items()}
    lines = [f"{label} ({len(names)}): {', '.join(names[:limit])}" for label, names in groups.items()]
    more = 'All of one: parameters={"name": "image-to-video", "limit": 100}.'
    return ok("\n".join(["Pipelines by what they take and give:", *lines, more]), data=data)


def pipeline_info(request: Request) -> Reply:
    """One pipeline: parameters with defaults, components, outputs, documentation."""
    name = require(request.target or request.pipeline, "target", request.action, "Cosmos3OmniPipeline")
    found = catalog.pipeline_info(name)
    return ok(f"{name}: {found['modality']}\n{preview(found, 8000)}", data=found)


def inspect(request: Request) -> Reply:
    """Anything that `call` can reach: its signature, methods and documentation."""
    name = require(request.target or request.pipeline, "target", request.action, "UniPCMultistepScheduler")
    found = _kept(name) if name.startswith(PREFIX) else catalog.describe_name(name)
    return ok(f"{name}\n{preview(found, 8000)}", data=found)


def _kept(name: str) -> dict[str, Any]:
    """A kept object: what it is, and its public methods."""
    from strands_diffusers.api import names
    from strands_diffusers.api.serialize import Writer

    kept, attributes = STORE.split(name)
    function, value = names.resolve(name) if attributes else (None, kept)
    if function:
        return {"name": name, **names.signature(function)}
    described = Writer(save=False).value(value)
    if attributes:
        return {"name": name, "value": described}
    more = described if isinstance(described, dict) else {"value": described}
    return {"name": name, "class": type(value).__name__, **more, "methods": names.methods(value)}
