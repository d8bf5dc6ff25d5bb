"""What one pipeline class takes and gives, judged by what its own source says.

A plain pipeline takes what its call signature accepts and gives what the output class that it returns has fields for; a
modular one takes and gives what its blocks document. No family is known by name.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from strands_diffusers.pipelines.catalog.reader import REQUIRED, Class, Function, Parameter, Sources, called, texts

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
"""A name with one of these words is an option, an add-on or a counter-example, not content."""

_NUMBER = re.compile(r"(?:Optional\[)?(?:int|float|bool)\]?(?: \| (?:int|float|bool|None))*")
_CONDITION = re.compile(r"\b(\w+Condition)\b")
_ENTRY = re.compile(
    r"^ +(\w+) \(`([^`]*)`(, \*optional\*)?(?:, defaults to ((?:[^()\n]|\([^()\n]*\))+))?\)", re.MULTILINE
)


class PipelineInfo(NamedTuple):
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
        """It generates video from text, images or actions, or takes or gives actions; redoing a video alone is neither."""
        conditions = {"text", "image", "action"} & set(self.inputs)
        return "action" in self.inputs + self.outputs or ("video" in self.outputs and bool(conditions))


def info(sources: Sources, source: Class) -> PipelineInfo:
    """Everything that lists and choices need to know of a pipeline class."""
    modular = "modular_pipelines" in source.path.parts or source.name.endswith("ModularPipeline")
    taken, given = _modular(sources, source) if modular else _plain(sources, source)
    folders = source.path.relative_to(sources.root).parts[:-1]
    return PipelineInfo(
        name=source.name,
        module=sources.dotted(source.path),
        family=next((folder for folder in folders[1:] if folder != "deprecated"), folders[0] if folders else ""),
        inputs=_ordered(taken),
        outputs=_ordered(given),
        modular=modular,
    )


def details(sources: Sources, source: Class) -> dict[str, Any]:
    """All that the sources say, JSON-ready: call parameters with defaults, components, output fields, documentation."""
    known = info(sources, source)
    found = {"kind": "pipeline", "modality": known.modality, "doc": source.doc, **known._asdict()}
    found |= {"inputs": list(known.inputs), "outputs": list(known.outputs)}
    if known.modular:
        blocks = _blocks(sources, source)
        doc = blocks.doc if blocks else ""
        return found | {
            "blocks": blocks.name if blocks else None,
            "call_params": _spec(_listed(doc, "Inputs")),
            "fps": _rate(_listed(doc, "Inputs"), ""),
            "call_doc": doc,
            "components": dict(re.findall(r"(\w+)\s+\(`(\w+)`\)", _section(doc, "Components"))),
            "output_fields": {item.name: item.annotation for item in _listed(doc, "Outputs")},
        }
    call, build = sources.inherited(source, "__call__"), sources.inherited(source, "__init__")
    return found | {
        "call_params": _spec(call.parameters if call else ()),
        "fps": _rate(call.parameters, call.module.source) if call else None,
        "call_doc": call.doc if call else "",
        "components": {item.name: item.annotation for item in build.parameters} if build else {},
        "output_fields": _output_fields(sources, source),
    }


def class_details(sources: Sources, source: Class) -> dict[str, Any]:
    """A class: where it is, what it is built from, how it is called, its public methods, its documentation."""
    found: dict[str, Any] = {
        "kind": "class",
        "module": sources.dotted(source.path),
        "bases": list(source.bases),
        "doc": source.doc,
        "methods": sorted(_methods(sources, source)),
    }
    build, call = sources.inherited(source, "__init__"), sources.inherited(source, "__call__")
    if build or sources.fields(source):
        found["init_params"] = _spec(build.parameters if build else source.fields.values())
    return found | ({"call_params": _spec(call.parameters)} if call else {})


def method_details(sources: Sources, source: Class, name: str) -> dict[str, Any] | None:
    """One method of a class, its own or inherited; None where there is none of that name."""
    found = sources.inherited(source, name)
    return None if found is None else {"kind": "method", "class": found.owner, **_function(sources, found)}


def function_details(sources: Sources, name: str, package: str) -> dict[str, Any] | None:
    """A function that a submodule of diffusers exports; None where none of its modules defines it."""
    folder = sources.root.joinpath(*package.split("."))
    modules = map(sources.module, (folder.with_suffix(".py"), *sorted(folder.glob("*.py"))))
    found = (Function(module.functions[name], module) for module in modules if name in module.functions)
    function = next(found, None)
    return None if function is None else {"kind": "function", **_function(sources, function)}


def _rate(parameters: Iterable[Parameter], file: str) -> float | None:
    """Frame rate [Hz] that a pipeline states: a parameter's default, else that of the example in its file."""
    stated = {item.name: item.default for item in parameters}
    texts = (stated.get(name, "") for name in ("fps", "frame_rate"))
    number = next((text for text in texts if re.fullmatch(r"\d+(?:\.\d*)?", text)), None)
    if number is None and (example := re.search(r"export_to_video\([^)\n]*\bfps=(\d+)", file)):
        number = example[1]
    return None if number is None else float(number)


