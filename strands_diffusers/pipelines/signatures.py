"""The signature of a method, from its source: by line where it is formatted by line, else by the parser."""

import ast
import re
from typing import NamedTuple

REQUIRED = "REQUIRED"
"""Stands for the default of a parameter that has none."""

_SIGNATURE = re.compile(r"def \w+\((?:[^\n]*\)[^\n]*:|.*?\n\)[^\n]*:)[ \t]*(?:#[^\n]*)?\n", re.DOTALL)
_LINE = re.compile(r"    (\*{0,2}\w+|\*|/)(?:: ([^=#]+?))?(?: ?= ?([^#]+?))?,(?:\s*#.*)?")


class Parameter(NamedTuple):
    """One parameter of a call, as its source spells it."""

    name: str
    annotation: str | None
    default: str
    """Source text of the default, or `REQUIRED`."""


def parameters(method: str) -> tuple[Parameter, ...]:
    """Parameters of a method's source in their order, without `self`, `*args` and `**kwargs`."""
    head = _SIGNATURE.match(method)
    text = head[0] + "    ..." if head else method
    return (_one_a_line(head[0]) if head else None) or parsed_parameters(text, method)


def _one_a_line(head: str) -> tuple[Parameter, ...] | None:
    """The parameters of a signature that has each on a line of its own, as formatters write it; None for any other."""
    found = []
    for line in head.split("\n")[1:-2]:
        match = _LINE.fullmatch(line)
        if match is None or any(line.count(left) != line.count(right) for left, right in ("[]", "()", "{}")):
            return None
        name, annotation, default = match.groups()
        if name not in ("self", "cls") and name[0] not in "*/":
            found.append(Parameter(name, annotation, REQUIRED if default is None else default))
    return tuple(found)


def parsed_parameters(text: str, method: str) -> tuple[Parameter, ...]:
    """The same by the parser, for signatures of any shape."""
    try:
        node = ast.parse(text).body[0]
    except SyntaxError:
        text = method
        node = ast.parse(text).body[0]
    assert isinstance(node, ast.FunctionDef)
    spec, lines = node.args, text.splitlines(keepends=True)
    plain = [*spec.posonlyargs, *spec.args]
    defaults = [None] * (len(plain) - len(spec.defaults)) + list(spec.defaults)
    pairs = [*zip(plain, defaults, strict=True), *zip(spec.kwonlyargs, spec.kw_defaults, strict=True)]
    return tuple(
        Parameter(
            arg.arg,
            _segment(lines, arg.annotation) if arg.annotation else None,
            REQUIRED if default is None else _segment(lines, default),
        )
        for arg, default in pairs
        if arg.arg not in ("self", "cls")
    )


def _segment(lines: list[str], node: ast.expr) -> str:
    """The source of a node on one line; much faster than `ast.unparse`, and it keeps the author's spelling."""
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    if first == last and lines[first].isascii():
        return lines[first][node.col_offset : node.end_col_offset]
    return ast.unparse(node)
