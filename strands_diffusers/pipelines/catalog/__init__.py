"""Which pipelines the installed diffusers ships, what each takes and gives: found in its sources, torch left alone.

The names come from diffusers' own import table and the rest from the classes behind them, so a family that diffusers
adds tomorrow is listed tomorrow. What was found is kept on disk until the sources change (`cache.py`).
"""

import ast
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strands_diffusers.domains import diffusers_folder
from strands_diffusers.errors import ModelError, near_miss
from strands_diffusers.pipelines.catalog import describe
from strands_diffusers.pipelines.catalog.cache import Cache
from strands_diffusers.pipelines.catalog.describe import MODALITIES as MODALITIES
from strands_diffusers.pipelines.catalog.describe import WORDS as WORDS
from strands_diffusers.pipelines.catalog.describe import PipelineInfo as PipelineInfo
from strands_diffusers.pipelines.catalog.reader import Class, Sources


def world_models() -> tuple[PipelineInfo, ...]:
    """Every world-foundation and action-capable pipeline, sorted by name.

    Also the still-image pipelines of a family that takes or gives actions (Cosmos 2 text to image belongs to Cosmos); no other.
    """
    found = everything()
    acting = {each.family for each in found if "action" in each.inputs + each.outputs}
    return tuple(each for each in found if each.is_world_model or (each.family in acting and each.outputs))


def pipelines() -> tuple[str, ...]:
    """Names of all public pipeline classes, sorted; those whose optional packages are missing included."""
    return tuple(sorted(name for name in public_names() if name.endswith("Pipeline")))


def models() -> tuple[str, ...]:
    """Names of all public model classes (transformers, autoencoders, controlnets, ...), sorted: whatever is a `ModelMixin`."""

    def find_all(sources: Sources) -> list[str]:
        names = [name for name, home in sources.public.items() if home in ("models", "pipelines") and name[0].isupper()]
        located = {n: sources.locate(n) for n in names if not n.endswith(("Pipeline", "Mixin", "Output"))}
        found = {name for name, each in located.items() if each and sources.descends(each, "ModelMixin")}
        return sorted(found | {"AutoModel"} & set(located))

    return tuple(_kept("models", find_all))


def schedulers() -> tuple[str, ...]:
    """Names of all public schedulers, sorted."""
    names = (name for name, home in public_names().items() if home == "schedulers")
    return tuple(sorted(name for name in names if name.endswith("Scheduler")))


def public_names() -> dict[str, str]:
    """Every public name of diffusers -> the submodule that exports it (`pipelines`, `models`, ...)."""
    return dict(_kept("public names", lambda sources: sources.public))


def tasks() -> dict[str, dict[str, str]]:
    """The task tables behind diffusers' `AutoPipelineFor*`: task -> checkpoint family -> pipeline class."""

    def read(sources: Sources) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for node in ast.walk(sources.module(sources.root / "pipelines" / "auto_pipeline.py").tree):
            if not isinstance(node, ast.Assign):
                continue
            target, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
            table = re.fullmatch(r"AUTO_(\w+)_PIPELINES_MAPPING(?:\['([^']+)'\])?", target)
            if table:
                pairs = [(table[2], value)] if table[2] else re.findall(r"\('([^']+)', (\w+)\)", value)
                task = (
                    "inpainting" if table[1] == "INPAINT" else table[1].lower().replace("2", "-to-").replace("_", "-")
                )
                found.setdefault(task, {}).update(pairs)  # the names that upstream uses
        return found

    return dict(_kept("tasks", read))


def modalities() -> dict[str, list[str]]:
    """Pipelines by what they turn into what: `image-to-video` -> names. One may be in several groups."""
    groups: dict[str, list[str]] = {}
    for each in everything():
        for given in each.inputs or ("noise",):
            for made in each.outputs or ("other",):
                groups.setdefault(f"{given}-to-{made}", []).append(each.name)
    return dict(sorted(groups.items()))


