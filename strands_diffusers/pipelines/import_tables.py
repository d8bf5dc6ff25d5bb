"""The import table of a package, `_import_structure`, from the source of its `__init__.py`."""

import ast
import re
from collections.abc import Iterator

_ENTRY = re.compile(
    r"^ *_import_structure\[[\"']([\w.]+)[\"']\](?: = |\.extend\(|\.append\()\s*(\[[^\]\[]*\]|[\"']\w+[\"'])\)?$",
    re.MULTILINE,
)
_NAME = re.compile(r"\w+")


def read(source: str) -> dict[str, list[str]]:
    """The literal part of the table: submodule -> public names of all branches, whatever is installed."""
    head, _, _ = source.partition("\nif TYPE_CHECKING")
    entries = [(key, _NAME.findall(names)) for key, names in _ENTRY.findall(head)]
    if head.count("_import_structure") != len(entries) + head.count("_import_structure = {}"):
        entries = parsed(head)
    found: dict[str, list[str]] = {}
    for key, names in entries:
        found.setdefault(key, []).extend(names)
    return found


def parsed(head: str) -> list[tuple[str, list[str]]]:
    """The entries by the parser, for tables that are not written one entry a statement."""
    return [entry for node in _statements(ast.parse(head).body) for entry in _entries(node)]


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those in the branches of `try` and `if` included."""
    for node in body:
        if isinstance(node, ast.Try | ast.If):
            inner = [*node.body, *node.orelse]
            yield from _statements(
                [*inner, *(each for handler in getattr(node, "handlers", []) for each in handler.body)]
            )
        else:
            yield node


def _entries(node: ast.AST) -> list[tuple[str, list[str]]]:
    """What one statement adds to `_import_structure`: an assignment of it or of a key, an extend or an append."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
        if isinstance(target, ast.Name) and target.id == "_import_structure" and isinstance(value, ast.Dict):
            return [(_text(key), _texts(item)) for key, item in zip(value.keys, value.values, strict=True)]
        if _is_table(target):
            assert isinstance(target, ast.Subscript)
            return [(_text(target.slice), _texts(value))]
    node = node.value if isinstance(node, ast.Expr) else node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_table(node.func.value):
        assert isinstance(node.func.value, ast.Subscript)
        return [(_text(node.func.value.slice), [name for arg in node.args for name in _texts(arg)])]
    return []


def _is_table(node: ast.AST) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "_import_structure"


def _text(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _texts(node: ast.AST) -> list[str]:
    """The strings of a literal list, or of one literal string; anything computed gives none."""
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else [node]
    return [text for text in map(_text, items) if text]
