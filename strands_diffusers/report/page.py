"""Put the page together: its template, its style and its program around the data of the jobs, in one file."""

import base64
import hashlib
import html
import importlib.resources
import json
import uuid
from pathlib import Path
from typing import Any

from strands_diffusers.errors import OutputError
from strands_diffusers.outputs.files import why
from strands_diffusers.report.content import content
from strands_diffusers.report.folder import read_folder

PAGE = "index.html"

_SCRIPTS = ("dom", "clock", "curves", "gallery", "table", "detail", "controls", "main")
"""The files of the program in the order in which they use each other; they share one scope."""


def write_report(directory: Path) -> Path:
    """Write `index.html` into `directory`, a sweep's folder with its jobs or the folder of one job; return its path.

    The page reads nothing but the films and pictures of the jobs, by relative addresses: the folder can be moved,
    archived and opened anywhere. It holds what their records say (`manifest.json`, `failure.json`, `sweep.json`), their
    action curves rounded for drawing, and never the jobs' whole configs. Written beside and renamed.

    Raises: `ReportError` for a folder that holds no finished or failed job; `OutputError` where it cannot be written.
    """
    folder = read_folder(directory)
    path = folder.directory / PAGE
    partial = path.with_name(f".{PAGE}.{uuid.uuid4().hex[:8]}")
    try:
        try:
            partial.write_text(render(content(folder)), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {why(error)}.") from error
    return path


def render(data: dict[str, Any]) -> str:
    """Return the page that shows `data` (`content.content`).

    The data stand in a script element that is never run; the program makes text of them and no markup. The policy lets
    this one program run and nothing else.
    """
    program = "(() => {\n'use strict';\n" + "\n".join(_asset(f"{name}.js") for name in _SCRIPTS) + "\n})();\n"
    parts = {
        "title": html.escape(data["title"].encode("utf-8", "replace").decode()),
        "hash": base64.b64encode(hashlib.sha256(program.encode()).digest()).decode(),
        "style": _asset("page.css"),
        "data": inert_json(data),
        "program": program,
    }
    text = _asset("page.html")
    pieces = []
    while text:  # in one pass, so that nothing inside a part is taken for a place
        before, _, rest = text.partition("{{")
        name, _, text = rest.partition("}}")
        pieces += [before, parts[name]] if name else [before]
    return "".join(pieces)


def inert_json(value: Any) -> str:
    """JSON that may stand inside a script element: no `<`, `>` or `&` is left that could end it or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    # A lone surrogate (a file name that is not UTF-8) cannot be written; JSON has an escape for it too.
    return "".join(f"\\u{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in text)


def _asset(name: str) -> str:
    return importlib.resources.files("strands_diffusers.report").joinpath("assets", name).read_text(encoding="utf-8")
