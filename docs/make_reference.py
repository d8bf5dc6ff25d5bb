"""Write docs/config.md from the field docstrings: python docs/make_reference.py [--check]."""

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import MISSING

from strands_diffusers.config import conditions, engines, models, schema, store
from strands_diffusers.plugin import manager
from strands_diffusers.serve.options import ServeConfig

GROUPS = ("policy", "world", "score", "output", "visualizer", "metric", "tracker", "source")


@functools.cache
def _own_field_docs(cls: type) -> dict[str, str]:
    """Docstrings that stand right under the fields in the class's source; empty for a class made at run time."""
    try:
        source = inspect.cleandoc("\n" + inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    body = next(
        (n.body for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef) and n.name == cls.__name__), []
    )
    docs: dict[str, str] = {}
    for statement, following in itertools.pairwise(body):
        named = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if named and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[statement.target.id] = " ".join(str(following.value.value).split())  # type: ignore[attr-defined]
    return docs


def field_docs(cls: type) -> dict[str, str]:
    """The docstring of every field of a config dataclass, inherited ones included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found.update(_own_field_docs(base))
    return found


def _default(item: dataclasses.Field[Any]) -> str:
    if item.default is not dataclasses.MISSING:
        value = item.default
    elif item.default_factory is not dataclasses.MISSING:
        value = item.default_factory()
        if dataclasses.is_dataclass(value):
            return "(below)"
    else:
        return "required"
    if value is MISSING or value == MISSING:
        return "`???`"
    if isinstance(value, Enum):
        return f"`{value.value}`"
    return "`null`" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(kind: Any) -> str:
    members = [member for member in getattr(kind, "__args__", ()) if member is not type(None)]
    if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], Enum):
        return f"{_type(members[0])} \\| null"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " \\| ".join(m.value for m in kind)
    text = kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)
    return (
        text.replace("typing.", "")
        .replace("strands_diffusers.config.schema.", "")
        .replace(" | None", "?")
        .replace("|", "\\|")
    )


def _table(cls: type, prefix: str, inherited: Iterable[str] = ()) -> list[str]:
    docs, skip = field_docs(cls), set(inherited)
    rows = [f for f in dataclasses.fields(cls) if f.name not in skip]
    if not rows:
        return ["No options.", ""]
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    kinds = get_type_hints(cls)  # of a module whose annotations are texts
    lines += [f"| `{prefix}{f.name}` | {_type(kinds[f.name])} | {_default(f)} | {docs.get(f.name, '')} |" for f in rows]
    if prefix in ("policy.", "world."):  # their nodes have nowhere else to stand
        for node in (f for f in rows if dataclasses.is_dataclass(kinds[f.name])):
            lines += _table(kinds[node.name], f"{prefix}{node.name}.")[2:-1]
    return [*lines, ""]


def markdown(classes: dict[str, dict[str, type]]) -> str:
    """The whole page. `classes[group][name]`: the plugin classes of `GROUPS`."""
    lines = [
        "# Config reference",
        "",
        "Generated from the field docstrings by `python docs/make_reference.py`; do not edit.",
        "",
    ]
    lines += ["## Top level", "", *_table(schema.RunConfig, "")]
    lines += ["## model", "", (models.ModelConfig.__doc__ or "").strip(), "", *_table(models.ModelConfig, "model.")]
    lines += ["### model.lora", "", *_table(models.LoraConfig, "model.lora.")]
    lines += ["### model.recommended.CONDITION", "", (models.Recommended.__doc__ or "").strip(), ""]
    lines += _table(models.Recommended, "model.recommended.CONDITION.")
    for name, cls in conditions.CONDITIONS.items():
        lines += [f"## condition={name}", "", (cls.__doc__ or "").strip(), "", *_table(cls, "condition.", ("mode",))]
    lines += ["## domain", "", (models.DomainConfig.__doc__ or "").strip(), "", *_table(models.DomainConfig, "domain.")]
    for name, engine in engines.ENGINES.items():
        lines += [f"## engine={name}", "", (engine.__doc__ or "").strip(), "", *_table(engine, "engine.", ("name",))]
    lines += [
        "## sampler",
        "",
        *_table(schema.SamplerConfig, "sampler."),
        "## sweep",
        "",
        *_table(schema.SweepConfig, "sweep."),
    ]
    for group, members in classes.items():
        for name, cls in members.items():
            multi = group in store.MULTI_SELECT
            title = f"{group}=[{name}]" if multi else (f"source.{name}" if group == "source" else f"{group}={name}")
            prefix = f"{group}.{name}." if multi or group == "source" else f"{group}."
            lines += [f"## {title}", "", (inspect.getdoc(cls) or "").split("\n", 1)[0], "", *_table(cls.Config, prefix)]  # type: ignore[attr-defined]
    lines += ["## serve", "", (ServeConfig.__doc__ or "").strip(), "", *_table(ServeConfig, "serve.")]
    return "\n".join(lines).rstrip() + "\n"


def page() -> str:
    """The page for the built-in plugins, whatever else is installed here."""
    index = manager.built_ins()
    return markdown({group: index.classes(group) for group in GROUPS})


if __name__ == "__main__":
    path = Path(__file__).with_name("config.md")
    text = page()
    if "--check" in sys.argv:
        sys.exit(0 if path.read_text() == text else "docs/config.md is stale: run python docs/make_reference.py")
    path.write_text(text)
