"""Classes, methods and functions of diffusers as their sources describe them: what `inspect` shows."""

import ast
import re
from pathlib import Path
from typing import Any

from strands_diffusers.pipelines.signatures import parameters
from strands_diffusers.pipelines.sources import ClassSource, Sources


def class_details(sources: Sources, source: ClassSource) -> dict[str, Any]:
    """A class: where it is, what it is built from, how it is called, its public methods, its documentation."""
    found: dict[str, Any] = {
        "kind": "class",
        "module": _module(sources, source.path),
        "bases": list(source.bases),
        "doc": ast.get_docstring(source.tree) or "",
        "methods": _methods(sources, source),
    }
    fields = sources.fields(source)
    build = sources.inherited(source, "__init__")
    if build:
        found["init_params"] = _spec(build[1])
    elif fields:
        found["init_params"] = _dataclass_spec(source)
    call = sources.inherited(source, "__call__")
    if call:
        found["call_params"] = _spec(call[1])
    return found


def method_details(sources: Sources, source: ClassSource, name: str) -> dict[str, Any] | None:
    """One method of a class, its own or inherited; None where there is none of that name."""
    found = sources.inherited(source, name)
    if found is None:
        return None
    owner, text = found
    return {"kind": "method", "module": _module(sources, owner.path), "class": owner.name, **_function(text)}


def function_details(sources: Sources, name: str, init: Path) -> dict[str, Any] | None:
    """A function that the package of `init` exports; None where none of its modules defines it."""
    for path in (init.parent.with_suffix(".py"), *sorted(init.parent.glob("*.py"))):
        text = sources.text(path)
        start = text.find(f"\ndef {name}(") + 1
        if start:
            end = re.compile(r"\n(?=[^\s)])").search(text, start)
            return {
                "kind": "function",
                "module": _module(sources, path),
                **_function(text[start : end.start() if end else None]),
            }
    return None


def _function(text: str) -> dict[str, Any]:
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    return {"params": _spec(text), "doc": ast.get_docstring(node) or ""}


def _spec(method: str) -> dict[str, dict[str, Any]]:
    return {item.name: {"default": item.default, "annotation": item.annotation} for item in parameters(method)}


def _dataclass_spec(source: ClassSource) -> dict[str, dict[str, Any]]:
    """The constructor of a dataclass: its fields with their defaults."""
    nodes = [node for node in source.tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    return {
        node.target.id: {
            "default": "REQUIRED" if node.value is None else ast.unparse(node.value),
            "annotation": ast.unparse(node.annotation),
        }
        for node in nodes
        if isinstance(node.target, ast.Name)
    }


def _methods(sources: Sources, source: ClassSource, depth: int = 0) -> list[str]:
    found = set(re.findall(r"^    def ([a-z]\w*)\(", source.text, re.MULTILINE))
    for base in source.bases if depth < 8 else ():
        parent = sources.find(base, source.path)
        if parent and parent is not source:
            found |= set(_methods(sources, parent, depth + 1))
    return sorted(found)


def _module(sources: Sources, path: Path) -> str:
    return ".".join(["diffusers", *path.relative_to(sources.root).with_suffix("").parts])
