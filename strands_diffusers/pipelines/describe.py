"""What one pipeline class takes and gives, judged by what its own source says.

A plain pipeline takes what its call signature accepts and gives what the output class that it returns has fields for; a
modular one takes and gives what its blocks document. No family is known by name.
"""

import ast
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from strands_diffusers.pipelines import blocks
from strands_diffusers.pipelines.signatures import Parameter, parameters
from strands_diffusers.pipelines.sources import ClassSource, Sources

MODALITIES = ("text", "image", "video", "sound", "action", "mesh")
"""What pipelines take and give, in the order in which tables list it."""

WORDS = {
    "prompt": "text", "prompts": "text", "text": "text", "texts": "text", "lyrics": "text",
    "image": "image", "images": "image", "rgb": "image", "prediction": "image",
    "video": "video", "videos": "video", "frames": "video",
    "audio": "sound", "audios": "sound", "sound": "sound", "waveforms": "sound", "music": "sound",
    "action": "action", "actions": "action",
    "mesh": "mesh", "meshes": "mesh", "verts": "mesh",
}  # fmt: skip
"""Words of parameter and field names -> modality."""

_NOT_CONTENT = frozenset({"adapter", "mask", "masked", "negative", "num", "noise"})
"""A name with one of these words is a knob, an add-on or a counter-example, not what the pipeline is about."""

FUTURES = (b"frames", b"video", b"action:", b"action (")
"""A file without any of these cannot hold a pipeline of video or actions."""

_NUMBER = re.compile(r"(?:Optional\[)?(?:int|float|bool)\]?(?: \| (?:int|float|bool|None))*")
_CONDITION = re.compile(r"\b(\w+Condition)\b")


class PipelineInfo(NamedTuple):  # a dataclass would cost the listing a tenth more time
    """One public pipeline class, as its sources describe it."""

    name: str
    """Class name, as `getattr(diffusers, name)` finds it."""

    module: str
    """Dotted path of the module that defines it."""

    family: str
    """The package it belongs to: `cosmos`, `wan`, `hunyuan_video`."""

    inputs: tuple[str, ...]
    """What it takes: a subset of `MODALITIES`, in that order."""

    outputs: tuple[str, ...]
    """What it gives: a subset of `MODALITIES`, in that order."""

    modular: bool
    """True for a `ModularPipeline`: components are loaded separately, outputs are named."""

    @property
    def modality(self) -> str:
        """One label: `text+image-to-video`."""
        return f"{'+'.join(self.inputs) or 'noise'}-to-{'+'.join(self.outputs) or 'other'}"

    @property
    def is_world_model(self) -> bool:
        """It makes a future, or speaks actions: action in or out, or video that is more than another video redone."""
        conditions = {"text", "image", "action"} & set(self.inputs)
        return "action" in self.inputs + self.outputs or ("video" in self.outputs and bool(conditions))


def info(sources: Sources, source: ClassSource) -> PipelineInfo:
    """Everything that lists and choices need to know of a pipeline class."""
    place = source.path.relative_to(sources.root).with_suffix("").parts
    modular = _is_modular(source)
    taken, given = _modular(sources, source) if modular else _plain(sources, source)
    return PipelineInfo(
        name=source.name,
        module=".".join(["diffusers", *place]),
        family=family(sources, source),
        inputs=_ordered(taken),
        outputs=_ordered(given),
        modular=modular,
    )


def family(sources: Sources, source: ClassSource) -> str:
    """The package that holds the pipeline: `cosmos` for both its plain and its modular ones."""
    folders = source.path.relative_to(sources.root).parts[:-1]
    return next((folder for folder in folders[1:] if folder != "deprecated"), folders[0] if folders else "")


def speaks_of_futures(sources: Sources, source: ClassSource) -> bool:
    """False where neither the file nor its blocks ever speak of video, frames or actions: not worth a closer look."""
    made_of = blocks.of_pipeline(sources, source)
    if made_of is None:
        return sources.mentions(source.path, FUTURES)
    return any(word.decode() in made_of.text for word in FUTURES)


def details(sources: Sources, source: ClassSource) -> dict[str, Any]:
    """All that the sources say, JSON-ready: call parameters with defaults, components, output fields, documentation."""
    known = info(sources, source)
    found: dict[str, Any] = {
        "name": known.name,
        "kind": "pipeline",
        "modality": known.modality,
        "module": known.module,
        "family": known.family,
        "inputs": list(known.inputs),
        "outputs": list(known.outputs),
        "modular": known.modular,
        "doc": ast.get_docstring(source.tree) or "",
    }
    if known.modular:
        made_of = blocks.of_pipeline(sources, source)
        doc = (ast.get_docstring(made_of.tree) if made_of else None) or ""
        return found | {
            "blocks": made_of.name if made_of else None,
            "call_params": {
                name: {"default": default, "annotation": kind} for name, kind, default in blocks.listed(doc, "Inputs")
            },
            "call_doc": doc,
            "components": dict(re.findall(r"(\w+)\s+\(`(\w+)`\)", blocks.section(doc, "Components"))),
            "output_fields": {name: kind for name, kind, _ in blocks.listed(doc, "Outputs")},
        }
    call = sources.inherited(source, "__call__")
    build = sources.inherited(source, "__init__")
    spec = parameters(call[1]) if call else ()
    return found | {
        "call_params": {item.name: {"default": item.default, "annotation": item.annotation} for item in spec},
        "call_doc": _docstring(call[1]) if call else "",
        "components": {item.name: item.annotation for item in parameters(build[1])} if build else {},
        "output_fields": _output_fields(sources, source),
    }


