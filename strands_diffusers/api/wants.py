"""What a parameter wants to be given: an image, a clip, sound, actions, a tensor, or just what is written there.

Judged by its name and annotation, read off the signature of what is called. Text stays text: a prompt that happens to be
a file's name is a prompt.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from strands_diffusers.pipelines import catalog
from strands_diffusers.pipelines.catalog import WORDS

IMAGE, VIDEO, SOUND, ACTION = "image", "video", "sound", "action"
TENSOR, GENERATOR, DTYPE, TEXT, NAME, ANY = "tensor", "generator", "dtype", "text", "name", "any"
PATH, MODEL, INSIDE, BATCHED = "path", "model", "inside", "batched"

_PLACES = frozenset({"path", "paths", "dir", "directory", "folder", "file", "filename", "output", "save", "out"})
_INSIDE = frozenset({
    "subfolder", "weight_name", "variant", "revision", "image_encoder_folder", "prefix", "filename_prefix", "config_name",
})  # fmt: skip
"""Parameters that name something inside of a checkpoint."""

_MODEL = re.compile(r"pretrained\w*_(?:path|dict)\w*|pretrained_model\w*")
_TAILS = frozenset({"reference", "references", "2", "3"})
_PICTURES = re.compile(r"PipelineImageInput|\bImage\b|PIL\.")
_ONLY_TEXT = re.compile(r"(?:Optional\[)?str\]?(?: \| None)?")
_ONLY_FRAMES = re.compile(r"[Ll]ist\[(?:PIL\.)?Image\.Image\](?: \| None)?")
_NUMBERS = re.compile(r"\b(?:int|float|bool)\b")


Wish = frozenset[str]
"""What one parameter wants, of the constants above; `{"image", "video"}` takes either, told apart by the file. `batched`:
its documentation asks for a batch axis in front (sound: `(batch, channels, samples)`)."""


def of_call(function: Callable[..., Any]) -> dict[str, Wish]:
    """What each parameter of a class, function, method or pipeline object wants."""
    if not isinstance(function, type) and not inspect.isroutine(function):
        return of_pipeline(type(function).__name__)
    try:
        spec = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {name: wish(name, annotation(each)) for name, each in spec.items()}


def of_pipeline(name: str) -> dict[str, Wish]:
    """What each parameter of a pipeline's call wants; for a modular one, each input of its blocks."""
    if name not in catalog.pipelines():
        return {}
    found = catalog.pipeline_info(name)
    return {
        each: wish(each, entry["annotation"] or "", _about(each, found["call_doc"]))
        for each, entry in found["call_params"].items()
    }


def _about(name: str, documentation: str) -> str:
    """What a docstring says of one parameter."""
    found = re.search(rf"^( *){name} \(.*\n((?:\1 +.*\n|\s*\n)*)", documentation + "\n", re.MULTILINE)
    return found[0] if found else ""


def wish(name: str, annotation: str = "", documentation: str = "") -> Wish:
    """Judge one parameter by the last telling word of its name, its annotation, and for sound its documentation."""
    words = name.lower().split("_")
    while len(words) > 1 and words[-1] in _TAILS:
        words.pop()
    kind = WORDS.get(words[-1])
    is_number = bool(_NUMBERS.search(annotation)) and not re.search(r"Tensor|Image|ndarray|list|List", annotation)
    if "dtype" in words:
        return Wish({DTYPE})
    if "Generator" in annotation or name == "generator":
        return Wish({GENERATOR})
    if name in _INSIDE:
        return Wish({INSIDE})
    if _MODEL.fullmatch(name):
        return Wish({MODEL})
    if _PLACES.intersection(words):
        return Wish({PATH})
    if kind == TEXT or "prompt" in words:
        return Wish({TEXT})
    if is_number or _ONLY_TEXT.fullmatch(annotation):
        return Wish({NAME})
    if kind == IMAGE and _ONLY_FRAMES.fullmatch(annotation):
        return Wish({IMAGE, VIDEO})
    if kind == SOUND and "batch" in documentation:
        return Wish({SOUND, BATCHED})
    if kind in (IMAGE, VIDEO, SOUND):
        return Wish({kind})
    if kind == ACTION:
        return Wish({ACTION if "Tensor" in annotation else ANY})
    if _PICTURES.search(annotation):
        return Wish({IMAGE, VIDEO})
    return Wish({TENSOR if "Tensor" in annotation else ANY})


def annotation(parameter: inspect.Parameter) -> str:
    """The annotation of a parameter as its source spells it; an empty string where there is none."""
    if parameter.annotation is inspect.Parameter.empty:
        return ""
    if isinstance(parameter.annotation, str):  # a module with postponed annotations
        return parameter.annotation
    return inspect.formatannotation(parameter.annotation)
