"""The installed diffusers as Python's own parser sees it: import tables, classes and signatures, nothing imported.

A file is parsed when something of it is asked for. Trees are large, so only those of the latest files are kept.
"""

import ast
import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

REQUIRED = "REQUIRED"
"""Stands for the default of a parameter that has none."""


class Parameter(NamedTuple):
    """One parameter of a call, as its source spells it."""

    name: str
    annotation: str | None
    default: str
    """Source text of the default, or `REQUIRED`."""


class _Definition:
    """A class or function of a module: its tree, its text, its docstring, and of a method the class that defines it."""

    def __init__(self, node: Any, module: "Module", owner: str = "") -> None:
        self.name: str = node.name
        self.owner = owner
        self.node, self.module, self.path = node, module, module.path

    @cached_property
    def text(self) -> str:
        """Its lines, decorators left out."""
        return "\n".join(self.module.lines[self.node.lineno - 1 : self.node.end_lineno])

    @property
    def doc(self) -> str:
        """Its docstring, or an empty text."""
        return ast.get_docstring(self.node) or ""


class Function(_Definition):
    """A function or method."""

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """Its parameters in their order, without `self`, `*args` and `**kwargs`."""
        spec = self.node.args
        plain = [*spec.posonlyargs, *spec.args]
        defaults = [None] * (len(plain) - len(spec.defaults)) + list(spec.defaults)
        pairs = [*zip(plain, defaults, strict=True), *zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
        return tuple(
            Parameter(
                arg.arg,
                self.module.spelling(arg.annotation) if arg.annotation else None,
                REQUIRED if default is None else self.module.spelling(default),
            )
            for arg, default in pairs
            if arg.arg not in ("self", "cls")
        )


class Class(_Definition):
    """A class."""

    @property
    def bases(self) -> tuple[str, ...]:
        """Names of the base classes, without their modules."""
        return tuple(filter(None, map(_last_name, self.node.bases)))

    @cached_property
    def methods(self) -> dict[str, Function]:
        """The methods that the class itself defines."""
        nodes = (node for node in self.node.body if isinstance(node, ast.FunctionDef))
        return {node.name: Function(node, self.module, self.name) for node in nodes}

    @cached_property
    def fields(self) -> dict[str, Parameter]:
        """The annotated fields that the class itself has."""
        return {
            node.target.id: Parameter(
                node.target.id, ast.unparse(node.annotation), ast.unparse(node.value) if node.value else REQUIRED
            )
            for node in self.node.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        }

    def assigned(self, name: str) -> ast.expr | None:
        """What the class body assigns to `name`, or None."""
        for node in self.node.body:
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
                return node.value
        return None


class Module:
    """One parsed file; an empty one where there is no such file. It refers to nothing that refers back to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.source = path.read_text("utf-8", "replace") if path.is_file() else ""
        self.lines = self.source.split("\n")
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, ast.FunctionDef] = {}
        self.imports: dict[str, tuple[int, str]] = {}
        """Name -> dots of the import and module that it comes from; 0 dots: an absolute import from diffusers. Without the
        stand-ins (`dummy_...`) for classes whose packages are missing."""
        self.tree = ast.parse(self.source)
        for node in _statements(self.tree.body):
            if isinstance(node, ast.ClassDef):
                self.classes.setdefault(node.name, node)
            elif isinstance(node, ast.FunctionDef):
                self.functions.setdefault(node.name, node)
            elif isinstance(node, ast.ImportFrom) and "dummy_" not in (module := node.module or ""):
                package, _, inside = module.partition(".")
                place = node.level, module if node.level else inside
                if node.level or package == "diffusers":
                    self.imports.update((name.name, place) for name in node.names)

    def spelling(self, node: ast.expr) -> str:
        """The source of a node on one line, as its author spelt it where it stands on one."""
        line = self.lines[node.lineno - 1]
        if node.lineno == node.end_lineno and line.isascii():
            return line[node.col_offset : node.end_col_offset]
        return ast.unparse(node)


class Sources:
    """The tree of the diffusers package at `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.module = lru_cache(maxsize=48)(Module)

    @cached_property
    def version(self) -> str:
        """`__version__` of the tree."""
        found = re.search(r"^__version__ = [\"']([^\"']+)", (self.root / "__init__.py").read_text(), re.MULTILINE)
        return found[1] if found else "unknown"

    @cached_property
    def public(self) -> dict[str, str]:
        """Every public name of the package -> the submodule that exports it (`pipelines`, `models`, ...).

        By the literal part of `_import_structure`, in all branches, whatever is installed.
        """
        tree = self.module(self.root / "__init__.py").tree
        entries = [entry for node in _statements(tree.body) for entry in _entries(node)]
        return {name: group for group, names in entries for name in names if not name.startswith("_")}

    def locate(self, name: str) -> Class | None:
        """Find a public class by following the imports down to its file; diffusers exports a few that it never imports."""
        home = self.public.get(name)
        if home is None or (found := self.find(name, self.root / "__init__.py")):
            return found if home else None
        files = sorted((self.root / home).rglob("*.py"))
        defining = (path for path in files if re.search(rf"^class {name}\b", path.read_text("utf-8"), re.MULTILINE))
        return next((self.find(name, path) for path in defining), None)

    def dotted(self, path: Path) -> str:
        """`diffusers.pipelines.wan.pipeline_wan` for a file of the tree."""
        return ".".join(["diffusers", *path.relative_to(self.root).with_suffix("").parts])

    def find(self, name: str, path: Path, seen: frozenset[Path] = frozenset()) -> Class | None:
        """The class `name` as the module at `path` defines or imports it; None where it does neither.

        `seen` are the files that the search came through: imports may go in circles.
        """
        module = self.module(path)
        if name in module.classes:
            return Class(module.classes[name], module)
        if name not in module.imports or path in seen:
            return None
        dots, source = module.imports[name]
        place = (path.parents[dots - 1] if dots else self.root).joinpath(*filter(None, source.split(".")))
        file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        return self.find(name, file, seen | {path})

    def parents(self, source: Class) -> Iterator[Class]:
        """The base classes that are in the tree."""
        found = (self.find(base, source.path) for base in source.bases)
        return (parent for parent in found if parent and parent.node is not source.node)

    def inherited(self, source: Class, method: str) -> Function | None:
        """A method of a class: its own, or that of the first of its bases that defines it."""
        if method in source.methods:
            return source.methods[method]
        return next(filter(None, (self.inherited(parent, method) for parent in self.parents(source))), None)

    def descends(self, source: Class, base: str) -> bool:
        """Whether a class of that name is among the bases of `source`, however far up."""
        return base in source.bases or any(self.descends(parent, base) for parent in self.parents(source))

    def fields(self, source: Class) -> dict[str, str]:
        """Annotated fields of a dataclass and its bases: name -> annotation, in their order."""
        found: dict[str, str] = {}
        for parent in self.parents(source):
            found |= self.fields(parent)
        return found | {name: field.annotation or "" for name, field in source.fields.items()}


def called(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """The calls inside a node by the dotted name of what is called, in their order."""
    return ((ast.unparse(each.func), each) for each in ast.walk(node) if isinstance(each, ast.Call))


def texts(node: ast.AST | None) -> list[str]:
    """The strings of a literal list or tuple, or of one literal string; anything computed gives none."""
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [each.value for each in items if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those in the branches of `try` and `if` included."""
    for node in body:
        if isinstance(node, ast.Try | ast.If):
            handlers = [each for handler in getattr(node, "handlers", []) for each in handler.body]
            yield from _statements([*node.body, *node.orelse, *handlers])
        else:
            yield node


def _entries(node: ast.AST) -> list[tuple[str, list[str]]]:
    """What one statement adds to `_import_structure`: an assignment of it or of a key, an extend or an append."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and target.id == "_import_structure" and isinstance(value, ast.Dict):
            return [
                (key, texts(item)) for each, item in zip(value.keys, value.values, strict=True) for key in texts(each)
            ]
        return [(key, texts(value)) for key in _key(target)]
    node = node.value if isinstance(node, ast.Expr) else node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return [(key, [name for arg in node.args for name in texts(arg)]) for key in _key(node.func.value)]
    return []


def _key(node: ast.AST) -> list[str]:
    """The key of `_import_structure[key]`; nothing for any other node."""
    table = (
        isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "_import_structure"
    )
    return texts(node.slice) if table else []  # type: ignore[attr-defined]