def rate(sources: Sources, source: ClassSource) -> float | None:
    """Frame rate [Hz] that a pipeline states: a parameter's default, else that of the example in its file."""
    made_of = blocks.of_pipeline(sources, source)
    call = sources.inherited(source, "__call__")
    if made_of:
        spec = {name: default for name, _, default in blocks.listed(made_of.text, "Inputs")}
    else:
        spec = {item.name: item.default for item in parameters(call[1])} if call else {}
    for name in ("fps", "frame_rate"):
        if re.fullmatch(r"\d+(?:\.\d*)?", spec.get(name, "")):
            return float(spec[name])
    example = re.search(r"export_to_video\([^)\n]*\bfps=(\d+)", sources.text(call[0].path)) if call else None
    return float(example[1]) if example else None


# -------------------------------------------------------------------------------------------------- plain pipelines


def _plain(sources: Sources, source: ClassSource) -> tuple[set[str], set[str]]:
    call = sources.inherited(source, "__call__")
    given = _kinds(_output_fields(sources, source))
    if call is None or not given:
        return set(), set()
    owner, method = call
    spec = parameters(method)
    if given == {"image"} and any(item.name in ("num_frames", "video_length") for item in spec):
        given = {"video"}
    if "video" in given and "text-to-image" in method:
        given.add("image")
    if '"mesh"' in method or "'mesh'" in method:
        given.add("mesh")
    return _taken(sources, owner, spec, method), given


def _output_fields(sources: Sources, source: ClassSource) -> dict[str, str]:
    """Fields of the output class that the call builds; where it builds none, of those that it is annotated with."""
    call = sources.inherited(source, "__call__")
    if call is None:
        return {}
    owner, method = call
    names = _ending(method, "Output(") or _ending(method, "Output")
    shared = sources.root / "pipelines" / "pipeline_utils.py"
    fields: dict[str, str] = {}
    for name in dict.fromkeys(names):
        output = sources.find(name, owner.path) or sources.find(name, shared)
        fields |= sources.fields(output) if output else {}
    return fields


def _ending(text: str, tail: str) -> list[str]:
    """The names in `text` that end in `tail`, without its bracket. Several times faster than the regular expression."""
    pieces = text.split(tail)
    starts = [re.search(r"\w*$", piece[-80:]) for piece in pieces[:-1]]
    return [f"{start[0]}{tail.rstrip('(')}" for start in starts if start and start[0]]


def _taken(sources: Sources, owner: ClassSource, spec: Iterable[Parameter], method: str) -> set[str]:
    taken: set[str] = set()
    for item in spec:
        annotation = item.annotation or ""
        kinds = _kinds({item.name: annotation})
        if not kinds and "PipelineImageInput" in annotation and not _NOT_CONTENT.intersection(item.name.split("_")):
            kinds = _documented_kinds(item.name, method)
        for condition in _CONDITION.findall(annotation):
            bundle = sources.find(condition, owner.path)
            kinds |= _kinds(sources.fields(bundle)) if bundle else set()
        taken |= kinds
    return taken


def _documented_kinds(name: str, method: str) -> set[str]:
    """Modalities named by the first line of a parameter's documentation: `Control image or video input used by ...`."""
    line = re.search(rf"^ +{name} \(.*\n +(.*)", method, re.MULTILINE)
    words = re.findall(r"[a-z]+", line[1].lower()) if line else []
    return {WORDS[word] for word in words if WORDS.get(word) in ("image", "video")}


# ------------------------------------------------------------------------------------------------ modular pipelines


def _is_modular(source: ClassSource) -> bool:
    return "modular_pipelines" in source.path.parts or source.name.endswith("ModularPipeline")


def _modular(sources: Sources, source: ClassSource) -> tuple[set[str], set[str]]:
    made_of = blocks.of_pipeline(sources, source)
    if made_of is None:
        return set(), set()
    inputs, outputs = blocks.named(sources, made_of, "Inputs"), blocks.named(sources, made_of, "Outputs")
    taken, given = _kinds(inputs), _kinds(outputs)
    for condition in _CONDITION.findall(" ".join(inputs.values())):
        bundle = sources.locate(condition)
        taken |= _kinds(sources.fields(bundle)) if bundle else set()
    if "video" in given and "text2image" in made_of.text:
        given.add("image")
    return taken, given


# ------------------------------------------------------------------------------------------------------------ words


def _kinds(names: dict[str, str]) -> set[str]:
    """Modalities of parameters or fields, by the last word of each name, unless its type says that it is a number."""
    found = set()
    for name, annotation in names.items():
        words = name.lower().split("_")
        if words[-1] in ("reference", "2") and len(words) > 1:
            words.pop()
        kind = WORDS.get(words[-1])
        if kind and not _NOT_CONTENT.intersection(words) and not _NUMBER.fullmatch(annotation):
            found.add(kind)
    return found


def _ordered(kinds: set[str]) -> tuple[str, ...]:
    return tuple(kind for kind in MODALITIES if kind in kinds)


def _docstring(method: str) -> str:
    node = ast.parse(method).body[0]
    assert isinstance(node, ast.FunctionDef)
    return ast.get_docstring(node) or ""
