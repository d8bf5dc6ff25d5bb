"""Which pipelines the installed diffusers ships, what each takes and gives: found in its sources, torch left alone.

The names come from diffusers' own import table and the rest from the classes behind them (`describe.py`), so a family
that diffusers adds tomorrow is listed tomorrow.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from strands_diffusers.errors import ModelError, near_miss
from strands_diffusers.pipelines.describe import (
    FUTURES,
    MODALITIES,
    PipelineInfo,
    details,
    info,
    rate,
    speaks_of_futures,
)
from strands_diffusers.pipelines.members import class_details, function_details, method_details
from strands_diffusers.pipelines.sources import ClassSource, Sources, installed

__all__ = [
    "MODALITIES",
    "PipelineInfo",
    "describe_name",
    "everything",
    "find",
    "modalities",
    "models",
    "pipeline_info",
    "pipelines",
    "public_names",
    "schedulers",
    "stated_fps",
    "tasks",
    "world_models",
]


def world_models(root: Path | None = None) -> tuple[PipelineInfo, ...]:
    """Every world-foundation and action-capable pipeline, sorted by name.

    Also the still-image pipelines of a family that speaks actions (Cosmos 2 text to image belongs to Cosmos); no other.

    Args:
        root: Folder of a diffusers package; None: the installed one.
    """
    sources = _sources(root)
    names = _pipeline_names(sources)
    found = {
        source.name: info(sources, source) for source in map(sources.locate, _candidates(sources, names)) if source
    }
    acting = {each.family for each in found.values() if "action" in each.inputs + each.outputs}
    for name in names:
        path = sources.file_of(name)
        if name not in found and path and acting.intersection(path.parts) and (source := sources.locate(name)):
            found[name] = info(sources, source)
    listed = (each for each in found.values() if each.is_world_model or (each.family in acting and each.outputs))
    return tuple(sorted(listed, key=lambda each: each.name))


def pipelines(root: Path | None = None) -> tuple[str, ...]:
    """Names of all public pipeline classes, sorted; those whose optional packages are missing included."""
    return _pipeline_names(_sources(root))


def models(root: Path | None = None) -> tuple[str, ...]:
    """Names of all public model classes (transformers, autoencoders, controlnets, ...), sorted: whatever is a `ModelMixin`."""
    sources = _sources(root)
    found = []
    for name, home in sources.public.items():
        if (
            home not in ("models", "pipelines")
            or name.endswith(("Pipeline", "Mixin", "Output"))
            or not name[0].isupper()
        ):
            continue
        source = sources.locate(name)
        if name == "AutoModel" or (source and sources.descends(source, "ModelMixin")):
            found.append(name)
    return tuple(sorted(found))


def schedulers(root: Path | None = None) -> tuple[str, ...]:
    """Names of all public schedulers, sorted."""
    names = (name for name, home in _sources(root).public.items() if home == "schedulers")
    return tuple(sorted(name for name in names if name.endswith("Scheduler")))


def public_names(root: Path | None = None) -> dict[str, str]:
    """Every public name of diffusers -> the submodule that exports it (`pipelines`, `models`, ...)."""
    return dict(_sources(root).public)


def tasks(root: Path | None = None) -> dict[str, dict[str, str]]:
    """The task tables behind diffusers' `AutoPipelineFor*`: task -> checkpoint family -> pipeline class."""
    sources = _sources(root)
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(ast.parse(sources.text(sources.root / "pipelines" / "auto_pipeline.py"))):
        if not isinstance(node, ast.Assign):
            continue
        target, value = ast.unparse(node.targets[0]), ast.unparse(node.value)
        table = re.fullmatch(r"AUTO_(\w+)_PIPELINES_MAPPING(?:\['([^']+)'\])?", target)
        if table:
            pairs = [(table[2], value)] if table[2] else re.findall(r"\('([^']+)', (\w+)\)", value)
            found.setdefault(_task(table[1]), {}).update(pairs)
    return found


def modalities(root: Path | None = None) -> dict[str, list[str]]:
    """Pipelines by what they turn into what: `image-to-video` -> names. One may be in several groups."""
    groups: dict[str, list[str]] = {}
    for each in everything(root):
        for given in each.inputs or ("noise",):
            for made in each.outputs or ("other",):
                groups.setdefault(f"{given}-to-{made}", []).append(each.name)
    return dict(sorted(groups.items()))