def _spec(items: Iterable[Parameter]) -> dict[str, dict[str, str | None]]:
    return {item.name: {"default": item.default, "annotation": item.annotation} for item in items}


def _function(sources: Sources, function: Function) -> dict[str, Any]:
    return {"module": sources.dotted(function.path), "params": _spec(function.parameters), "doc": function.doc}


def _methods(sources: Sources, source: Class) -> set[str]:
    own = {name for name in source.methods if "a" <= name[0] <= "z"}
    return own.union(*(_methods(sources, parent) for parent in sources.parents(source)))


# -------------------------------------------------------------------------------------------------- plain pipelines


def _plain(sources: Sources, source: Class) -> tuple[set[str], set[str]]:
    call = sources.inherited(source, "__call__")
    given = _kinds(_output_fields(sources, source))
    if call is None or not given:
        return set(), set()
    if given == {"image"} and any(item.name in ("num_frames", "video_length") for item in call.parameters):
        given = {"video"}
    if "video" in given and "text-to-image" in call.text:
        given.add("image")
    if '"mesh"' in call.text or "'mesh'" in call.text:
        given.add("mesh")
    return _taken(sources, call), given


def _output_fields(sources: Sources, source: Class) -> dict[str, str]:
    """Fields of the output class that the call builds; where it builds none, of those that it names."""
    call = sources.inherited(source, "__call__")
    if call is None:
        return {}
    names = re.findall(r"\w*Output(?=\()", call.text) or re.findall(r"\w*Output", call.text)
    fields: dict[str, str] = {}
    for name in dict.fromkeys(names):
        shared = sources.root / "pipelines" / "pipeline_utils.py"
        output = sources.find(name, call.path) or sources.find(name, shared)
        fields |= sources.fields(output) if output else {}
    return fields


def _taken(sources: Sources, method: Function) -> set[str]:
    taken: set[str] = set()
    for item in method.parameters:
        annotation = item.annotation or ""
        kinds = _kinds({item.name: annotation})
        if not kinds and "PipelineImageInput" in annotation and not _NOT_CONTENT.intersection(item.name.split("_")):
            # named by the first line of its documentation: `Control image or video input used by ...`
            line = re.search(rf"^ +{item.name} \(.*\n +(.*)", method.text, re.MULTILINE)
            words = re.findall(r"[a-z]+", line[1].lower()) if line else []
            kinds = {WORDS[word] for word in words if WORDS.get(word) in ("image", "video")}
        for condition in _CONDITION.findall(annotation):
            bundle = sources.find(condition, method.path)
            kinds |= _kinds(sources.fields(bundle)) if bundle else set()
        taken |= kinds
    return taken


# ------------------------------------------------------------------------------------------------ modular pipelines


def _modular(sources: Sources, source: Class) -> tuple[set[str], set[str]]:
    blocks = _blocks(sources, source)
    if blocks is None:
        return set(), set()
    inputs, outputs = _named(sources, blocks, "Inputs"), _named(sources, blocks, "Outputs")
    taken, given = _kinds(inputs), _kinds(outputs)
    for condition in _CONDITION.findall(" ".join(inputs.values())):
        bundle = sources.locate(condition)
        taken |= _kinds(sources.fields(bundle)) if bundle else set()
    if "video" in given and "text2image" in blocks.text:
        given.add("image")
    return taken, given


def _blocks(sources: Sources, source: Class) -> Class | None:
    """The class of the blocks that a modular pipeline is made of by default; None for a plain pipeline."""
    for name in texts(source.assigned("default_blocks_name")):
        beside = (sources.find(name, path) for path in sorted(source.path.parent.glob("*.py")))
        return sources.locate(name) or next(filter(None, beside), None)
    return None


def _named(sources: Sources, blocks: Class, title: str, depth: int = 0) -> dict[str, str]:
    """Inputs or outputs of modular blocks: as their docstring lists them, else those of the blocks inside."""
    found = {item.name: item.annotation or "" for item in _listed(blocks.doc, title)}
    if found or depth > 6:
        return found
    declared = {"Inputs": ("InputParam", "InputParam.template"), "Outputs": ("OutputParam", "OutputParam.template")}
    for name, call in called(blocks.node):
        if name in declared[title]:
            values = [*call.args[:1], *(keyword.value for keyword in call.keywords if keyword.arg == "name")]
            found |= dict.fromkeys((text for value in values[:1] for text in texts(value)), "")
    inner = blocks.assigned("block_classes")
    for node in getattr(inner, "elts", []):
        block = sources.find(getattr(node, "id", ""), blocks.path)
        found |= _named(sources, block, title, depth + 1) if block else {}
    return found


def _section(doc: str, title: str) -> str:
    """The indented part of a blocks docstring under `title:`."""
    found = re.search(rf"^( *){title}:\n((?:\1 +.*\n|\s*\n)+)", doc + "\n", re.MULTILINE)
    return found[2] if found else ""


def _listed(doc: str, title: str) -> list[Parameter]:
    """Entries of a section; the default is `REQUIRED` where none is given."""
    entries = _ENTRY.findall(_section(doc, title))
    return [
        Parameter(name, kind, default or ("None" if optional else REQUIRED))
        for name, kind, optional, default in entries
    ]


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