def everything() -> tuple[PipelineInfo, ...]:
    """All public pipelines with what they take and give, sorted by name."""

    def read(sources: Sources) -> list[PipelineInfo]:
        return [describe.info(sources, source) for source in map(sources.locate, pipelines()) if source]

    return tuple(map(_restored, _kept("everything", read)))


def find(name: str) -> PipelineInfo:
    """The pipeline class `name`. Raises: `ModelError` with a near miss where diffusers has no such public class."""
    found = pipeline_info(name)
    return _restored([found[field] for field in PipelineInfo._fields])


def pipeline_info(name: str) -> dict[str, Any]:
    """All that the sources say about one pipeline: call parameters with defaults, components, outputs, rate, documentation.

    Raises: `ModelError` with a near miss where diffusers has no such public class.
    """
    return dict(_kept(f"pipeline {name}", lambda sources: describe.details(sources, _pipeline(sources, name))))


def describe_name(name: str) -> dict[str, Any]:
    """What the sources say of any public name: a class with its methods and constructor, or a function; JSON-ready.

    `name` may carry the submodule that exports it (`schedulers.DDIMScheduler`), one method of a class, or `utils.` before
    one of diffusers' helpers.
    Raises: `ModelError` with a near miss for a name that diffusers does not export.
    """

    def read(sources: Sources) -> dict[str, Any]:
        parts = name.removeprefix("diffusers.").split(".")
        at = next((i for i, part in enumerate(parts) if part in sources.public), None)
        found: dict[str, Any] | None = None
        if at is None and parts[0] == "utils" and len(parts) == 2:
            found = describe.function_details(sources, parts[1], "utils")
        elif at is not None and len(parts) <= at + 2 and not any(part.startswith("_") for part in parts):
            source = sources.locate(parts[at])
            if source and len(parts) > at + 1:
                found = describe.method_details(sources, source, parts[at + 1])
            elif source:
                found = describe.class_details(sources, source)
            else:
                found = describe.function_details(sources, parts[at], sources.public[parts[at]])
        if found is None:
            near = near_miss(parts[-1], list(sources.public))
            raise ModelError(f"{name!r} is not a public name of diffusers.{near}")
        return {"name": name, **found}

    return dict(_kept(f"name {name}", read))


def stated_fps(name: str) -> float | None:
    """Rate [Hz] at which a pipeline's videos are meant to be seen, or None where its sources state none.

    The default of its `fps` or `frame_rate` parameter, else what the example in its own file exports with.
    """
    return pipeline_info(name)["fps"] if name in pipelines() else None


# ------------------------------------------------------------------------------------------------- from names to files


@functools.lru_cache(maxsize=4)
def _read(root: Path, _changed_ns: int) -> tuple[Sources, Cache]:
    return Sources(root), Cache(root)


def _kept(key: str, make: Callable[[Sources], Any]) -> Any:
    """What `make` finds in the sources of the installed diffusers, from the cache where it is known.

    They are kept for the process until the import table changes (an upgrade under a running server).
    """
    root = diffusers_folder()
    init = root / "__init__.py"
    if not init.is_file():
        raise ModelError(f"{root} is not a diffusers package: it has no __init__.py.")
    sources, cache = _read(root, init.stat().st_mtime_ns)
    return cache.get_or_make(key, lambda: make(sources))


def _restored(values: list[Any]) -> PipelineInfo:
    return PipelineInfo._make(tuple(value) if isinstance(value, list) else value for value in values)


def _pipeline(sources: Sources, name: str) -> Class:
    source = sources.locate(name) if name.endswith("Pipeline") else None
    if source is None:
        names = sorted(each for each in sources.public if each.endswith("Pipeline"))
        raise ModelError(
            f"{name!r} is not a pipeline of diffusers {sources.version}, which has {len(names)}."
            f"{near_miss(name, names)} List them with action='pipelines' (command line: strands-diffusers pipelines)."
        )
    return source