def everything(root: Path | None = None) -> tuple[PipelineInfo, ...]:
    """All public pipelines with what they take and give, sorted by name."""
    sources = _sources(root)
    return tuple(info(sources, source) for source in map(sources.locate, _pipeline_names(sources)) if source)


def find(name: str, root: Path | None = None) -> PipelineInfo:
    """The pipeline class `name`. Raises: `ModelError` with a near miss where diffusers has no such public class."""
    sources = _sources(root)
    return info(sources, _pipeline(sources, name))


def pipeline_info(name: str, root: Path | None = None) -> dict[str, Any]:
    """All that the sources say about one pipeline: call parameters with defaults, components, outputs, documentation.

    Raises: `ModelError` with a near miss where diffusers has no such public class.
    """
    sources = _sources(root)
    return details(sources, _pipeline(sources, name))


def describe_name(name: str, root: Path | None = None) -> dict[str, Any]:
    """What the sources say of any public name: a class with its methods and constructor, or a function; JSON-ready.

    `name` may carry the submodule that exports it (`schedulers.DDIMScheduler`), one method of a class, or `utils.` before
    one of diffusers' helpers.
    Raises: `ModelError` with a near miss for a name that diffusers does not export.
    """
    sources = _sources(root)
    parts = name.removeprefix("diffusers.").split(".")
    at = next((i for i, part in enumerate(parts) if part in sources.public), None)
    if at is None and parts[0] == "utils" and len(parts) == 2:
        found = function_details(sources, parts[1], sources.root / "utils" / "__init__.py")
    elif at is None or len(parts) > at + 2 or any(part.startswith("_") for part in parts):
        found = None
    else:
        source = sources.locate(parts[at])
        home = sources.root.joinpath(*sources.public[parts[at]].split(".")) / "__init__.py"
        found = class_details(sources, source) if source else function_details(sources, parts[at], home)
        if len(parts) > at + 1 and source:
            found = method_details(sources, source, parts[at + 1])
    if found is None:
        names = [*sources.public]
        raise ModelError(f"{name!r} is not a public name of diffusers.{near_miss(parts[-1], names)}")
    return {"name": name, **found}


def stated_fps(name: str, root: Path | None = None) -> float | None:
    """Rate [Hz] at which a pipeline's films are meant to be seen, or None where its sources state none.

    The default of its `fps` or `frame_rate` parameter, else what the example in its own file exports with.
    """
    sources = _sources(root)
    source = sources.locate(name) if name in sources.public else None
    return rate(sources, source) if source else None


# ------------------------------------------------------------------------------------------------- from names to files


@functools.lru_cache(maxsize=4)
def _tree(root: Path, _changed_ns: int) -> Sources:
    return Sources(root)


def _sources(root: Path | None) -> Sources:
    """The tree at `root`, kept for the process until its import table changes (an upgrade under a running server)."""
    root = installed() if root is None else Path(root)
    init = root / "__init__.py"
    if not init.is_file():
        raise ModelError(f"{root} is not a diffusers package: it has no __init__.py.")
    return _tree(root, init.stat().st_mtime_ns)


def _pipeline_names(sources: Sources) -> tuple[str, ...]:
    return tuple(sorted(name for name in sources.public if name.endswith("Pipeline")))


def _candidates(sources: Sources, names: tuple[str, ...]) -> Iterator[str]:
    """The names whose files could hold a world model: a cheap look at each that spares most of them a close one."""
    for name in names:
        path = sources.file_of(name)
        if path is None or sources.mentions(path, (b"default_blocks_name",)):
            source = sources.locate(name)
            if source and speaks_of_futures(sources, source):
                yield name
        elif sources.mentions(path, FUTURES):
            yield name


def _pipeline(sources: Sources, name: str) -> ClassSource:
    source = sources.locate(name) if name.endswith("Pipeline") else None
    if source is None:
        names = _pipeline_names(sources)
        raise ModelError(
            f"{name!r} is not a pipeline of diffusers {sources.version}, which has {len(names)}."
            f"{near_miss(name, names)} List them with action='pipelines' (command line: strands-diffusers pipelines)."
        )
    return source


def _task(table: str) -> str:
    """`TEXT2IMAGE` -> `text-to-image`, `INPAINT` -> `inpainting` (the names that upstream uses)."""
    return {"INPAINT": "inpainting"}.get(table, table.lower().replace("2", "-to-").replace("_", "-"))
